#!/usr/bin/env python3
"""Merges random adapters into random small models, by peft and by tspeft, and compares all tensors.

    python Tests/Scripts/fuzz_merges.py PROGRAM [--seed 1] [--count 100] [--types bert vit ...] [--keep DIR] [--each]

Needs torch, transformers 5, peft 0.21 and safetensors; no network. A draw takes a model type of transformers, made small,
one of its classes, a method and modules of peft's, a type and a form of the files. The base is loaded in F32, peft merges,
and transformers writes the result by the names of the files: what `PROGRAM merge` writes has to be within a unit in the
last place of that, and bit for bit the base's where peft changed nothing. A refusal is counted by its words and told;
`--each` draws every model type in turn. Ends with 1 where anything differs, and keeps such cases in DIR.
"""
import argparse, collections, inspect, json, os, random, re, shutil, subprocess, sys, tempfile, warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
import torch
import peft
import transformers as T
from safetensors.torch import load_file, save_file
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.pytorch_utils import Conv1D

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
T.logging.set_verbosity_error()
T.logging.disable_progress_bar()

V = 96
# By the names of configurations' fields.
SMALL = dict(
    vocab_size=V, hidden_size=32, d_model=32, n_embd=32, embed_dim=32, dim=32, emb_dim=32, model_dim=32, hidden_dim=32,
    word_embed_proj_dim=32, embedding_size=32, intermediate_size=48, ffn_dim=48, encoder_ffn_dim=48, decoder_ffn_dim=48,
    d_ff=48, n_inner=48, ffn_hidden_size=48, dim_feedforward=48, moe_intermediate_size=24, mlp_dim=48, d_inner=48,
    shared_expert_intermediate_size=24, num_hidden_layers=2, n_layer=2, n_layers=2, num_layers=2, encoder_layers=2,
    decoder_layers=2, depth=2, num_decoder_layers=2, num_encoder_layers=2, num_attention_heads=4, n_head=4, n_heads=4,
    num_heads=4, encoder_attention_heads=4, decoder_attention_heads=4, num_key_value_heads=2, head_dim=8, d_kv=8, d_head=8,
    max_position_embeddings=64, n_positions=64, n_ctx=64, max_source_positions=16, max_target_positions=32,
    image_size=32, patch_size=8, num_channels=3, num_experts=4, num_local_experts=4, n_routed_experts=4, moe_num_experts=4,
    num_experts_per_tok=2, moe_k=2, n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1, q_lora_rank=12,
    kv_lora_rank=10, qk_rope_head_dim=4, qk_nope_head_dim=8, qk_head_dim=12, v_head_dim=8, num_mel_bins=8,
    sliding_window=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, state_size=4,
    time_step_rank=4, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
    global_head_dim=16, num_global_key_value_heads=2, hidden_size_per_layer_input=8, vocab_size_per_layer_input=V,
    projection_dim=24, type_vocab_size=2, num_labels=3, out_hidden_size=32, temporal_patch_size=2, spatial_merge_size=2,
    num_position_embeddings=16, image_token_id=90, video_token_id=91, image_token_index=90, audio_token_id=89,
    encoder_hidden_size=32, cross_attention_hidden_size=None, conv_dim=(16, 16), conv_stride=(2, 2), conv_kernel=(3, 3),
    num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4, num_feat_extract_layers=2, attention_heads=4,
    hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], use_cache=True, output_hidden_size=32, num_queries=5,
    encoder_dim=32, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=4, mamba_n_groups=1, mamba_num_heads=4,
    mamba_head_dim=16, ssm_state_size=4, n_groups=1, feat_proj_dropout=0.0, layerdrop=0.0, num_codebooks=2,
    deepstack_visual_indexes=[0], fullatt_block_indexes=[0], window_size=4, vision_feature_layer=-1, attention_head_dim=8,
    index_n_heads=4, index_head_dim=8, index_topk=4, hidden_act=None, num_global_layers=1, vision_output_dim=64,
    max_num_tiles=2, intermediate_layers_indices=[0], swin_depths=None, adapter_attn_dim=None,
)
LISTS = ("layer_types", "mlp_layer_types", "block_types", "layers_block_type", "attention_types", "no_rope_layers")
ENDS = ("ForCausalLM", "LMHeadModel", "Model", "ForConditionalGeneration", "ForSequenceClassification", "ForMaskedLM",
        "ForImageClassification", "ForTokenClassification", "ForObjectDetection", "ForSemanticSegmentation",
        "ForUniversalSegmentation", "ForInstanceSegmentation", "ForAudioClassification", "ForCTC", "ForPreTraining")


def classes():
    """Classes by model type."""
    found = collections.defaultdict(list)
    for name in dir(auto):
        if name.endswith("MAPPING_NAMES"):
            for kind, value in getattr(auto, name).items():
                for one in value if isinstance(value, (list, tuple)) else [value]:
                    if isinstance(one, str) and one.endswith(ENDS) and one not in found[kind]:
                        found[kind].append(one)
    return {k: sorted(v) for k, v in found.items() if k in CONFIG_MAPPING_NAMES and v}


def fields(config_class):
    names = set(getattr(config_class, "__annotations__", {}))
    for base in config_class.__mro__:
        names |= set(getattr(base, "__annotations__", {}))
        if "__init__" in vars(base):
            names |= set(inspect.signature(base.__init__).parameters)
    return names


def small(config_class, fix={}):
    """A small configuration of a class."""
    default = config_class()
    own = fields(config_class)
    values = {}
    for name, value in {**SMALL, **fix}.items():
        if name not in own or name not in fix and (value is None or not hasattr(default, name)):
            continue
        old = getattr(default, name, None)
        if name not in fix and (old is None or isinstance(old, bool) or isinstance(value, int) and isinstance(old, (list, tuple))
                                or isinstance(value, (list, tuple)) and isinstance(old, int)):
            if old is None or isinstance(old, bool):
                continue
            if isinstance(old, (list, tuple)):
                value = type(old)([value] * len(old))
            else:
                continue
        values[name] = value
    layers = next((values[n] for n in ("num_hidden_layers", "n_layer", "num_layers", "n_layers") if n in values), 2)
    for name in LISTS:
        old = getattr(default, name, None)
        if name in own and isinstance(old, (list, tuple)) and old:
            kinds = list(dict.fromkeys(old))
            values[name] = [kinds[i % len(kinds)] for i in range(layers)]
    for name, sub in (getattr(config_class, "sub_configs", None) or {}).items():
        old = getattr(default, name, None)
        if old is None or name not in own:
            continue
        values[name] = small(type(old)).to_dict()
    rope = getattr(default, "rope_parameters", None)
    if isinstance(rope, dict) and "mrope_section" in rope:
        values["rope_parameters"] = {**rope, "mrope_section": [1, 1, 2]}
    return config_class(**values)


def fill(model, g):
    for p in list(model.parameters()) + [b for b in model.buffers() if b.is_floating_point()]:
        if p.is_floating_point():
            p.data = (0.3 * torch.randn(p.shape, generator=g)).to(p.dtype)


def shake(model, g):
    for name, p in model.named_parameters():
        if p.requires_grad:
            noise = torch.randn(p.shape, generator=g)
            if "magnitude" in name or "ia3" in name:
                p.data.copy_(p.data * (1 + 0.2 * noise))
            elif re.search(r"lora_|vera_", name):
                p.data.copy_(0.3 * noise)
            else:
                p.data.copy_(p.data + 0.2 * noise)


def tensors(folder):
    found = {}
    for f in sorted(os.listdir(folder)):
        if f.endswith(".safetensors"):
            found.update(load_file(os.path.join(folder, f)))
    return found


def modules(model):
    """Modules that peft can wrap, by kind."""
    kinds = collections.defaultdict(list)
    shared = collections.Counter(p.data_ptr() for _, p in model.named_parameters(remove_duplicate=False))
    for name, m in model.named_modules():
        weight = getattr(m, "weight", None)
        if not name or not isinstance(weight, torch.Tensor) or shared[weight.data_ptr()] > 1:
            continue
        if type(m) in (torch.nn.Linear, Conv1D):
            kinds["linear"].append(name)
        elif type(m) in (torch.nn.Conv2d, torch.nn.Conv1d, torch.nn.Conv3d) and m.groups == 1:
            kinds["conv"].append(name)
        elif type(m) is torch.nn.Embedding:
            kinds["embedding"].append(name)
        elif weight.dim() == 1 and "orm" in type(m).__name__:
            kinds["norm"].append(name)
    for name, m in model.named_modules():
        for p, value in m.named_parameters(recurse=False):
            if value.dim() == 3 and name.endswith("experts"):
                kinds["parameter"].append(name + "." + p)
    return kinds


def ends(rng, names):
    """Ends of some paths, such as peft's target_modules."""
    chosen = []
    for name in rng.sample(names, min(len(names), rng.randint(1, 4))):
        parts = name.split(".")
        count = rng.choice([1, 1, 1, 2, len(parts)])
        tail = ".".join(parts[-count:])
        chosen.append(".".join(parts[-2:]) if tail.isdigit() else tail)
    return sorted(set(chosen))


def adapter_config(rng, kinds):
    method = rng.choice(["lora"] * 5 + ["rslora", "dora", "ia3", "vera", "adalora", "experts", "embedding", "conv"])
    if method == "experts" and not kinds["parameter"] or method == "conv" and not kinds["conv"] \
            or method == "embedding" and not kinds["embedding"]:
        method = "lora"
    linear = ends(rng, kinds["linear"]) if kinds["linear"] else []
    r = rng.randint(1, 4)
    if method == "ia3":
        return peft.IA3Config(target_modules=linear, feedforward_modules=[t for t in linear if rng.random() < 0.5])
    if method == "vera":
        return peft.VeraConfig(r=r, target_modules=linear, save_projection=True)
    if method == "adalora":
        return peft.AdaLoraConfig(init_r=r + 1, target_r=r, lora_alpha=rng.randint(1, 9), total_step=10, target_modules=linear)
    more = dict(r=r, lora_alpha=rng.randint(1, 16), use_rslora=method == "rslora", use_dora=method == "dora")
    if linear and rng.random() < 0.3:
        more["rank_pattern"] = {rng.choice(linear).split(".")[-1]: rng.randint(1, 6)}
        more["alpha_pattern"] = {rng.choice(linear).split(".")[-1]: rng.randint(1, 20)}
    if kinds["norm"] and rng.random() < 0.15:
        more["modules_to_save"] = [rng.choice(kinds["norm"]).split(".")[-1]]
    if rng.random() < 0.1:
        more["bias"] = rng.choice(["all", "lora_only"])
    if method == "experts":
        names = sorted({".".join(p.split(".")[-2:]) for p in kinds["parameter"]})
        more["target_parameters"] = rng.sample(names, rng.randint(1, len(names)))
        return peft.LoraConfig(target_modules=rng.choice([[], linear]), **more)
    if method == "embedding":
        linear = linear + ends(rng, kinds["embedding"])
    if method == "conv":
        linear = linear + ends(rng, kinds["conv"])
    if method == "lora" and rng.random() < 0.15:
        return peft.LoraConfig(target_modules="all-linear", **more)
    return peft.LoraConfig(target_modules=linear, **more)


MANTISSA = {torch.float32: 23, torch.bfloat16: 7, torch.float16: 10}


def excess(got, want, base):
    """The largest distance in units of what is allowed."""
    w, a, b = want.double(), got.double(), base.double()
    scale = torch.stack([w.abs(), b.abs(), (w - b).abs()]).amax(0)
    unit = torch.exp2(torch.floor(torch.log2(scale.clamp(min=2.0 ** -24))) - MANTISSA[got.dtype])
    floor = 24 * 2.0 ** -24 * (scale.max() if scale.numel() else 0)
    return ((a - w).abs() / (unit + floor)).max().item() if w.numel() else 0.0


class Unfit(Exception):
    pass


def draw(rng, kind, name, folder, choose=None, own=None):
    """Makes base/ and adapter/ in a folder: what it is about, the base's tensors, and what transformers writes of it and of
    peft's merge. `choose` takes the random numbers and the modules by kind, and gives peft's configuration."""
    g = torch.Generator().manual_seed(rng.randrange(1 << 30))
    try:
        config = small(CONFIG_MAPPING[kind])
        config.tie_word_embeddings = False
        model = getattr(T, name)(config)
    except Exception as e:
        raise Unfit(f"{kind} {name}: {type(e).__name__} {str(e)[:90]}")
    if sum(p.numel() for p in model.parameters()) > 4_000_000:
        raise Unfit(f"{kind} {name}: {sum(p.numel() for p in model.parameters())} numbers")
    fill(model, g)
    dtype = rng.choice([torch.float32, torch.bfloat16, torch.float16])
    base = os.path.join(folder, "base")
    own = rng.random() < 0.15 if own is None else own
    model.to(dtype).save_pretrained(base, save_original_format=not own, max_shard_size=rng.choice(["5GB", "60KB"]))
    cls = getattr(T, name)

    def loaded():
        try:
            found, info = cls.from_pretrained(base, dtype=torch.float32, output_loading_info=True)
        except Exception as e:
            raise Unfit(f"{kind} {name}: load {type(e).__name__} {str(e)[:90]}")
        return found.eval()

    def written(model):
        out = os.path.join(folder, "written")
        model.save_pretrained(out, save_original_format=not own)
        found = tensors(out)
        shutil.rmtree(out)
        return found

    on_disk = tensors(base)
    plain = written(loaded())
    if set(plain) != set(on_disk):
        raise Unfit(f"{kind} {name}: is not written as it was read")
    model = loaded()
    kinds = modules(model)
    if not kinds["linear"]:
        raise Unfit(f"{kind} {name}: no linear layers")
    wanted = (choose or adapter_config)(rng, kinds)
    try:
        adapted = peft.get_peft_model(model, wanted)
        shake(adapted, g)
        adapted.save_pretrained(os.path.join(folder, "adapter"))
        # What was trained: read again, peft may drop tensors of models whose files have other names.
        merged = written(adapted.merge_and_unload())
    except Exception as e:
        raise Unfit(f"{kind} {name}: peft {type(e).__name__} {str(e)[:90]}")
    if set(merged) != set(on_disk):
        raise Unfit(f"{kind} {name}: peft's merge has other tensors")
    about = f"{kind} {name} {str(dtype)[6:]}{' memory names' if own else ''} {wanted.peft_type.value}" \
            + f"{' dora' if getattr(wanted, 'use_dora', False) else ''} {sorted(wanted.target_modules) if not isinstance(wanted.target_modules, str) else wanted.target_modules}" \
            + f" {getattr(wanted, 'target_parameters', None) or ''} {getattr(wanted, 'modules_to_save', None) or ''} bias={getattr(wanted, 'bias', None)}"
    return about, on_disk, plain, merged


def judge(program, folder, on_disk, plain, merged):
    out = os.path.join(folder, "out")
    p = subprocess.run(program + ["merge", "base", "--adapter", "adapter", "-o", "out"], cwd=folder, capture_output=True, timeout=300)
    message = " ".join(p.stderr.decode("utf-8", "replace").split())
    if p.returncode < 0 or p.returncode >= 128 or "Fatal error" in message:
        return "crash", f"exit {p.returncode} {message[-300:]}"
    changed = {n for n in merged if not torch.equal(merged[n], plain[n])}
    if p.returncode:
        return "refused", message
    got = tensors(out)
    if set(got) != set(on_disk):
        return "differs", f"tensors: {sorted(set(got) ^ set(on_disk))[:3]}"
    bad = []
    for n, t in got.items():
        if t.dtype != on_disk[n].dtype or t.shape != on_disk[n].shape:
            bad.append(f"{n}: {t.dtype} {list(t.shape)}")
        elif n not in changed:
            if not torch.equal(t.contiguous().view(-1).view(torch.uint8), on_disk[n].contiguous().view(-1).view(torch.uint8)):
                bad.append(f"{n}: changed, and peft leaves it")
        elif t.is_floating_point():
            worst = excess(t, merged[n], on_disk[n])
            if not worst <= 1:
                bad.append(f"{n}: {worst:.3g}" + (" (unchanged)" if torch.equal(t, on_disk[n]) else ""))
    return ("differs", f"{len(bad)} of {len(changed)} changed: " + "; ".join(bad[:3])) if bad else ("ok", f"{len(changed)} tensors")


def walk(program, kinds, known, keep):
    """LoRA on every linear layer and convolution of each model type whose names differ in memory and in files; where that is
    not merged right, on the layers of each pattern of names by themselves."""
    tally = collections.Counter()

    def attempt(kind, name, pattern):
        def choose(rng, kinds):
            names = kinds["linear"] + kinds["conv"]
            if pattern is None:
                found.update(re.sub(r"(?<![^.])\d+(?![^.])", "#", n) for n in names)
                return peft.LoraConfig(r=2, target_modules=names)
            text = re.escape(pattern).replace(r"\#", r"\d+")
            return peft.LoraConfig(r=2, target_modules=[n for n in names if re.fullmatch(text, n)])
        with tempfile.TemporaryDirectory() as folder:
            about, *facts = draw(random.Random(f"walk {kind}"), kind, name, folder, choose, own=False)
            verdict, text = judge(program, folder, *facts)
            if verdict in ("differs", "crash"):
                target = os.path.join(keep, f"walk-{kind}-{name}-{(pattern or 'all').replace('#', '0')}")
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(folder, target)
            return verdict, text

    for kind in kinds:
        for name in known[kind]:
            found = set()
            try:
                with torch.device("meta"):
                    config = small(CONFIG_MAPPING[kind])
                    model = getattr(T, name)(config)
                if not get_model_conversion_mapping(model, add_legacy=False):
                    continue
                verdict, text = attempt(kind, name, None)
            except Unfit as e:
                print("unfit", e, flush=True)
                continue
            except Exception as e:
                print("unfit", kind, name, type(e).__name__, str(e)[:90].replace("\n", " "), flush=True)
                continue
            tally[verdict] += 1
            print(f"{verdict:8} {kind} {name} {text[:250]}", flush=True)
            if verdict == "ok":
                continue
            for pattern in sorted(found):
                try:
                    verdict, text = attempt(kind, name, pattern)
                except Unfit as e:
                    verdict, text = "unfit", str(e)
                tally["pattern " + verdict] += 1
                if verdict != "ok":
                    print(f"    {verdict:8} {pattern}: {text[:200]}", flush=True)
    print(", ".join(f"{v} {k}" for k, v in tally.items()))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("program")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--count", type=int, default=100)
    a.add_argument("--types", nargs="*")
    a.add_argument("--keep", default="fuzzed-merges")
    a.add_argument("--each", action="store_true")
    a.add_argument("--verbose", action="store_true")
    a.add_argument("--walk", action="store_true", help="every layer of every type whose names differ, once")
    a = a.parse_args()
    program, known = [os.path.abspath(a.program)], classes()
    kinds = [k for k in (a.types or sorted(known)) if k in known]
    if a.walk:
        return walk(program, kinds, known, a.keep)
    tally, unfit, refusals = collections.Counter(), collections.Counter(), collections.defaultdict(list)
    number = made = 0
    while made < a.count and number < 20 * a.count:
        rng = random.Random(f"{a.seed}/{number}")
        kind = kinds[number % len(kinds)] if a.each else rng.choice(kinds)
        number += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                about, on_disk, plain, merged = draw(rng, kind, rng.choice(known[kind]), folder)
            except Unfit as e:
                unfit[str(e)] += 1
                continue
            made += 1
            verdict, text = judge(program, folder, on_disk, plain, merged)
            tally[verdict] += 1
            if verdict == "refused":
                refusals[re.sub(r"'[^']*'|\d+", "*", text)[:110]].append((about, text))
            if verdict in ("differs", "crash"):
                shutil.rmtree(os.path.join(a.keep, f"{a.seed}-{number - 1}"), ignore_errors=True)
                save_file({n: t.contiguous() for n, t in merged.items()}, os.path.join(folder, "expected.safetensors"))
                shutil.copytree(folder, os.path.join(a.keep, f"{a.seed}-{number - 1}"))
            if a.verbose or verdict in ("differs", "crash"):
                print(f"{number - 1:5} {verdict} {about}\n      {text[:400]}", flush=True)
    for words, cases in sorted(refusals.items(), key=lambda e: -len(e[1])):
        print(f"{len(cases)} refused: {cases[0][1][:330]}")
        for about, _ in cases[:3]:
            print("      ", about[:200])
    if a.verbose:
        for text, n in unfit.most_common():
            print(f"unfit {n}: {text}")
    print(f"{made} draws of {number}: " + ", ".join(f"{v} {k}" for k, v in tally.items()))
    sys.exit(1 if tally["differs"] or tally["crash"] else 0)


if __name__ == "__main__":
    main()
