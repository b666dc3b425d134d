#!/usr/bin/env python3
"""Make Fixtures/tokenization: tokenizers, nasty strings, and the ids that Hugging Face's `tokenizers` gives.

usage: make_tokenizer_fixtures.py --gguf SmolLM2-135M-Instruct.gguf --data DATA [--out Fixtures/tokenization]
       make_tokenizer_fixtures.py --qwen --data DATA [--out Fixtures/tokenization]

The second makes the tokenizers in Qwen's forms alone, with composing.json; the first leaves those out. DATA holds
csr/*/{train,test}.json, glue/*/*.tsv and tiny-llama/tokenizer.json. Needs the packages tokenizers, sentencepiece, gguf
and numpy. Expected ids come from those packages alone, never from tspeft.

Hashes in hashes.json: 64-bit FNV-1a over the ids of a file's lines, each id as a little-endian int32, with -1 after
each line. A line is what stands between line feeds (a carriage return belongs to it), read as UTF-8 with invalid
bytes replaced, encoded without special tokens; the empty line after a final line feed does not count.
"""

import argparse
import io
import json
from pathlib import Path

import gguf
import numpy
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SLICE_LINES = 20
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Strings chosen to break tokenizers. Each is one record of nasty.json; bytes are records that are not UTF-8.
NASTY = {
    "empty": "",
    "space": " ",
    "two spaces": "  ",
    "leading spaces": "   indented by three",
    "trailing spaces": "ends with three   ",
    "runs of spaces": "a  b   c    d     e                    f",
    "tabs": "\tone\t\ttwo \t three\t \tfour\t",
    "line feeds": "\n\n\nthree\n\n\n",
    "line feed and space": "a\n b \n  c\n   \nd",
    "crlf": "first\r\nsecond\r\n\r\n\r\nthird\r fourth\n\r",
    "other line ends": "a\x0bb\x0cc\x85d\u2028e\u2029f",
    "unicode spaces": "a\u00a0b\u1680c\u2000d\u2003e\u2009\u200af\u202fg\u205fh\u3000i \u00a0 \u3000",
    "nbsp before word": "\u00a0word \u00a0word\u00a0 word",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u180eg",
    "emoji": "\U0001f600 hello\U0001f680\U0001f680 \u2764\ufe0f\u200d\U0001f525",
    "emoji zwj": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308",
    "emoji skin and flags": "\U0001f44d\U0001f3fd\U0001f1e9\U0001f1ea\U0001f1ef\U0001f1f5 keycap 1\ufe0f\u20e3",
    "combining": "e\u0301 \u00e9 A\u030a \u00c5 \u212b n\u0303o \u1e69 s\u0323\u0307 s\u0307\u0323",
    "zalgo": "Z\u0351\u036b\u0343a\u0369\u0334l\u0333g\u0321o\u0362",
    "combining first": "\u0301\u0308abc",
    "hangul": "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u116e\u11a8",
    "cjk": "\u4e2d\u6587\u5b57\u7b26\uff0c\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \U00020000\U0002a6d6",
    "full width": "\uff21\uff22\uff23\uff11\uff12\uff13\uff01\uff07s",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202eabc\u202c \u0661\u0662\u0663",
    "indic": "\u0928\u092e\u0938\u094d\u0924\u0947 \u0baa\u0bcb\u0ba9 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "numbers": "0 1 12 123 1234 12345 3.14159 1,000,000 -42 1e10 0x1F 007",
    "number kinds": "\u00bd \u00b2\u00b3 \u2167 \u2460 \u0967\u0968 \u3007\u4e00 \U0001d7d8",
    "glued numbers": "abc123def4567gh8 9i 10j",
    "contractions": "I'm you're he's we've they'll I'd don't o'clock 'tis rock'n'roll",
    "contractions upper": "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T 'Twas 'LLama 'sS 'Re'vE",
    "long s": "it'\u017f that'\u017fo 'K \u212a'\u017f",
    "contraction at end": "it' it's' ' 's 't're",
    "curly quotes": "\u201cI\u2019m\u201d \u2018tis \u2013 \u2014 \u2026",
    "punctuation": "!?!?...,,,;;:: --- ___ *** (((a))) [b] {c} <d> #e @f $g %h ^i &j ~k `l` |m| \\n /o/",
    "punctuation and breaks": "end.\n\nnext!\r\n\r\n(why?)\n \n ...\n",
    "code python": "def f(x, *, y=1):\n    if x >= y:\n\t\treturn {'a': [x**2 for _ in range(10)]}\n",
    "code c": "#include <stdio.h>\nint main(void){printf(\"%d\\n\", 0xFF&~1);return 0;}/* */ //x\n",
    "code html": "<div class=\"a b\">&nbsp;<!-- c --></div>\n\n\n  <br/>",
    "json": '{"a": [1, 2.5e-3, null], "b": {"c": "\\u00e9\\n"}}',
    "url": "https://example.org/a_b/%20c?d=1&e=2#f user@example.org",
    "case": "camelCase PascalCase SCREAMING_SNAKE kebab-case iPhone eBay McDonald",
    "controls": "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "nul": "a\x00b\x00\x00",
    "private and unassigned": "\ue000\uf8ff\ufdd0\uffff\U0010ffff\u0378",
    "letters of unicode 17": "a\u088fb \U00010940\U00010941 \ua7ce \U00011de0",
    "replacement": "\ufffd\ufffdx\ufffd",
    "soft hyphen and ligature": "co\u00adoperate \ufb01sh \u0149 \u00df \u1e9e",
    "case folding": "\u0130\u0131 \u01c5 \u03c2\u03c3 stra\u00dfe",
    "metaspace inside": "a\u2581b \u2581\u2581c\u2581",
    "byte alphabet inside": "\u0120hello\u010a\u0100 \u0143",
    "byte token inside": "<0x41> <0x0A><0xzz>",
    "special tokens": "<|endoftext|> a<|im_start|>user\nhi<|im_end|>\n<s>b</s><unk> <|begin_of_text|>x<|eot_id|>",
    "almost special": "<|im_start <|im_start|<|im_start|>> |endoftext|> <S> < s> <<s>>",
    "special with spaces": "a  <s>  b <mask> c   <mask>d<trim>   e <trim>f the theme the. <word> x<word>y <word>",
    "normalized added": "one new token, onenew token new  token",
    "math": "\u2211\u222b\u2202x\u00b2 + \u221ay \u2264 \u00b5 \U0001d400\U0001d4d0",
    "long word": "pneumonoultramicroscopicsilicovolcanoconiosis" * 12,
    "one letter": "a" * 700,
    "long number": "1234567890" * 40,
    "mixed long word": "aZ\u00e9\u4e2d\U0001f600" * 60,
    "many spaces": " " * 300,
    "many lines": "\n" * 130 + "x",
}
NASTY_BYTES = {
    "lone continuation": b"a\x80b\xbfc",
    "truncated": b"abc\xe2\x82",
    "truncated four": b"x\xf0\x9f\x98 y\xf0\x9f z\xf0",
    "overlong": b"\xc0\xaf \xc1\xbf \xe0\x80\xaf \xf0\x80\x80\xaf",
    "surrogates": b"\xed\xa0\x80 \xed\xbf\xbf \xed\xa0\xbd\xed\xb8\x80",
    "above unicode": b"\xf4\x90\x80\x80 \xf5\x80\x80\x80 \xfe\xff",
    "latin-1": "na\u00efve caf\u00e9".encode("latin-1"),
    "utf-16": "hi \u4e2d".encode("utf-16-le"),
    "all bytes": bytes(range(256)),
    "all bytes backwards": bytes(reversed(range(256))),
}

# Strings that composing (NFC) changes or must leave, and marks that Qwen's patterns tell apart. For Qwen's forms alone.
COMPOSING = {
    "acute": "caf\u0065\u0301 caf\u00e9 \u00c9tude E\u0301tude",
    "two marks": "\u0075\u0308\u0304 \u01d6 \u1ec7 e\u0323\u0302 e\u0302\u0323 \u1e69 s\u0323\u0307 s\u0307\u0323",
    "marks that stay": "x\u0301 q\u0307 m\u0302\u0301 \u0436\u0301 b\u0338",
    "marks out of order": "a\u0315\u0300\u05ae\u0062 o\u031b\u0323 o\u0323\u031b",
    "mark across a word's end": "don\u0027\u0301t it\u2019\u0301s 1\u0301 .\u0301 \u0301",
    "mark after space and break": "a \u0308b\n\u0308c\r\n\u0308d\t\u0308",
    "singletons": "\u212b \u2126 \u212a \u1fef \u037e \u0387 \u2000\u2001 \u2329\u232a \u0340\u0341\u0343\u0344",
    "exclusions": "\u0958 \u095f \u09dc \ufb1d \ufb2a \ufb4e \u2adc \U0001d15e",
    "hangul jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af \uac00\u11a8 \uac01\u11a8 \u1161\u1100 \u1100\u0301\u1161",
    "hangul": "\ud55c\uae00\uc740 \uc544\ub984\ub2f5\ub2e4. 3\uc6d4 1\uc77c",
    "compatibility ideographs": "\uf900\ufa0e\ufa10\ufa1e\U0002f800 \u8c48\u6674",
    "kana": "\u304b\u3099 \u304c \u30cf\u309a \u30d1 \uff76\uff9e \u3099\u304b",
    "indic": "\u0915\u094d\u0937\u093f \u0b92\u0bd7 \u0b94 \u0bc6\u0bbe \u09c7\u09be \u0cc6\u0cc2\u0cd5 \u1025\u102e",
    "thai and lao": "\u0e19\u0e49\u0e33 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a 25 \u0e1a\u0e32\u0e17 \u0eab\u0ea7\u0eb1\u0e94\u0e94\u0eb5",
    "hebrew and arabic points": "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0627\u0653 \u0627\u0654\u064e \u0628\u0651\u064e \u064e\u0651",
    "greek": "\u03b1\u0313\u0301 \u1f04 \u03b9\u0308\u0301 \u0390 \u1fbe \u03a9\u0313\u0300\u0345",
    "vietnamese": "Vi\u1ec7t Nam Vie\u0323\u0302t ti\u1ebfng tie\u0302\u0301ng \u01a1\u0309 o\u031b\u0309",
    "tibetan": "\u0f71\u0f72\u0f73 \u0f40\u0f80\u0f71 \u0f43 \u0301\u0f73\u0f75\u0f81",
    "marks of unicode 9": "a\u08e2\u0301 e\u1dfb\u0301",
    "marks of later versions": "a\u1df6\u0301 o\u08d3\u0323 \U00011935\U00011930 g\u0304\U00011935\U00011930 \u0d3b\u0301",
    "added tokens": "<think>e\u0301</think><|im_start|>\u0301<|im_end|> <tool_call>\n{}\n</tool_call> <|fim_prefix|>x<|fim_pad|>",
    "almost added": "<think <tool_call > </ think> <|im_start |> <|\u0131m_start|> <th\u0131nk>",
    "ligatures": "\ufb01 \ufb03 \u0132 \u01c6 \ufdfa o\ufb03ce \u2460\u00bd\u33c2 \uff28\uff49",
    "emoji": "\u2764\ufe0f \U0001f469\U0001f3fd\u200d\U0001f680 1\ufe0f\u20e3 \u2639\u0301 \U0001f1fa\U0001f1f3e\u0301",
    "digits": "1234567 \u0661\u0662 \u0967\u0968 \uff11\uff12 3.14e-10 v2.5-7B 2024\u5e7412\u6708",
    "space and breaks": " \r\n \t\n\n  x\r\n\r\n  y \u3000\u00a0z\u2028 \n",
    "mixed": "\u4f60\u597d,\u4e16\u754ce\u0301! \u0e01\u0301\u65e5\u672c\u8a9e\u3099 \u041f\u0440\u0438\u0306\u0432\u0435\u0442 na\u0308ive's",
    "long without spaces": "\u4e2d\u6587e\u0301\u3042\u3099" * 40,
    "many marks": "e" + "\u0301\u0323" * 40 + " a" + "\u0315\u0300" * 20,
}


def nasty_records():
    records = [{"name": name, "text": text} for name, text in NASTY.items()]
    records += [{"name": name, "hex": raw.hex()} for name, raw in NASTY_BYTES.items()]
    return records


def record_text(record):
    return record["text"] if "text" in record else bytes.fromhex(record["hex"]).decode("utf-8", errors="replace")


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def write_lines(path, value):
    """One member a line, so that a change shows as the lines it touches."""
    body = ",\n".join(
        json.dumps(k) + ":" + json.dumps(v, ensure_ascii=False, separators=(",", ":")) for k, v in value.items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + body + "\n}\n", encoding="utf-8")


def data_files(data):
    return sorted(p for p in list(data.glob("csr/*/*.json")) + list(data.glob("glue/*/*.tsv")))


def lines_of(path):
    lines = path.read_bytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [line.decode("utf-8", errors="replace") for line in lines]


def fnv1a(ids_of_lines):
    value = 0xCBF29CE484222325
    for ids in ids_of_lines:
        for byte in numpy.array(list(ids) + [-1], dtype="<i4").tobytes():
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def smollm2(path):
    """The tokenizer in SmolLM2's GGUF, as a tokenizer.json with merges as strings."""
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges])
    )
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    tokenizer.decoder = decoders.ByteLevel()
    control = gguf.TokenType.CONTROL
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, types) if k == control])
    written = json.loads(tokenizer.to_str())
    written["model"]["merges"] = merges
    configuration = {
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"].contents()],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"].contents()],
        "chat_template": fields["tokenizer.chat_template"].contents(),
    }
    return written, configuration


def train(lines, pre_tokenizer, size, alphabet=(), special=()):
    """A vocabulary and merges of the trainer in `tokenizers`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), special_tokens=list(special), show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(m) for m in model["merges"]]


def with_fallback(vocabulary):
    """The vocabulary after three control tokens and 256 byte tokens, as SentencePiece lays it out."""
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    texts += [t for t, _ in sorted(vocabulary.items(), key=lambda entry: entry[1])]
    return {t: i for i, t in enumerate(texts)}


def bos_template(token, identifier):
    return processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, identifier)]
    )


def small_tokenizers(lines):
    """Small tokenizers in the forms of well-known models."""
    made = {}
    metaspace = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    vocabulary, merges = train(lines, metaspace, 800)
    vocabulary = with_fallback(vocabulary)
    model = lambda: models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    control = [AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")]

    # Llama 2: spaces are replaced by normalizers, a whole text is one word.
    llama2 = Tokenizer(model())
    llama2.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    llama2.post_processor = bos_template("<s>", 1)
    llama2.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    llama2.add_special_tokens(control)
    llama2.add_tokens([AddedToken("new token", normalized=True), AddedToken("<mask>", lstrip=True, normalized=False)])
    made["llama2-form"] = llama2

    # Mistral: a metaspace pre-tokenizer that marks the beginning of the text only.
    mistral = Tokenizer(model())
    mistral.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    mistral.post_processor = bos_template("<s>", 1)
    mistral.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    mistral.add_special_tokens(control)
    mistral.add_tokens([AddedToken("<trim>", rstrip=True, normalized=False), AddedToken("the", single_word=True)])
    made["mistral-form"] = mistral

    # Llama 3: byte-level, its own expression, whole words before merges.
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), letters])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary3, merges3 = train(lines, split, 1000, sorted(alphabet))
    # Words that no merge makes, which only whole-word lookup finds.
    for word in ("\u0120zyzzyva", "xylophone"):
        vocabulary3[word] = len(vocabulary3)
    llama3 = Tokenizer(models.BPE(vocab=vocabulary3, merges=merges3, ignore_merges=True))
    llama3.pre_tokenizer = split
    llama3.decoder = decoders.ByteLevel()
    llama3.add_special_tokens(
        [AddedToken(t, normalized=False) for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")]
    )
    llama3.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True), AddedToken("<word>", single_word=True)])
    begin = llama3.token_to_id("<|begin_of_text|>")
    llama3.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=True), bos_template("<|begin_of_text|>", begin)]
    )
    made["llama3-form"] = llama3

    # The rest of what is understood: splits by kind of character, unknown tokens that are not fused, a final token.
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("merged_with_previous"),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split("ing", "merged_with_next"),
            pre_tokenizers.Split("-", "removed"),
            metaspace,
        ]
    )
    vocabularyP, mergesP = train(lines, pieces, 400, special=["[UNK]", "[END]"])
    form = Tokenizer(models.BPE(vocab=vocabularyP, merges=mergesP, unk_token="[UNK]"))
    form.pre_tokenizer = pieces
    form.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    form.add_special_tokens(["[UNK]", "[END]"])
    form.post_processor = processors.TemplateProcessing(
        single="$A [END]", pair="$A $B [END]", special_tokens=[("[END]", form.token_to_id("[END]"))]
    )
    made["pieces-form"] = form

    # GPT-2 with a space before every piece, and Qwen 2's one digit a word, in one.
    vocabularyG, mergesG = train(lines, pre_tokenizers.ByteLevel(add_prefix_space=True), 400, sorted(alphabet)[20:])
    gpt2 = Tokenizer(models.BPE(vocab=vocabularyG, merges=mergesG))
    gpt2.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "removed", invert=True),
            pre_tokenizers.Split(Regex(GPT2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),
        ]
    )
    gpt2.decoder = decoders.ByteLevel()
    gpt2.add_special_tokens(["<s>"])
    made["gpt2-form"] = gpt2
    return made


QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+")


def qwen_tokenizers(lines):
    """Small tokenizers in Qwen's forms, whose merges cross the borders of characters, marks among them."""
    letters = dict(add_prefix_space=False, trim_offsets=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    skipped = ("many", "long", "one", "mixed long")
    texts = [t for table in (NASTY, COMPOSING) for n, t in table.items() if not n.startswith(skipped)]
    texts = [normalizers.NFC().normalize_str(t) for t in texts]

    def form(pattern, size, control, visible):
        split = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(**letters)]
        )
        vocabulary, merges = train(texts * 3 + lines[:40], split, size, alphabet)
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = split
        made.decoder = decoders.ByteLevel(**letters)
        made.post_processor = processors.ByteLevel(**letters)
        made.add_special_tokens([AddedToken(t, normalized=False) for t in control])
        made.add_tokens([AddedToken(t, normalized=False) for t in visible])
        return made

    visible = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_pad|>", "<think>", "</think>"]
    made = {
        "qwen2-form": form(QWEN2, 1200, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], visible),
        "qwen35-form": form(QWEN35, 1200, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], visible),
    }
    # DeepSeek's distillations into Qwen: their own control tokens, one of them before each text.
    begin = "<\uff5cbegin\u2581of\u2581sentence\uff5c>"
    control = [begin, "<\uff5cend\u2581of\u2581sentence\uff5c>"]
    distilled = form(QWEN2, 400, control, ["<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<think>", "</think>"])
    distilled.post_processor = bos_template(begin, distilled.token_to_id(begin))
    made["r1-form"] = distilled
    return made


def make_qwen(out, records, slices, lines):
    """The tokenizers in Qwen's forms, one of them as GGUF too, and what is expected of them."""
    composing = [{"name": name, "text": text} for name, text in COMPOSING.items()]
    write_lines(out / "composing.json", {r["name"]: {"text": r["text"]} for r in composing})
    for key, tokenizer in qwen_tokenizers(lines).items():
        write_json(out / key / "tokenizer.json", json.loads(tokenizer.to_str()))
        read = Tokenizer.from_file(str(out / key / "tokenizer.json"))
        result = expected(read, records, slices) | expected(read, composing, {}, "composing")
        write_lines(out / "expected" / f"{key}.json", result)
        if key != "qwen2-form":
            continue
        texts = read.get_vocab(with_added_tokens=True)
        vocabulary = gguf_vocabulary(read)
        write_gguf(
            out / "qwen2.gguf", "gpt2", vocabulary, tokenizer_pre="qwen2", bos_token_id=texts["<|endoftext|>"],
            eos_token_id=texts["<|im_end|>"], pad_token_id=texts["<|endoftext|>"], add_bos_token=False,
        )


def gguf_vocabulary(tokenizer):
    """Tokens, types (3 control, 4 text that is looked for, 1 else) and merges of a byte-level tokenizer."""
    added = tokenizer.get_added_tokens_decoder()
    order = [t for t, _ in sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda entry: entry[1])]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return {
        "tokens": order,
        "types": [(3 if added[i].special else 4) if i in added else 1 for i in range(len(order))],
        "merges": [" ".join(m) for m in merges],
    }


def expected(tokenizer, records, slices, kind="nasty"):
    """Ids of all records and slices, with and without special tokens, and what they decode to."""
    texts = [record_text(r) for r in records]
    plain = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    full = [tokenizer.encode(t, add_special_tokens=True).ids for t in texts]
    result = {"vocabularySize": tokenizer.get_vocab_size(with_added_tokens=True)}
    for record, ids, complete in zip(records, plain, full):
        result[f"{kind}: " + record["name"]] = {
            "ids": ids,
            # What special tokens add before and after.
            "added": [len(complete), complete[0] if complete else None, complete[-1] if complete else None],
            "text": tokenizer.decode(ids, skip_special_tokens=True),
            "textWithSpecial": tokenizer.decode(ids, skip_special_tokens=False),
        }
    for name, lines in slices.items():
        result["slice: " + name] = [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
    return result


def sentencepiece_vocabulary(lines, records, slices):
    """A SentencePiece model as a GGUF file holds it, and the ids that sentencepiece itself gives."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=900, byte_fallback=True,
        character_coverage=0.9995, normalization_rule_name="identity", remove_extra_whitespaces=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    count = processor.get_piece_size()
    # GGUF's numbers: 1 normal, 2 unknown, 3 control, 6 byte.
    kinds = [2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 6 if processor.is_byte(i) else 1
             for i in range(count)]
    vocabulary = {
        "tokens": [processor.id_to_piece(i) for i in range(count)],
        "scores": [processor.get_score(i) for i in range(count)],
        "types": kinds,
    }
    # Control tokens in the text are text to sentencepiece, and tokens to GGUF's readers.
    usable = [r for r in records if not any(t in record_text(r) for t in ("<s>", "</s>", "<unk>"))]
    result = {"nasty: " + r["name"]: processor.encode(record_text(r)) for r in usable}
    for name, part in slices.items():
        result["slice: " + name] = [processor.encode(line) for line in part]
    return vocabulary, result


def write_gguf(path, model, vocabulary, **more):
    """A GGUF file of a vocabulary alone."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    if "scores" in vocabulary:
        writer.add_token_scores(vocabulary["scores"])
    if "merges" in vocabulary:
        writer.add_token_merges(vocabulary["merges"])
    for key, value in more.items():
        getattr(writer, "add_" + key)(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--gguf")
    what.add_argument("--qwen", action="store_true")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "Fixtures" / "tokenization")
    options = parser.parse_args()
    out = options.out

    records = nasty_records()
    easy = options.data / "csr" / "ARC-Easy" / "train.json"
    lines = [r["instruction"] for r in json.loads(easy.read_text(encoding="utf-8"))][:1500]
    if options.qwen:
        slices = json.loads((out / "slices.json").read_text(encoding="utf-8"))
        make_qwen(out, records, slices, lines)
        return
    write_lines(out / "nasty.json", {r["name"]: {k: v for k, v in r.items() if k != "name"} for r in records})
    files = data_files(options.data)
    name = lambda path: str(path.relative_to(options.data))
    slices = {name(p): lines_of(p)[:SLICE_LINES] for p in files}
    write_lines(out / "slices.json", slices)

    written, configuration = smollm2(options.gguf)
    write_json(out / "smollm2" / "tokenizer.json", written)
    write_json(out / "smollm2" / "tokenizer_config.json", configuration)
    tokenizers = {
        "smollm2": Tokenizer.from_file(str(out / "smollm2" / "tokenizer.json")),
        "tiny-llama": Tokenizer.from_file(str(options.data / "tiny-llama" / "tokenizer.json")),
    }
    hashes = {}
    for key, tokenizer in tokenizers.items():
        for path in files:
            batch = tokenizer.encode_batch(lines_of(path), add_special_tokens=False)
            hashes[f"{key}: {name(path)}"] = fnv1a(e.ids for e in batch)
    write_lines(out / "hashes.json", hashes)

    for key, tokenizer in small_tokenizers(lines).items():
        write_json(out / key / "tokenizer.json", json.loads(tokenizer.to_str()))
        tokenizers[key] = Tokenizer.from_file(str(out / key / "tokenizer.json"))
    for key, tokenizer in tokenizers.items():
        write_lines(out / "expected" / f"{key}.json", expected(tokenizer, records, slices))

    vocabulary, ids = sentencepiece_vocabulary(lines, records, slices)
    write_lines(out / "expected" / "sentencepiece.json", ids)
    write_gguf(out / "sentencepiece.gguf", "llama", vocabulary, bos_token_id=1, eos_token_id=2, unk_token_id=0)
    texts = tokenizers["llama3-form"].get_vocab(with_added_tokens=True)
    write_gguf(
        out / "llama3.gguf", "gpt2", gguf_vocabulary(tokenizers["llama3-form"]), tokenizer_pre="llama-bpe",
        bos_token_id=texts["<|begin_of_text|>"], eos_token_id=texts["<|eot_id|>"],
    )


if __name__ == "__main__":
    main()
