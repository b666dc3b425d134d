#!/usr/bin/env python3
"""Make Fixtures/tokenization/turns.json: which tokens of a conversation a model is to say, as transformers has it.

usage: make_turn_fixtures.py [--out Fixtures/tokenization/turns.json]

Each template, written here in the manner of a well-known family, says by {% generation %} blocks what the model is to say:
all that it is not given where it is asked for an answer, down to what ends its turn. The ids and the mask are those of
transformers' apply_chat_template (return_assistant_tokens_mask) with the tokenizer of Fixtures/tiny-llama and the special
tokens below. The same template without the blocks must come to the same.
"""

import argparse
import json
import os
import re
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import AutoTokenizer  # noqa: E402

ROOT = Path(__file__).parents[2]
SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<s>", "</s>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>",
    "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
]
G, E = "{% generation %}", "{% endgeneration %}"
# name: (template, bos_token, eos_token)
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}" + G +
        "{{ m.content + '<|im_end|>' }}" + E + "{{ '\\n' }}{% else %}{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", "", "<|im_end|>"),
    "chatml, its end on a line of its own": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}" + G +
        "{{ m.content + '\\n<|im_end|>' }}" + E + "{{ '\\n' }}{% else %}{{ m.content + '\\n<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", "", "<|im_end|>"),
    "llama-2": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
        "{% elif m.role == 'assistant' %}" + G + "{{ ' ' + m.content.strip() + ' ' + eos_token }}" + E +
        "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}", "<s>", "</s>"),
    "llama-3": (
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}"
        "{% if m.role == 'assistant' %}" + G + "{{ m.content | trim + '<|eot_id|>' }}" + E +
        "{% else %}{{ m.content | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        "<|begin_of_text|>", "<|eot_id|>"),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
        "{% elif m.role == 'assistant' %}" + G + "{{ ' ' + m.content + eos_token }}" + E +
        "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}", "<s>", "</s>"),
    "gemma": (
        "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
        "{% if m.role == 'assistant' %}" + G + "{{ m.content | trim + '<end_of_turn>' }}" + E + "{{ '\\n' }}"
        "{% else %}{{ m.content | trim + '<end_of_turn>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}", "<bos>", "<eos>"),
    "phi-3": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|assistant|>\\n' }}" + G +
        "{{ m.content + '<|end|>' }}" + E + "{{ '\\n' }}{% else %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
        "<s>", "<|endoftext|>"),
    "phi-4": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' }}{% if m.role == 'assistant' %}" + G +
        "{{ m.content + '<|im_end|>' }}" + E + "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}", "<|endoftext|>", "<|im_end|>"),
    "qwen3": (
        "{%- set ns = namespace(last=-1) -%}{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}"
        "{%- endif -%}{%- endfor -%}{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' -}}"
        "{%- if m.role == 'assistant' -%}" + G +
        "{%- if loop.index0 > ns.last -%}{{- '<think>\\n' + (m.reasoning_content if m.reasoning_content is string else '') + "
        "'\\n</think>\\n\\n' -}}{%- endif -%}{{- m.content + '<|im_end|>' -}}" + E +
        "{{- '\\n' -}}{%- else -%}{{- m.content + '<|im_end|>\\n' -}}{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
        "{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
        "{%- endif -%}", "", "<|im_end|>"),
    "zephyr": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|assistant|>\\n' }}" + G + "{{ m.content + eos_token }}" + E +
        "{{ '\\n' }}{% else %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endif %}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}", "<s>", "</s>"),
    "vicuna without an end": (
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content + '\\n\\n' }}{% elif m.role == 'user' %}"
        "{{ 'USER: ' + m.content + '\\n' }}{% else %}{{ 'ASSISTANT:' }}" + G + "{{ ' ' + m.content }}" + E +
        "{{ '\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}", "<s>", "</s>"),
    "deepseek": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
        "{{ '<\uff5cUser\uff5c>' + m.content }}{% else %}{{ '<\uff5cAssistant\uff5c>' }}" + G +
        "{{ m.content + '<\uff5cend\u2581of\u2581sentence\uff5c>' }}" + E + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<\uff5cAssistant\uff5c><think>\\n' }}{% endif %}",
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
    "the next speaker's mark is the end": (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|assistant|>\\n' }}" + G + "{{ m.content }}"
    "{% if not loop.last %}{{ '\\n<|user|>' }}{% endif %}" + E +
    "{% elif loop.first %}{{ '<|' + m.role + '|>\\n' + m.content + '\\n' }}"
    "{% else %}{{ ('' if messages[loop.index0 - 1].role == 'assistant' else '<|user|>') + '\\n' + m.content + '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}", "", "<|user|>"),
}
CONVERSATIONS = [
    [("user", "Hi"), ("assistant", "Hello you")],
    [("user", "Two and two?"), ("assistant", "It is 4."), ("user", "And\n3+3?"), ("assistant", "caf\u00e9 6 \U0001f600")],
    [("user", " What? "), ("assistant", " \n spaced  ")],
    [("user", "a"), ("assistant", "b"), ("user", "c")],
    [("user", "say nothing"), ("assistant", "")],
    [("system", "Be brief."), ("user", "Hi <b>there</b>"), ("assistant", "<i>Hello</i>"), ("user", "So?"), ("assistant", "Yes\n\n")],
    [("user", "7*6?"), ("assistant", "42", "six sevens"), ("user", "+1?"), ("assistant", "43", "one\nmore")],
]


def message(role, content, thoughts=None):
    return {"role": role, "content": content} | ({"reasoning_content": thoughts} if thoughts else {})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "Fixtures" / "tokenization" / "turns.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            Path(folder, name).write_bytes((ROOT / "Fixtures" / "tiny-llama" / name).read_bytes())
        tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    first = tokenizer.convert_tokens_to_ids(SPECIAL[0])
    families = []
    for name, (template, bos, eos) in TEMPLATES.items():
        plain = re.sub(r"{%-? (end)?generation -?%}", "", template)
        tokenizer.bos_token, tokenizer.eos_token = bos or None, eos
        cases = []
        for conversation in CONVERSATIONS:
            thinks = any(len(turn) > 2 for turn in conversation)
            if thinks and name != "qwen3" or name in ("llama-2", "mistral") and conversation[0][0] == "system":
                continue
            if name == "the next speaker's mark is the end" and conversation[0][0] == "system":
                continue
            messages = [message(*turn) for turn in conversation]
            result = tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
            assert text == tokenizer.apply_chat_template(messages, chat_template=plain, tokenize=False), (name, text)
            ids, mask = result["input_ids"], result["assistant_masks"]
            assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
            cases.append({
                "messages": messages, "text": text, "ids": ids,
                "scored": [index for index, flag in enumerate(mask) if flag],
            })
        families.append({"name": name, "template": plain, "marked": template, "bos": bos, "eos": eos, "cases": cases})
    body = ",\n".join(json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in families)
    special = json.dumps([{"id": first + i, "content": c} for i, c in enumerate(SPECIAL)], ensure_ascii=False)
    options.out.write_text('{"special":' + special + ',\n"families":[\n' + body + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
