"""Makes Fixtures/tokenization/templates.jsonl: templates, what they are given, and what transformers makes of them.

Needs transformers 5.24 and jinja2 3.1.6. A line is a list: the template, the number of its variables among those of the
first line, and its text, or null where it fails, writes an address or is refused by design. The clock stands at
2026-03-05 07:08:09.

    python Tests/Scripts/make_template_cases.py
"""

import json
import sys
from datetime import datetime
from pathlib import Path

from transformers.utils import chat_template_utils

sys.path.insert(0, str(Path(__file__).parent))
from template_cases import CASES, CONTEXTS  # noqa: E402


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 5, 7, 8, 9)


chat_template_utils.datetime = Clock


# Refused by name: chance, numbers that are not real, bytes, names of characters. And a slice of a number that jinja
# takes for undefined where it stands in the template, and for an error where a variable holds it.
REFUSED = {
    "{{ s | random }}", "{{ l | random }}", "{{ lipsum() }}", "{{ (-8) ** 0.5 }}", "{{ 'abc'.encode() }}",
    "{{ '\\N{BULLET}' }}", "{{ 5[1:] }}",
}


def rendered(template, variables):
    if template in REFUSED:
        return None
    try:
        text = chat_template_utils._compile_jinja_template(template).render(**variables)
        text.encode("utf-8")
        return None if " at 0x" in text else text
    except Exception:
        return None


def main():
    out = Path(__file__).parents[2] / "Fixtures" / "tokenization" / "templates.jsonl"
    lines = [json.dumps(CONTEXTS, ensure_ascii=False, separators=(",", ":"))]
    seen = set()
    for template, context in CASES:
        if (template, context) in seen:
            continue
        seen.add((template, context))
        text = rendered(template, json.loads(json.dumps(CONTEXTS[context])))
        lines.append(json.dumps([template, context, text], ensure_ascii=False, separators=(",", ":")))
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    errors = sum(line.endswith(",null]") for line in lines)
    print(f"{len(lines) - 1} cases, {errors} of which fail")


if __name__ == "__main__":
    main()
