"""Writes Sources/CKernels/blocks/codebooks.c from the constants of the gguf package (made with 0.19.0).

Needs: gguf, numpy. Run from the package's root: python Tests/Scripts/make_codebooks.py
"""

import pathlib

import numpy as np
from gguf import quants

TARGET = pathlib.Path("Sources/CKernels/blocks/codebooks.c")

HEAD = """// Written by Tests/Scripts/make_codebooks.py from the constants of the gguf package; see blocks.h.
#include "blocks.h"
"""

GRIDS = [
    ("tspeft_iq2_xxs_grid", quants.IQ2_XXS),
    ("tspeft_iq2_xs_grid", quants.IQ2_XS),
    ("tspeft_iq2_s_grid", quants.IQ2_S),
    ("tspeft_iq3_xxs_grid", quants.IQ3_XXS),
    ("tspeft_iq3_s_grid", quants.IQ3_S),
    ("tspeft_iq1_grid", quants.IQ1_S),
]


def array(declaration, items, per_line):
    lines = [", ".join(items[start : start + per_line]) for start in range(0, len(items), per_line)]
    return f"\nconst {declaration}[{len(items)}] = {{\n" + "".join(f"    {line},\n" for line in lines) + "};\n"


def main():
    # The program computes these signs instead of looking them up.
    assert all(signs == bits | (bits.bit_count() & 1) << 7 for bits, signs in enumerate(quants.IQ2_XXS.ksigns))
    text = HEAD + array("int8_t tspeft_iq4_values", [str(value) for value in quants.IQ4_NL.kvalues], 16)
    for name, kind in GRIDS:
        kind.init_grid()
        entries, width = kind.grid_shape
        words = kind.grid.reshape(entries, width).astype(np.int8).view(f"<u{width}").reshape(-1)
        suffix = "ull" if width == 8 else "u"
        items = [f"0x{word:0{2 * width}x}{suffix}" for word in words]
        text += array(f"uint{8 * width}_t {name}", items, 5 if width == 8 else 9)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
