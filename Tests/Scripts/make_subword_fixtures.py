"""Writes tokenizers in the forms of encoders and of later decoders under Fixtures/tokenization/subwords, and what Hugging
Face's programs make of two thousand texts (made_texts.py) and of every character.

Needs: tokenizers 0.23, sentencepiece 0.2, transformers 5.24. Run from the package's root:
python Tests/Scripts/make_subword_fixtures.py --data folder (with csr/ARC-Easy/train.json).

With --others FOLDER nothing of the package changes: FOLDER gets the same for real tokenizers and for forms that are too
large to be kept, and hashes of all lines of the data, which the tests hold ours to where TSPEFT_TOKENIZERS names it.
"""

import argparse
import io
import json
import pathlib
import shutil

import sentencepiece
from tokenizers import (
    AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers,
)
from transformers import DebertaV2Tokenizer, T5Tokenizer, XLMRobertaTokenizer

from made_texts import made_texts

OUT = pathlib.Path(__file__).parents[2] / "Fixtures" / "tokenization" / "subwords"
# A hash is over so many texts, so that a failure names a few.
GROUP = 50
LONGEST = 24
# The characters that a normalizer is held to: planes that have any, and what lies around them.
CHARACTERS = [(0x1, 0xD800), (0xE000, 0x32400), (0xE0000, 0xE0400), (0x10FF00, 0x110000)]
CHARACTER_GROUP = 4096

BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


def fnv(parts):
    value = 0xCBF29CE484222325
    for part in parts:
        for byte in part:
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def words(ids):
    return b"".join((i & 0xFFFFFFFF).to_bytes(4, "little") for i in [*ids, -1])


def hashes(parts):
    parts = list(parts)
    return [fnv(parts[i : i + GROUP]) for i in range(0, len(parts), GROUP)]


def expected(tokenizer, texts):
    """What ours is held to: ids, pairs cut to LONGEST tokens with their types, texts of ids."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    plain = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    framed = [tokenizer.encode(t).ids for t in texts]
    result = {
        "size": tokenizer.get_vocab_size(with_added_tokens=True),
        "ids": hashes(words(i) for i in plain),
        "framed": hashes(words(i) for i in framed),
        "decoded": hashes(tokenizer.decode(i, skip_special_tokens=True).encode() + b"\xff" for i in plain),
    }
    for direction in ["right", "left"]:
        tokenizer.enable_truncation(LONGEST, strategy="longest_first", direction=direction)
        pairs = [tokenizer.encode(a, b) for a, b in zip(texts, texts[1:])]
        result[direction] = hashes(words(p.ids) + words(p.type_ids) for p in pairs)
    tokenizer.no_truncation()
    return result


def bert_template(tokenizer):
    ids = {t: tokenizer.token_to_id(t) for t in ["[CLS]", "[SEP]"]}
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
    )


def word_piece(normalizer, pre_tokenizer, texts, size, longest=100):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=longest))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=BERT_TOKENS, show_progress=False,
                                        limit_alphabet=250)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.post_processor = bert_template(tokenizer)
    return tokenizer


def unigram(normalizer, pre_tokenizer, texts, size, specials):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=specials, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def byte_pairs(expression, texts, size, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(expression), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False),
    ])
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([
        AddedToken("left", lstrip=True), AddedToken("right", rstrip=True, normalized=False),
        AddedToken("Single", single_word=True),
    ])
    return tokenizer


def made_tokenizers(lines, texts):
    """Small tokenizers by name."""
    made = {}
    made["bert-uncased"] = word_piece(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), lines, 500)
    cased = word_piece(
        normalizers.BertNormalizer(lowercase=False), pre_tokenizers.BertPreTokenizer(), lines + texts, 700, 40
    )
    cased.post_processor = processors.BertProcessing(
        ("[SEP]", cased.token_to_id("[SEP]")), ("[CLS]", cased.token_to_id("[CLS]"))
    )
    made["bert-cased"] = cased
    plain = word_piece(
        normalizers.Sequence([
            normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(),
        ]),
        pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]),
        lines + texts, 700,
    )
    plain.post_processor = processors.RobertaProcessing(
        ("[SEP]", plain.token_to_id("[SEP]")), ("[CLS]", plain.token_to_id("[CLS]"))
    )
    plain.decoder = decoders.WordPiece(cleanup=False)
    made["whitespace"] = plain
    pieces = unigram(
        normalizers.Sequence([
            normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "),
        ]),
        pre_tokenizers.Metaspace(), lines, 700, ["<s>", "</s>", "<unk>", "<pad>", "<mask>"],
    )
    written = json.loads(pieces.to_str())
    written["model"]["byte_fallback"] = True
    written["model"]["vocab"] += [[f"<0x{b:02X}>", -30.0] for b in range(256)]
    pieces = Tokenizer.from_str(json.dumps(written))
    pieces.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    pieces.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[(t, pieces.token_to_id(t)) for t in ["<s>", "</s>"]],
    )
    pieces.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    made["unigram"] = pieces
    gemma = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    gemma.normalizer = normalizers.Replace(" ", "\u2581")
    gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    gemma.train_from_iterator(lines + texts, trainers.BpeTrainer(
        vocab_size=1200, show_progress=False, max_token_length=16, limit_alphabet=300,
        special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"] + [f"<0x{b:02X}>" for b in range(256)],
    ))
    written = json.loads(gemma.to_str())
    written["added_tokens"] = [t for t in written["added_tokens"] if not t["content"].startswith("<0x")]
    gemma = Tokenizer.from_str(json.dumps(written))
    gemma.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    gemma.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", gemma.token_to_id("<bos>"))]
    )
    made["gemma"] = gemma
    made["o200k"] = byte_pairs(O200K, lines + texts, 1000)
    made["tekken"] = byte_pairs(TEKKEN, lines + texts, 1000, ignore_merges=True)
    made["cl100k"] = byte_pairs(CL100K, lines + texts, 1000)
    return made


RULES = {0x212B: "a", 0xFB01: "fi", 0xFF21: "A", 0xFF22: "B", 0xA0: " ", 0x3000: " ", 0x09: " ", 0x200B: "", 0xE9: "e"}


def sentence_piece(lines, folder, **options):
    """A unigram model of sentencepiece, with a small table of characters."""
    rules = folder / "rules.tsv"
    rows = [f"{key:X}\t{' '.join(f'{ord(c):X}' for c in text)}" for key, text in RULES.items()]
    rows += ["65 301\tE9", "1112 1161 11AB\tD55C", "AC00 11A8\tAC01"]
    rules.write_text("\n".join(rows) + "\n")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="unigram", vocab_size=600, minloglevel=2,
        character_coverage=0.9995, **({"normalization_rule_tsv": str(rules)} | options),
    )
    rules.unlink()
    return model.getvalue()


SENTENCE_PIECE = {
    "deberta": (DebertaV2Tokenizer, "spm.model", {"do_lower_case": False, "vocab_type": "spm"}, dict(
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
        unk_piece="[UNK]", normalization_rule_name="identity", normalization_rule_tsv="")),
    "deberta-lower": (DebertaV2Tokenizer, "spm.model", {"do_lower_case": True, "split_by_punct": True}, dict(
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
        unk_piece="[UNK]", normalization_rule_name="identity", normalization_rule_tsv="")),
    "xlm-roberta": (XLMRobertaTokenizer, "sentencepiece.bpe.model", {}, {}),
    "t5": (T5Tokenizer, "spiece.model", {"extra_ids": 100}, dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)),
}


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def characters():
    """Texts of many characters, each after a letter and before a space."""
    for first, last in CHARACTERS:
        for start in range(first, last, CHARACTER_GROUP):
            values = range(start, min(start + CHARACTER_GROUP, last))
            yield "".join(f"a{chr(v)} " for v in values)


NORMALIZERS = {
    "NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(), "StripAccents": normalizers.StripAccents(), "Nmt": normalizers.Nmt(),
    "bert-uncased": normalizers.BertNormalizer(), "bert-cased": normalizers.BertNormalizer(lowercase=False),
}


def make(options, lines, texts):
    write(OUT / "texts.json", texts)
    result = {
        name: [fnv([normalizer.normalize_str(t).encode()]) for t in [*characters(), *texts[::4]]]
        for name, normalizer in NORMALIZERS.items()
    }
    write(OUT / "normalizers.json", result)
    for name, tokenizer in made_tokenizers(lines, texts).items():
        write(OUT / name / "tokenizer.json", json.loads(tokenizer.to_str()))
        read = Tokenizer.from_file(str(OUT / name / "tokenizer.json"))
        write(OUT / name / "expected.json", expected(read, texts))
    for name, (kind, file, configuration, training) in SENTENCE_PIECE.items():
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        training = {k: v for k, v in training.items() if v != ""} | (
            {"normalization_rule_tsv": ""} if "normalization_rule_tsv" in training else {})
        (folder / file).write_bytes(sentence_piece(lines, folder, **training))
        write(folder / "tokenizer_config.json", configuration)
        write(folder / "expected.json", expected(kind.from_pretrained(str(folder))._tokenizer, texts))


def data_lines(data):
    for path in sorted([*data.glob("csr/*/*.json"), *data.glob("glue/*/*.tsv")]):
        lines = path.read_bytes().split(b"\n")
        if not lines[-1]:
            lines.pop()
        yield str(path.relative_to(data)), [line.decode("utf-8", errors="replace") for line in lines]


def make_others(options, lines, texts):
    """Real tokenizers (each folder of --real), and all forms with SentencePiece's whole table of characters."""
    folder = options.others
    tokenizers = {}
    for path in options.real:
        name = path.parent.name if path.is_file() else path.name
        source = path if path.is_file() else path / "tokenizer.json"
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name / "tokenizer.json")
        tokenizers[name] = Tokenizer.from_file(str(folder / name / "tokenizer.json"))
    for name, (kind, file, configuration, training) in SENTENCE_PIECE.items():
        place = folder / f"{name}-nmt"
        place.mkdir(parents=True, exist_ok=True)
        training = {k: v for k, v in training.items() if "normalization" not in k}
        model = sentence_piece(lines, place, **training, normalization_rule_tsv="",
                               normalization_rule_name="nmt_nfkc", hard_vocab_limit=False)
        (place / file).write_bytes(model)
        write(place / "tokenizer_config.json", configuration)
        tokenizers[place.name] = kind.from_pretrained(str(place))._tokenizer
        # The same in a tokenizer.json.
        copy = folder / f"{name}-json"
        copy.mkdir(parents=True, exist_ok=True)
        (copy / "tokenizer.json").write_text(tokenizers[place.name].to_str(), encoding="utf-8")
        tokenizers[copy.name] = tokenizers[place.name]
    for name, tokenizer in tokenizers.items():
        result = expected(tokenizer, texts)
        result["lines"] = {
            key: fnv(words(e.ids) for e in tokenizer.encode_batch(batch, add_special_tokens=False))
            for key, batch in data_lines(options.data)
        }
        write(folder / name / "expected.json", result)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--others", type=pathlib.Path)
    parser.add_argument("--real", type=pathlib.Path, nargs="*", default=[], help="folders with a tokenizer.json")
    options = parser.parse_args()
    easy = options.data / "csr" / "ARC-Easy" / "train.json"
    lines = [r["instruction"] for r in json.loads(easy.read_text(encoding="utf-8"))][:1500]
    texts = made_texts()
    (make_others if options.others else make)(options, lines, texts)


if __name__ == "__main__":
    main()
