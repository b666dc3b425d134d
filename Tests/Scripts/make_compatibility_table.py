"""Writes Sources/Tokenization/PreTokenization/CompatibilityTable.swift from Python's unicodedata.

Needs Python 3.11 (Unicode 14) or later. Run from the package's root: python3 Tests/Scripts/make_compatibility_table.py
"""

import pathlib
import sys
import unicodedata

TARGET = pathlib.Path("Sources/Tokenization/PreTokenization/CompatibilityTable.swift")

HEAD = '''// Written by Tests/Scripts/make_compatibility_table.py from Unicode's data; see CompatibilityDecomposition.swift.
extension CompatibilityDecomposition {
    /// Characters and what they are written for, in hexadecimal: `key=a.b` is one character and its decomposition,
    /// `key*n=a` are n characters from `key` on and one each from `a` on. A key is counted from the one before.
    static let table: StaticString = """
'''


def entries():
    """Each character that NFKD changes and NFD does not lead to, with its whole decomposition."""
    for value in range(sys.maxunicode + 1):
        if 0xD800 <= value < 0xE000:
            continue
        character = chr(value)
        if unicodedata.decomposition(character).startswith("<"):
            yield value, [ord(c) for c in unicodedata.normalize("NFKD", character)]


def runs():
    """Entries in order; neighbours that become neighbours are one: (key, count, decomposition)."""
    run = None
    for key, text in entries():
        if run and len(text) == len(run[2]) == 1 and key == run[0] + run[1] and text[0] == run[2][0] + run[1]:
            run = (run[0], run[1] + 1, run[2])
            continue
        if run:
            yield run
        run = (key, 1, text)
    yield run


def main():
    words = []
    last = 0
    for key, count, text in runs():
        many = f"*{count:x}" if count > 1 else ""
        words.append(f"{key - last:x}{many}=" + ".".join(f"{c:x}" for c in text))
        last = key
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > 113:
            lines.append("")
        lines[-1] += word + " "
    body = "".join(f"        {line}\\\n" for line in lines[:-1]) + f"        {lines[-1].rstrip()}\n"
    TARGET.write_text(HEAD + body + '        """\n}\n')


if __name__ == "__main__":
    main()
