"""Two thousand texts that are hard on tokenizers, the same on every machine: all scripts, characters with marks, emoji
with joiners, numbers, code, white space, controls, characters that nobody has assigned, special tokens inside text.

make_subword_fixtures.py writes them; nothing here depends on the version of Python's unicodedata.
"""

import random

SPECIALS = [
    "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[PAD]", "<s>", "</s>", "<unk>", "<pad>", "<mask>", "<|endoftext|>",
    "<extra_id_0>", "<extra_id_99>", "<bos>", "<eos>", "<0x0A>", "<0xE2>", "##ing", "\u2581the", "\u2581",
    "<|im_start|>", "<|im_end|>", "left", "right", "Single",
]
# First and last characters of blocks, most scripts that are written today and some that are not.
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F),
    (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF), (0x8A0, 0x8FF), (0x900, 0x97F),
    (0x980, 0x9FF), (0xA00, 0xA7F), (0xB00, 0xBFF), (0xC00, 0xCFF), (0xD00, 0xDFF), (0xE00, 0xEFF), (0xF00, 0xFFF),
    (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1680, 0x169F),
    (0x16A0, 0x16FF), (0x1700, 0x177F), (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1AB0, 0x1AFF), (0x1B00, 0x1BFF),
    (0x1D00, 0x1DFF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x20D0, 0x20FF), (0x2100, 0x218F),
    (0x2190, 0x23FF), (0x2460, 0x25FF), (0x2600, 0x27BF), (0x2C00, 0x2DFF), (0x2E80, 0x2FDF), (0x3000, 0x30FF),
    (0x3100, 0x318F), (0x3190, 0x33FF), (0x3400, 0x34FF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xA640, 0xA8FF),
    (0xA900, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFEFF),
    (0xFF00, 0xFFEF), (0x10000, 0x100FF), (0x10280, 0x103FF), (0x10400, 0x104FF), (0x10900, 0x109FF),
    (0x11000, 0x114FF), (0x12000, 0x123FF), (0x13000, 0x1345F), (0x1B000, 0x1B2FF), (0x1D100, 0x1D1FF),
    (0x1D400, 0x1D7FF), (0x1E900, 0x1E95F), (0x1F000, 0x1F2FF), (0x1F300, 0x1FAFF), (0x20000, 0x200FF),
    (0x2F800, 0x2FA1F), (0x30000, 0x300FF), (0xE0000, 0xE01EF), (0xF0000, 0xF00FF), (0x10FF00, 0x10FFFF),
]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2003", "\u2028",
          "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\u200b", "\u200d", "\u180e"]
EMOJI = ["\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\u2764\ufe0f",
         "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e007f", "\u2615",
         "\U0001f636\u200d\U0001f32b\ufe0f", "\u263a", "\U0001fae8"]
CODE = ["def f(x):\n\treturn x**2  # square", "if (a && b || !c) { i++; }", "<div class=\"x\">&amp;</div>",
        "SELECT * FROM t WHERE a='b';", "std::vector<int>& v = *p->q;", "a_b.c-d/e\\f", "#include <stdio.h>\r\n\r\n",
        "x = {'k': [1, 2.5e-3, None]}", "https://example.org/a?b=c&d=%20#e", "git commit -m \"fix: it's\"",
        "\\u00e9 \\n \\x41", "==>!= <= >= -> => :: ... --"]
WORDS = ["the", "Question", "answer", "naïve", "café", "CAFÉ", "İstanbul", "straße", "ΣΊΣΥΦΟΣ", "don't", "I'm", "they'LL",
         "we've", "it\u2019s", "N'T", "'S", "\u01c5", "ﬁne", "\u212bngstr\u00f6m", "e\u0301te\u0301", "한국어", "ㄱㅏ",
         "日本語", "ｶﾞｷﾞ", "ＡＢＣ１２３", "ไทย", "हिन्दी", "العربية", "עברית", "Việt", "\u0f73\u0f71", "a\u0315\u0300\u05ae",
         "internationalization", "supercalifragilisticexpialidocious" * 4, "x" * 120, "\u00bd", "\u2460", "1234567890",
         "3.14159", "1,000,000", "0x1F", "12e-7", "²³", "٣٤٥", "Ⅷ", "\u1d2c", "ς", "ǅ", "ß", "ŉ", "ΐ"]


def piece(random):
    kind = random.randrange(12)
    if kind < 3:
        first, last = random.choice(BLOCKS)
        return "".join(chr(random.randint(first, last)) for _ in range(random.randint(1, 8)))
    if kind < 6:
        return random.choice(WORDS)
    if kind == 6:
        return random.choice(SPACES) * random.randint(1, 3)
    if kind == 7:
        return random.choice(EMOJI)
    if kind == 8:
        return random.choice(CODE)
    if kind == 9:
        return random.choice(SPECIALS)
    if kind == 10:
        return "".join(random.choice("0123456789.,:%$-+ ") for _ in range(random.randint(1, 12)))
    # A letter with marks, and anything at all.
    marks = "".join(chr(random.randint(0x300, 0x36F)) for _ in range(random.randint(0, 3)))
    value = random.randrange(0x110000 - 0x800)
    return chr(random.randint(0x41, 0x17F)) + marks + chr(value if value < 0xD800 else value + 0x800)


def made_texts():
    """The texts."""
    generator = random.Random(1511)
    texts = []
    for index in range(2000):
        parts = []
        for _ in range(generator.randint(1, 7)):
            parts.append(piece(generator))
            if generator.random() < 0.6:
                parts.append(" ")
        text = "".join(parts)
        texts.append(text.strip(" ") if index % 3 else text)
    return texts
