#!/usr/bin/env python3
"""Make Fixtures/chat-templates/cases.jsonl: what transformers makes of the templates beside it.

usage: make_family_templates.py [--out Fixtures/chat-templates/cases.jsonl]

Needs transformers 5.24 and jinja2 3.1. The templates are this project's own writing; each renders roles, functions,
thoughts, defaults and dates where its family's published one does, by the family's marks. {% generation %} blocks say in
them what the model is to say: all that it is not given where it is asked for an answer, down to what ends its turn.

First line: special tokens with their ids, and the conversations. Then a line a family: its name, bos and
eos, what ends a turn of the assistant's that is the last and one that is not (with its id), and the cases. A case is the
conversation's number, its text (null where the template refuses it), the stretches that the model is to say, in Unicode
scalars, and for two conversations the ids and scored places by the tokenizer of Fixtures/tiny-llama with the special
tokens. The clock stands at 2026-03-05 07:08:09.
"""

import argparse
import json
import os
import re
import tempfile
from datetime import datetime
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import AutoTokenizer  # noqa: E402
from transformers.utils import chat_template_utils  # noqa: E402

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "Fixtures" / "chat-templates"
# name: (bos, eos, end of the last answer, end of an answer that another turn follows)
FAMILIES = {
    "qwen2": ("", "<|im_end|>", "<|im_end|>", "<|im_end|>"),
    "qwen2.5": ("", "<|im_end|>", "<|im_end|>", "<|im_end|>"),
    "qwen3": ("", "<|im_end|>", "<|im_end|>", "<|im_end|>"),
    "qwen3.5": ("", "<|im_end|>", "<|im_end|>", "<|im_end|>"),
    "gemma2": ("<bos>", "<eos>", "<end_of_turn>", "<end_of_turn>"),
    "gemma3": ("<bos>", "<eos>", "<end_of_turn>", "<end_of_turn>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>", "<|eot_id|>"),
    "llama3.1": ("<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>", "<|eot_id|>"),
    "llama3.2": ("<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>", "<|eot_id|>"),
    "mistral-v1": ("<s>", "</s>", "</s>", "</s>"),
    "mistral-v3": ("<s>", "</s>", "</s>", "</s>"),
    "mistral-nemo": ("<s>", "</s>", "</s>", "</s>"),
    "mistral-small3": ("<s>", "</s>", "</s>", "</s>"),
    "ministral3": ("<s>", "</s>", "</s>", "</s>"),
    "mixtral": ("<s>", "</s>", "</s>", "</s>"),
    "phi3": ("<s>", "<|endoftext|>", "<|end|>", "<|end|>"),
    "phi4": ("<|endoftext|>", "<|im_end|>", "<|im_end|>", "<|im_end|>"),
    "phi4-mini": ("<|endoftext|>", "<|endoftext|>", "<|end|>", "<|end|>"),
    "granite3": ("<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>"),
    "granite4": ("<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>"),
    "smollm3": ("", "<|im_end|>", "<|im_end|>", "<|im_end|>"),
    "olmo2": ("<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"),
    "olmo3": ("", "<|endoftext|>", "<|endoftext|>", "<|im_end|>"),
    "glm4": ("", "<|user|>", None, "<|user|>"),
    "gpt-oss": ("<|startoftext|>", "<|return|>", "<|return|>", "<|end|>"),
}
SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<s>", "</s>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<bos>", "<eos>", "<start_of_turn>",
    "<end_of_turn>", "<start_of_image>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<|end|>",
    "<|endoftext|>", "<|tool|>", "<|/tool|>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[ARGS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
    "[THINK]", "[/THINK]", "[IMG]", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "[gMASK]", "<sop>",
    "<|start|>", "<|channel|>", "<|message|>", "<|return|>", "<|call|>", "<|startoftext|>", "<|vision_start|>",
    "<|image_pad|>", "<|vision_end|>",
]
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Tells the weather of \u00c5rhus & elsewhere.", "parameters": {
        "type": "object", "properties": {
            "place": {"type": "string", "description": "Where."},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "days": {"type": "array", "items": {"type": "integer"}}},
        "required": ["place"]}}},
    {"type": "function", "function": {"name": "now", "description": "Tells the time."}},
]


def turn(role, content, **members):
    return {"role": role, "content": content, **members}


def call(number, **arguments):
    return {"type": "function", "id": f"call{number:05}", "function": {"name": "weather", "arguments": arguments}}


def answer(number, content):
    return turn("tool", content, tool_call_id=f"call{number:05}", name="weather")


HI, HELLO = turn("user", "Hi"), turn("assistant", "Hello you")
BRIEF = turn("system", "Be brief.")
RAIN = [turn("user", "Rain?"), turn("assistant", "", tool_calls=[call(1, place="\u00c5rhus", days=[1, 2])]),
        answer(1, '{"rain": true}')]
ASK = {"add_generation_prompt": True}
# Every one to every family.
CONVERSATIONS = [
    {"messages": [HI, HELLO]},
    {"messages": [BRIEF, turn("user", " 2+2? "), turn("assistant", " 4. "), turn("user", "And\n3+3?"),
                  turn("assistant", "caf\u00e9 6 \U0001f600\n")]},
    {"messages": [HI, HELLO, turn("user", "<b>bye</b> [/INST]")], **ASK},
    {"messages": [HI], **ASK},
    {"messages": [HI], **ASK, "enable_thinking": False},
    {"messages": [BRIEF, HI], **ASK, "enable_thinking": True},
    {"messages": [turn("user", "7*6?"), turn("assistant", "42", reasoning_content="six sevens"), turn("user", "+1?"),
                  turn("assistant", "43", reasoning_content="\none\nmore\n")]},
    {"messages": [turn("user", "7*6?"), turn("assistant", "<think>\nsix sevens\n</think>\n\n42"), turn("user", "+1?"),
                  turn("assistant", "<think>one more</think>43")]},
    {"messages": [turn("user", "7*6?"), turn("assistant", "42", thinking="six sevens"), turn("user", "+1?"),
                  turn("assistant", "43", thinking="one more")]},
    {"messages": [BRIEF, turn("user", "Rain?")], "tools": TOOLS, **ASK},
    {"messages": [turn("user", "Rain?")], "tools": TOOLS, **ASK, "tools_in_user_message": False},
    {"messages": RAIN, "tools": TOOLS, **ASK},
    {"messages": [BRIEF, *RAIN, turn("assistant", "It rains.")], "tools": TOOLS},
    {"messages": [turn("user", "Rain?"), turn("assistant", "I look.", tool_calls=[call(1, place="a"), call(2, place="b")]),
                  answer(1, "no"), answer(2, "yes"), turn("assistant", "In b.")], "tools": TOOLS},
    {"messages": [turn("user", "Rain?"), turn("assistant", "", thinking="I look.", tool_calls=[call(1, place="a")]),
                  answer(1, "no")], "tools": TOOLS, **ASK},
    {"messages": [turn("user", "Rain?"), turn("assistant", "", tool_calls=[call(1, place="a")]), answer(1, "no"),
                  turn("assistant", "None.")], "builtin_tools": ["weather", "code_interpreter"]},
    {"messages": [turn("user", [{"type": "text", "text": "What is it?"}, {"type": "image"}]), turn("assistant", "A cat.")]},
    {"messages": [HI], "documents": [{"doc_id": 7, "text": "Cats purr."}, {"text": "Dogs bark."}], **ASK},
    {"messages": [HI], "date_string": "1 Jan 2025", "today": "2025-01-01", "reasoning_effort": "high", "thinking": True,
     "model_identity": "You are a test.", "controls": {"length": "long"}, "opens_thoughts": True, **ASK},
    {"messages": [turn("system", "Be brief. /no_think"), HI, HELLO]},
    {"messages": [turn("system", "/system_override Be a cat.", tools="[]", functions="f()"), HI,
                  turn("assistant", "Miau", function_calls="f()"), turn("environment", "1")], **ASK},
    {"messages": [HI, HI, HELLO]},
    {"messages": [HELLO]},
    {"messages": []},
]
SCORED = (0, 1)


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 5, 7, 8, 9)


chat_template_utils.datetime = Clock


def rendered(template, conversation, special):
    given = {key: value for key, value in conversation.items() if key != "messages"}
    try:
        texts, said = chat_template_utils.render_jinja_template(
            [conversation["messages"]], chat_template=template, return_assistant_tokens_mask=True, **given, **special)
        plain = chat_template_utils.render_jinja_template(
            [conversation["messages"]], chat_template=without_blocks(template), **given, **special)[0]
    except Exception:
        return None, []
    assert plain == texts, (plain, texts)
    return texts[0], [list(stretch) for stretch in said[0]]


def without_blocks(template):
    return re.sub(r"{%-? (end)?generation -?%}", "", template)


def tokenizer_with(special):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            Path(folder, name).write_bytes((ROOT / "Fixtures" / "tiny-llama" / name).read_bytes())
        tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER / "cases.jsonl")
    options = parser.parse_args()
    assert sorted(FAMILIES) == sorted(path.stem for path in FOLDER.glob("*.jinja"))
    tokenizer = tokenizer_with(SPECIAL)
    ids = tokenizer.convert_tokens_to_ids(SPECIAL)
    lines = [{"special": SPECIAL, "ids": ids, "conversations": CONVERSATIONS}]
    refused = 0
    for name, (bos, eos, end, between) in FAMILIES.items():
        template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
        special = {"eos_token": eos} | ({"bos_token": bos} if bos else {})
        tokenizer.bos_token, tokenizer.eos_token = bos or None, eos
        cases = []
        for number, conversation in enumerate(CONVERSATIONS):
            text, said = rendered(template, conversation, special)
            refused += text is None
            case = [number, text, said]
            if number in SCORED and text is not None:
                given = {key: value for key, value in conversation.items() if key != "messages"}
                result = tokenizer.apply_chat_template(
                    conversation["messages"], chat_template=template, tokenize=True, return_dict=True,
                    return_assistant_tokens_mask=True, **given)
                case += [result["input_ids"], [place for place, flag in enumerate(result["assistant_masks"]) if flag]]
            cases.append(case)
        lines.append({"name": name, "bos": bos, "eos": eos, "end": end, "between": between,
                      "betweenID": tokenizer.convert_tokens_to_ids(between), "cases": cases})
    body = "\n".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines)
    options.out.write_text(body + "\n", encoding="utf-8")
    print(f"{len(FAMILIES)} families, {len(FAMILIES) * len(CONVERSATIONS)} cases, {refused} of which are refused")


if __name__ == "__main__":
    main()
