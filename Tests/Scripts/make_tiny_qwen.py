"""Makes Fixtures/tiny-qwen2 and Fixtures/tiny-qwen3: small models in the form in which Qwen2.5 and Qwen3 are published.

Weights are random but seeded, BF16, with norms and biases away from 1 and 0; the first seed is taken at which greedy
continuation stays clear of ties and of repeating itself. The vocabulary is trained on the sentences below. Each directory
holds what a published one holds: config.json as transformers 5 spells it (config-old.json says the same as transformers 4
did), generation_config.json, model.safetensors, tokenizer.json, vocab.json, merges.txt and tokenizer_config.json with a
ChatML template. reference.json and reference.safetensors are what transformers makes of them in float32: ids of prompts,
logits at every position, greedy continuations, rendered conversations.

qwen2: biases on queries, keys and values, tied embeddings, merges as strings. qwen3: norms of queries and keys, heads wider
than hidden size / heads, an output matrix of its own, merges as pairs. Both have more rows than tokens.

Versions used: torch 2.15.0, transformers 5.24.0, tokenizers 0.23.3. Run from the package's root:
python Tests/Scripts/make_tiny_qwen.py
"""

import json
import os
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen3Config

MERGED_TOKENS = 192
PLAIN_TOKENS = 256 + MERGED_TOKENS
ROWS = 512
GREEDY_TOKENS = 24
LEAST_MARGIN = 0.05
LEAST_DISTINCT = 16

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]
# Added, but text: `skip_special_tokens` keeps them.
VISIBLE = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
]
VISIBLE_SINCE_QWEN3 = ["<tool_response>", "</tool_response>", "<think>", "</think>"]

SENTENCES = """\
The river runs past the mill and under the old stone bridge.
In the morning the baker opens the door and the smell of bread fills the street.
A small boat crossed the lake while the wind was still asleep.
She counted the stars until the clouds came over the hill.
The train left at nine, and nobody on the platform waved.
He wrote the letter twice, burned the first and kept the second.
When the rain stopped, the children ran out to the garden again.
What is the name of the bird that sings before the sun rises?
There are seven days in a week and twelve months in a year.
Water freezes when it is cold and boils when it is hot.
The teacher asked a question, and the whole class began to think.
It's late, I'm tired, and we've still got a long way to go; they'll wait, won't they?
Put the apples in the basket, the plates on the table, and the chairs around the fire.
The answer is not always where you are looking for it.
One and one make two; two and two make four; four and four make eight.
The cat watched the mouse, the mouse watched the cheese, and nothing moved.
My grandmother kept her keys in a tin box with a picture of a ship.
Every winter the lake turns white, and every spring it turns blue again.
To mend a clock you need a steady hand, a good lamp and a lot of time.
The map showed a road that was not there any more.
If the door is open, come in; if it is closed, knock and wait.
They planted a tree for each child, and the trees grew faster than the children.
Some songs are easy to learn and hard to forget.
The old dog slept in the sun, and the young dog slept beside the old dog.
Please write your name here, then the date, then the reason.
The market sells fish, flour, candles, rope, honey and second-hand books.
A good story begins in the middle and ends at the beginning.
From the tower you can see the harbour, the church and the road to the north.
Nothing is heavier than an empty bag that has to be carried uphill.
The moon was so bright that night that we read without a lamp.
def add(first, second):
    return first + second
for number in range(10):
    print(number, add(number, 1))
"""

SYSTEM_TURN = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
"""
DEFAULT_SYSTEM_TURN = """\
{%- else %}
    {{- '<|im_start|>system\\nAnswer in few words.<|im_end|>\\n' }}
"""
# A turn's role and content; the system's first turn stands above.
PLAIN_TURNS = """\
{%- endif %}
{%- for message in messages %}
    {%- if not (loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
# Thoughts are shown after the last question alone; an answer without them gets empty ones there.
THINKING_TURNS = """\
{%- endif %}
{%- set seen = namespace(searching=true, question=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if seen.searching and message.role == 'user' and message.content is string %}
        {%- set seen.searching = false %}
        {%- set seen.question = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'assistant' %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if loop.index0 > seen.question and (loop.last or thoughts) %}
            {{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'user' or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
TEMPLATES = {
    "qwen2": SYSTEM_TURN + DEFAULT_SYSTEM_TURN + PLAIN_TURNS,
    "qwen3": SYSTEM_TURN + THINKING_TURNS,
}

PROMPTS = [
    "The river runs past",
    # Composed by the normalizer: e + acute, A + ring, Hangul of three parts.
    "cafe\u0301 A\u030angstro\u0308m \u1112\u1161\u11ab: 12 apples,\r\n  don't wait!",
]
CONVERSATIONS = [
    [("user", "What is two and two?")],
    [("system", "Be brief."), ("user", "Count to 3"), ("assistant", "1, 2, 3."), ("user", "And on?"), ("assistant", "4, 5.")],
    [
        ("user", "Is it late?"),
        ("assistant", "<think>\nThe moon is up.\n</think>\n\nIt is."),
        ("user", "How late?"),
        ("assistant", "<think>\nThe train left.\n</think>\n\nAfter nine."),
    ],
]

COMMON = dict(
    hidden_size=64, num_hidden_layers=2, vocab_size=ROWS, max_position_embeddings=1024, rms_norm_eps=1e-6,
    intermediate_size=256, pad_token_id=None, attention_dropout=0.0,
)
SHAPES = {
    "qwen2": (
        Qwen2Config,
        dict(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
             rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    ),
    "qwen3": (
        Qwen3Config,
        dict(num_attention_heads=8, num_key_value_heads=2, head_dim=32, tie_word_embeddings=False,
             rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    ),
}
# What a published config.json of transformers 4 says of sliding windows that are not used.
OLD_FIELDS = {
    "qwen2": {"max_window_layers": 2, "sliding_window": 1024, "use_sliding_window": False},
    "qwen3": {"max_window_layers": 2, "sliding_window": None, "use_sliding_window": False},
}


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def write_lists(path, lists):
    """One entry of a list a line."""
    body = ",\n".join(
        json.dumps(key) + ": [\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]"
        for key, entries in lists.items()
    )
    path.write_text("{\n" + body + "\n}\n", encoding="utf-8")


def byte_level(**more):
    return dict(add_prefix_space=False, trim_offsets=False, use_regex=False, **more)


def make_tokenizer(path, visible, merges_are_pairs):
    """tokenizer.json, vocab.json and merges.txt; the ids of the texts."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(**byte_level())]
    )
    tokenizer.decoder = decoders.ByteLevel(**byte_level())
    tokenizer.post_processor = processors.ByteLevel(**byte_level())
    trainer = trainers.BpeTrainer(
        vocab_size=PLAIN_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        continuing_subword_prefix="", end_of_word_suffix="",
    )
    tokenizer.train_from_iterator([SENTENCES], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in visible])
    written = json.loads(tokenizer.to_str())
    if not merges_are_pairs:
        written["model"]["merges"] = [" ".join(pair) for pair in model["merges"]]
    write_json(path / "tokenizer.json", written)
    write_json(path / "vocab.json", model["vocab"], indent=None)
    lines = ["#version: 0.2"] + [" ".join(pair) for pair in model["merges"]]
    (path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tokenizer, written["added_tokens"]


def write_tokenizer_config(path, added, template):
    keys = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    write_json(path / "tokenizer_config.json", {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(token["id"]): {key: token[key] for key in keys} for token in added},
        "additional_special_tokens": CONTROL[1:],
        "bos_token": None,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 1024,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    })


def randomize(model, seed):
    """Values of a size that makes logits differ clearly; norms about 1, biases about 0, in BF16's precision."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            if "norm" in name:
                noise = 1 + 0.2 * noise
            elif name.endswith(".bias"):
                noise = 0.3 * noise
            elif "embed_tokens" in name:
                noise = 0.3 * noise
            elif "lm_head" in name:
                noise = 0.5 * noise
            else:
                noise = noise * 1.5 / values.shape[1] ** 0.5
            if "embed_tokens" in name or "lm_head" in name:
                # Rows of added tokens and of none stay small, as in a model that saw them seldom.
                noise[PLAIN_TOKENS:] *= 0.2
            values.copy_(noise.bfloat16().float())


def greedy(model, ids):
    """The continuation, and by how much its tokens beat the next best ones at least."""
    made, margin = [], float("inf")
    with torch.no_grad():
        for _ in range(GREEDY_TOKENS):
            best = model(input_ids=torch.tensor([ids + made])).logits[0, -1].topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            made.append(best.indices[0].item())
    return made, margin


def is_clear(continuations):
    return all(
        margin >= LEAST_MARGIN and len(set(made)) >= LEAST_DISTINCT and max(made) < PLAIN_TOKENS
        for made, margin in continuations
    )


def write_model(path, kind, config, prompts, end, padding):
    """A model of the first seed whose greedy continuations are clear; the model in float32 and those."""
    config.architectures = [config.__class__.__name__.replace("Config", "ForCausalLM")]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    seed = 0
    while True:
        randomize(model, seed)
        continuations = [greedy(model, ids) for ids in prompts]
        if is_clear(continuations):
            break
        seed += 1
    print(f"{path}: seed {seed}, margins {[round(margin, 3) for _, margin in continuations]}")
    model = model.to(torch.bfloat16)
    model.generation_config.update(
        bos_token_id=padding, pad_token_id=padding, eos_token_id=[end, padding], do_sample=True, temperature=0.6,
        top_k=20, top_p=0.95,
    )
    model.save_pretrained(path)
    (path / "model.safetensors").chmod(0o644)
    settings = json.loads((path / "config.json").read_text())
    old = {k: v for k, v in settings.items() if k not in ("layer_types", "rope_parameters", "dtype")} | OLD_FIELDS[kind]
    old |= {
        "rope_scaling": None,
        "rope_theta": settings["rope_parameters"]["rope_theta"],
        "torch_dtype": settings["dtype"],
        "transformers_version": "4.51.0",
    }
    write_json(path / "config-old.json", dict(sorted(old.items())))
    return continuations


def reference(path, continuations, template_options):
    """What transformers makes of the directory, read back from its files."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    result, logits = {"prompts": [], "conversations": []}, {}
    for number, text in enumerate(PROMPTS):
        ids = tokenizer(text)["input_ids"]
        made, margin = greedy(model, ids)
        assert made == continuations[number][0]
        with torch.no_grad():
            logits[f"logits.{number}"] = model(input_ids=torch.tensor([ids])).logits[0].contiguous()
        result["prompts"].append({
            "text": text, "ids": ids, "greedy": made, "greedyText": tokenizer.decode(made), "margin": round(margin, 4),
        })
    for conversation in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in conversation]
        for options in template_options:
            text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            result["conversations"].append({"messages": messages, "options": options, "text": text, "ids": ids})
    write_lists(path / "reference.json", result)
    save_file(logits, path / "reference.safetensors")
    (path / "reference.safetensors").chmod(0o644)


def make(kind, root):
    path = root / f"tiny-{kind}"
    readme = (path / "README.md").read_text() if (path / "README.md").exists() else None
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    if readme:
        (path / "README.md").write_text(readme)
    visible = VISIBLE + (VISIBLE_SINCE_QWEN3 if kind == "qwen3" else [])
    tokenizer, added = make_tokenizer(path, visible, merges_are_pairs=kind == "qwen3")
    write_tokenizer_config(path, added, TEMPLATES[kind])
    end, padding = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    prompts = [tokenizer.encode(text).ids for text in PROMPTS]
    make_configuration, shape = SHAPES[kind]
    config = make_configuration(**COMMON, **shape, bos_token_id=padding, eos_token_id=end)
    continuations = write_model(path, kind, config, prompts, end, padding)
    options = [{"add_generation_prompt": False}, {"add_generation_prompt": True}]
    if kind == "qwen3":
        options.append({"add_generation_prompt": True, "enable_thinking": False})
    reference(path, continuations, options)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name in SHAPES:
        make(name, pathlib.Path("Fixtures"))
