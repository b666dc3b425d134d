"""Makes Fixtures/tiny-decoders/NAME: a small random model of each decoder of the table below, as transformers saves it.

Weights are seeded, BF16, with norms and biases away from 1 and 0; the first seed is taken at which greedy continuation
stays clear of ties and of repeating itself. Windows, caps, limits and first contexts are small, so that the prompts feel
them. reference.json and reference.safetensors are what transformers makes of them in float32: ids of the prompts, logits
at every position, greedy continuations (by a pass over all tokens each; NAME `longrope` outgrows its first context while it
generates). The tokenizer is that of Fixtures/tiny-qwen3, which tests put beside the model.

Versions used: torch 2.15.0, transformers 5.24.0. Run from the package's root:
python Tests/Scripts/make_tiny_decoders.py [NAME...]
"""

import json
import os
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS = 512
PLAIN_TOKENS = 448
GREEDY_TOKENS = 20
LEAST_MARGIN = 0.01
LEAST_DISTINCT = 9

PROMPTS = ["The river runs past the mill and", "She counted the stars until the clouds came over the"]

COMMON = {
    "vocab_size": ROWS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "bos_token_id": 448,
    "eos_token_id": 450, "pad_token_id": 448, "initializer_range": 0.02,
}
ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}

# The configuration's class, and what it has beside COMMON.
MODELS = {
    "llama-yarn": ("LlamaConfig", {"rope_parameters": YARN | {"beta_fast": 2.0, "beta_slow": 0.25}}),
    "llama-dynamic": ("LlamaConfig", {
        "max_position_embeddings": 16, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 8.0},
    }),
    "llama-linear": ("LlamaConfig", {
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0},
    }),
    "mistral": ("MistralConfig", {"sliding_window": 6, "head_dim": 16}),
    "ministral3": ("Ministral3Config", {
        "head_dim": 16,
        "rope_parameters": YARN | {
            "original_max_position_embeddings": 6, "beta_fast": 0.5, "beta_slow": 0.02, "mscale": 1.0,
            "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3,
        },
    }),
    "smollm3": ("SmolLM3Config", {"num_hidden_layers": 4, "tie_word_embeddings": True}),
    "granite": ("GraniteConfig", {
        "attention_multiplier": 0.2, "embedding_multiplier": 3.0, "logits_scaling": 0.5, "residual_multiplier": 0.6,
    }),
    "olmo2": ("Olmo2Config", {}),
    "olmo3": ("Olmo3Config", {
        "num_hidden_layers": 4, "sliding_window": 6,
        "rope_parameters": {"full_attention": YARN, "sliding_attention": ROPE},
    }),
    "phi3": ("Phi3Config", {"num_key_value_heads": 4, "sliding_window": 6}),
    "phi3-partial": ("Phi3Config", {
        "tie_word_embeddings": True, "rope_parameters": ROPE | {"partial_rotary_factor": 0.5},
    }),
    "phi3-longrope": ("Phi3Config", {
        "head_dim": 8, "original_max_position_embeddings": 20, "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 20, "short_factor": [1.0, 1.2, 1.5], "long_factor": [1.5, 3.0, 6.0],
        },
    }),
    "glm4": ("Glm4Config", {
        "head_dim": 16, "attention_bias": True, "rope_parameters": ROPE | {"partial_rotary_factor": 0.5},
    }),
    "gemma2": ("Gemma2Config", {
        "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 6, "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 4.0,
    }),
    "gemma3_text": ("Gemma3TextConfig", {
        "num_hidden_layers": 6, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 6,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0}, "sliding_attention": ROPE,
        },
    }),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": ("Qwen3MoeConfig", {
        "num_hidden_layers": 3, "head_dim": 16, "moe_intermediate_size": 16, "num_experts": 6, "num_experts_per_tok": 3,
        "norm_topk_prob": False, "mlp_only_layers": [1],
    }),
    "gpt_oss": ("GptOssConfig", {
        "intermediate_size": 16, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 6,
        "swiglu_limit": 1.5, "rope_parameters": YARN | {"truncate": False},
    }),
    "qwen3_5_text": ("Qwen3_5TextConfig", {
        "num_hidden_layers": 4, "head_dim": 16, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "rope_parameters": ROPE | {"partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1], "mrope_interleaved": True},
    }),
}
# Norms that multiply by 1 + w, but for that of Qwen3.5's delta rule.
ADDS_ONE = ("gemma2", "gemma3_text", "qwen3_5_text")
# Embeddings that are multiplied.
SCALED = ("gemma2", "gemma3_text")


def randomize(name, model, seed):
    """Values of a size that makes logits differ clearly; norms about what leaves things as they are, in BF16."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            if "norm" in parameter:
                noise = (0 if name in ADDS_ONE and "linear_attn" not in parameter else 1) + 0.2 * noise
                # Against small embeddings, which are the head.
                if name in SCALED and parameter == "model.norm.weight":
                    noise += 8
            elif parameter.endswith(("bias", "sinks", "A_log", "dt_bias")):
                noise = 0.3 * noise
            elif "embed_tokens" in parameter:
                # Gemma multiplies its embeddings, and would repeat the last token if they were large.
                noise = (0.04 if name in SCALED else 0.4) * noise
            elif "lm_head" in parameter:
                noise = 0.6 * noise
            else:
                # gpt-oss holds its experts as [inputs, outputs].
                inputs = values.shape[-2] if name == "gpt_oss" and "experts" in parameter else values.shape[-1]
                noise = noise * 1.5 / inputs ** 0.5
            if "embed_tokens" in parameter or "lm_head" in parameter:
                # Rows of added tokens and of none stay small, as in a model that saw them seldom.
                noise[PLAIN_TOKENS:] *= 0.2
            values.copy_(noise.bfloat16().float())


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def greedy(name, model, ids):
    """The continuation, and by how much its tokens beat the next best ones at least."""
    made, margin, cache = [], float("inf"), None
    for _ in range(GREEDY_TOKENS):
        if name == "llama-dynamic":
            # Keys stay as they were rotated when they came.
            with torch.no_grad():
                out = model(input_ids=torch.tensor([made[-1:] if made else ids]), past_key_values=cache, use_cache=True)
            cache, scores = out.past_key_values, out.logits[0, -1]
        else:
            scores = logits_of(model, ids + made)[-1]
        best = scores.topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        made.append(best.indices[0].item())
    return made, margin


def fresh(path):
    """The model as a program that has just begun has it: a dynamic scaling remembers the longest batch."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def make(name, root, tokenizer):
    path = root / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    kind, more = MODELS[name]
    config = getattr(transformers, kind)(**(COMMON | more))
    prompts = [tokenizer(text)["input_ids"] for text in PROMPTS]
    seed = 0
    while True:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
        randomize(name, model, seed)
        model.to(torch.bfloat16).save_pretrained(path)
        continuations = [greedy(name, fresh(path), ids) for ids in prompts]
        if all(margin >= LEAST_MARGIN and len(set(made)) >= LEAST_DISTINCT and max(made) < PLAIN_TOKENS
               for made, margin in continuations):
            break
        seed += 1
        assert seed < 400, name
    (path / "model.safetensors").chmod(0o644)
    (path / "generation_config.json").unlink(missing_ok=True)
    result, logits = {"prompts": []}, {}
    for number, (text, ids) in enumerate(zip(PROMPTS, prompts)):
        made, margin = continuations[number]
        logits[f"logits.{number}"] = logits_of(fresh(path), ids).contiguous()
        result["prompts"].append({
            "text": text, "ids": ids, "greedy": made, "greedyText": tokenizer.decode(made), "margin": round(margin, 4),
        })
    (path / "reference.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    save_file(logits, path / "reference.safetensors")
    (path / "reference.safetensors").chmod(0o644)
    print(f"{path}: seed {seed}, margins {[round(margin, 3) for _, margin in continuations]}", flush=True)


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    tokenizer = AutoTokenizer.from_pretrained("Fixtures/tiny-qwen3")
    for name in sys.argv[1:] or MODELS:
        make(name, pathlib.Path("Fixtures/tiny-decoders"), tokenizer)
