#!/usr/bin/env python3
"""Makes situations of kinds that users of other programs have reported, for ReportedSituationTests.swift.

    make_reported_situations.py KIND FOLDER      (torch, transformers, peft, safetensors)

KIND is a function's name below with - for _. FOLDER gets models, adapters and records, and `expected.json` with what
transformers and peft make of them. Run it from anywhere; the tokenizer is that of Fixtures/tiny-llama.
"""
import datetime
import json
import os
import pathlib
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

TOKENIZER = pathlib.Path(__file__).resolve().parents[2] / "Fixtures" / "tiny-llama"
ROWS = 2048
MARKS = ["<|im_start|>", "<|im_end|>"]
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = "{% for m in messages %}" + TURN + "<|im_end|>\n{% endfor %}" + PROMPT
QUESTION = [{"role": "user", "content": "Hi"}]
ANSWER = [{"role": "assistant", "content": "Hello you"}]


def write(path, value):
    path.write_text(json.dumps(value))


def model(path, rows=ROWS, **settings):
    """A random Llama of two layers."""
    torch.manual_seed(7)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": False}
    made = LlamaForCausalLM(LlamaConfig(vocab_size=rows, bos_token_id=0, eos_token_id=0, pad_token_id=1,
                                        initializer_range=0.15, **{**sizes, **settings}))
    made.save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, path)
    return made


def add_tokens(path, **named):
    """Two marks, with ids behind those that there are; the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    if named:
        tokenizer.add_special_tokens(named)
    tokenizer.save_pretrained(path)
    return tokenizer


def chat_model(path, template, **settings):
    """A model whose tokenizer has this template and these settings, and rows for the marks."""
    model(path, rows=ROWS + len(MARKS))
    add_tokens(path)
    file = path / "tokenizer_config.json"
    write(file, {**json.loads(file.read_text()), "chat_template": template, **settings})
    (path / "chat_template.jinja").unlink(missing_ok=True)


def count(path, messages, **more):
    """Tokens of a conversation as transformers renders it."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    text = tokenizer.apply_chat_template(messages, tokenize=False, **more)
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def token_beyond_embedding(folder):
    """Tokens were added to a tokenizer, and the embedding was not resized; one of them may end every text."""
    model(folder / "model")
    add_tokens(folder / "model")
    model(folder / "eos")
    add_tokens(folder / "eos", eos_token=MARKS[1])
    write(folder / "marked.json", [{"text": "plain"}, {"text": f"with {MARKS[1]} in it"}])
    write(folder / "pair.json", [{"prompt": "Hi", "completion": " you"}])
    write(folder / "plain.json", [{"text": "plain"}])


def chat_fields(folder):
    """Fields beside the words of a conversation, of which each changes what is rendered or scored."""
    thoughtful = CHATML.replace("{{ m.content }}", "{% if m.reasoning_content %}<t>{{ m.reasoning_content }}</t>"
                                "{% endif %}{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}")
    tooled = "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}" + thoughtful
    chat_model(folder / "model", tooled)
    chat_model(folder / "simple", CHATML)
    two = QUESTION + ANSWER + [{"role": "user", "content": "c"}, {"role": "assistant", "content": "dd"}]
    system = {"role": "system", "content": "Talk like a sailor."}
    calls = [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    rendered = {
        "plain": ({"messages": QUESTION + ANSWER}, QUESTION + ANSWER, {}),
        "system": ({"system": system["content"], "messages": QUESTION + ANSWER}, [system] + QUESTION + ANSWER, {}),
        "sharegpt": ({"system": system["content"], "conversations": [
            {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello you"}]},
            [system] + QUESTION + ANSWER, {}),
        "tools": ({"tools": tools, "messages": QUESTION + ANSWER}, QUESTION + ANSWER, {"tools": tools}),
        "calls": ({"messages": QUESTION + [{"role": "assistant", "content": "", "tool_calls": calls}]},
                  QUESTION + [{"role": "assistant", "content": "", "tool_calls": calls}], {}),
        "reasoning": ({"messages": QUESTION + [{**ANSWER[0], "reasoning_content": "since"}]},
                      QUESTION + [{**ANSWER[0], "reasoning_content": "since"}], {}),
        "thinking": ({"messages": QUESTION + [{**ANSWER[0], "thinking": "since"}]},
                     QUESTION + [{**ANSWER[0], "reasoning_content": "since"}], {}),
        "two": ({"messages": two}, two, {}),
        "weight": ({"messages": two[:1] + [{**two[1], "weight": 0}] + two[2:]}, two, {}),
        "train": ({"messages": two[:1] + [{**two[1], "train": False}] + two[2:]}, two, {}),
    }
    for name, (record, _, _) in rendered.items():
        write(folder / f"{name}.json", [record])
    write(folder / "expected.json", {name: count(folder / "model", messages, **more)
                                     for name, (_, messages, more) in rendered.items()})


def turn_ends(folder):
    """Where a template ends the assistant's turn: behind the answer, behind white space, by the next turn, nowhere."""
    for name, end in {"behind": "<|im_end|>\n", "line": "\n<|im_end|>\n", "space": "  <|im_end|>", "next": ""}.items():
        chat_model(folder / name, "{% for m in messages %}" + TURN + end + "{% endfor %}" + PROMPT,
                   eos_token=MARKS[0] if name == "next" else MARKS[1])
    chat_model(folder / "nowhere", "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
               "{% if add_generation_prompt %}### assistant:\n{% endif %}", eos_token=MARKS[1])
    write(folder / "one.json", [{"messages": QUESTION + ANSWER}])
    write(folder / "two.json", [{"messages": 2 * (QUESTION + ANSWER)}])


def template_tokens(folder):
    """Templates that write further special tokens, or ask for the clock."""
    chat_model(folder / "plain", CHATML)
    chat_model(folder / "tokens", "{{ pad_token }}{{ unk_token }}" + CHATML, unk_token=MARKS[0])
    chat_model(folder / "clock", "{{ strftime_now('%Y') }}" + CHATML)
    chat_model(folder / "extra", "{{ image_token }}" + CHATML, extra_special_tokens={"image_token": MARKS[1]})
    write(folder / "chat.json", [{"messages": QUESTION + ANSWER}])
    names = ("plain", "tokens", "clock", "extra")
    write(folder / "expected.json", {name: count(folder / name, QUESTION + ANSWER) for name in names})


def selectors(folder):
    """A base of two layers."""
    model(folder / "model")


def copies(folder):
    """What peft writes beside an adapter's tensors: a wrapped head's own weight, layers trained whole and their originals,
    embeddings that were resized."""
    model(folder / "model")
    resized = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    torch.manual_seed(3)
    resized.resize_token_embeddings(ROWS + 3)
    resized.save_pretrained(folder / "resized")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder / "resized")

    def adapt(name, base, **settings):
        loaded = LlamaForCausalLM.from_pretrained(folder / base, dtype=torch.float32)
        adapted = get_peft_model(loaded, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **settings))
        torch.manual_seed(1)
        with torch.no_grad():
            for key, value in adapted.named_parameters():
                if value.requires_grad:
                    value.add_(0.2 * torch.randn_like(value))
        adapted.save_pretrained(folder / name)
        again = PeftModel.from_pretrained(
            LlamaForCausalLM.from_pretrained(folder / base, dtype=torch.float32), folder / name)
        merged = again.merge_and_unload().state_dict()
        save_file({key: value.contiguous().clone() for key, value in merged.items()}, folder / f"{name}.safetensors")

    adapt("head", "model", target_modules=["lm_head", "q_proj"])
    adapt("whole", "resized", target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    # Saved because the vocabulary is not that of the model's name, though nothing trained it.
    adapt("frozen", "resized", target_modules=["q_proj"])
    tensors = load_file(folder / "frozen" / "adapter_model.safetensors")
    base = load_file(folder / "resized" / "model.safetensors")
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors["base_model.model." + key] = base[key].clone()
    save_file(tensors, folder / "frozen" / "adapter_model.safetensors", metadata={"format": "pt"})


def not_finite(folder):
    """An adapter of 16 bits with one number that is none, and a base with some."""
    made = model(folder / "model")
    adapted = get_peft_model(made, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted.save_pretrained(folder / "sound")
    shutil.copytree(folder / "sound", folder / "adapter")
    file = folder / "adapter" / "adapter_model.safetensors"
    tensors = {key: value.half() for key, value in load_file(file).items()}
    key = next(key for key in tensors if "layers.1" in key and "v_proj.lora_B" in key)
    tensors[key][3, 1] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    shutil.copytree(folder / "model", folder / "bad")
    file = folder / "bad" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.self_attn.q_proj.weight"][1, 2] = float("nan")
    tensors["model.layers.0.self_attn.q_proj.weight"][5, 0] = float("inf")
    save_file(tensors, file, metadata={"format": "pt"})
    write(folder / "plain.json", [{"text": "plain"}])


def main():
    kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    globals()[kind.replace("-", "_")](folder)


main()
