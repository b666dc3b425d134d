"""Trains a gated adapter in the commonsense setting of TS-PEFT (arXiv 2511.16147, table 6) with PyTorch.

    tspeft inject BASE --method ts-lora --preset csr -o adapter
    tspeft export adapter --to torch -o for-torch
    torchrun --nproc-per-node 8 train_csr.py --model BASE --adapter for-torch --data train.json -o run
    tspeft rank-modules run --keep 50%
    tspeft merge BASE --adapter run -o merged

The setting: AdamW, learning rate 1e-4 falling in a straight line, 16 records a step, 3 epochs, s = 4e-5, and lambda
4.5e-5 for LoRA, 1e-5 for DoRA, 1e-4 for AdaLoRA; the rank, alpha, dropout and targets are those of the adapter. Records
are in Alpaca's form; only the output is scored. Needs torch, transformers, accelerate and safetensors.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
import transformers

LAMBDA = {"lora": 4.5e-5, "dora": 1e-5, "adalora": 1e-4}
PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
PROMPT_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


class Records(torch.utils.data.Dataset):
    """Alpaca records as ids and labels; the prompt loses its beginning where a record is too long."""

    def __init__(self, path, tokenizer, longest, limit):
        self.rows = []
        for record in json.loads(Path(path).read_text())[:limit]:
            form = PROMPT_WITH_INPUT if record.get("input") else PROMPT
            prompt = tokenizer(form.format(**record)).input_ids
            answer = tokenizer(record["output"], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
            prompt = prompt[max(0, len(prompt) + len(answer) - longest) :]
            self.rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def padded(rows, padding):
    """Rows of one length, with the attention mask by which the gates tell padding."""
    width = max(len(row["input_ids"]) for row in rows)

    def fill(values, empty):
        return torch.tensor([value + [empty] * (width - len(value)) for value in values])

    return {
        "input_ids": fill([row["input_ids"] for row in rows], padding),
        "labels": fill([row["labels"] for row in rows], -100),
        "attention_mask": fill([[1] * len(row["input_ids"]) for row in rows], 0),
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the base: a directory, or a name on the Hub")
    parser.add_argument("--adapter", required=True, help="what `tspeft export --to torch` wrote")
    parser.add_argument("--data", required=True, help="training records, a JSON array")
    parser.add_argument("-o", "--output", required=True, help="where the trained adapter goes")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--steps", type=int, default=-1, help="in place of --epochs")
    parser.add_argument("--batch-size", type=int, default=16, help="records of a step, over all processes")
    parser.add_argument("--micro-batch-size", type=int, default=None, help="records of a pass of one process")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threshold-step", type=float, default=4e-5, help="s of equation 20")
    parser.add_argument("--lam", type=float, default=None, help="lambda (default: the paper's for the method)")
    parser.add_argument("--longest", type=int, default=512, help="tokens of a record")
    parser.add_argument("--limit", type=int, default=None, help="use the first records alone")
    parser.add_argument("--type", default="bfloat16", help="of the base's weights and of autocast; float32 for neither")
    parser.add_argument("--checkpointing", action="store_true", help="trade time for memory")
    parser.add_argument("--cpu", action="store_true", help="train on processors, processes over gloo")
    return parser.parse_args()


def training_arguments(options, world):
    micro = options.micro_batch_size or options.batch_size // world
    accumulation, rest = divmod(options.batch_size, micro * world)
    if rest or accumulation == 0:
        sys.exit(f"--batch-size {options.batch_size} is no multiple of {micro} records in each of {world} processes")
    checkpointing = {}
    if options.checkpointing:
        checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return transformers.TrainingArguments(
        output_dir=options.output + "-checkpoints", per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation, num_train_epochs=options.epochs, max_steps=options.steps,
        learning_rate=options.learning_rate, lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0,
        max_grad_norm=1.0, bf16=options.type == "bfloat16", use_cpu=options.cpu,
        ddp_backend="gloo" if options.cpu else None, ddp_find_unused_parameters=False, logging_steps=10,
        save_steps=500, save_total_limit=2, report_to=[], **checkpointing)  # fmt: skip


def main():
    options = parse()
    sys.path.insert(0, options.adapter)
    import tspeft_torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    data = Records(options.data, tokenizer, options.longest, options.limit)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.type))
    model.config.use_cache = False

    model = tspeft_torch.attach(model, options.adapter)
    lam = LAMBDA.get(model.tspeft.adapter.method, 4.5e-5) if options.lam is None else options.lam
    thresholds = tspeft_torch.Thresholds(model, s=options.threshold_step, lam=lam)

    trainer = transformers.Trainer(
        model=model, args=training_arguments(options, int(os.environ.get("WORLD_SIZE", "1"))),
        train_dataset=data, data_collator=lambda rows: padded(rows, padding), callbacks=[thresholds])  # fmt: skip
    trainer.train()

    # Statistics over the first 512 records, as tspeft makes them without an evaluation file; a share for each process.
    own = range(min(512, len(data)))[tspeft_torch.rank() :: tspeft_torch.world_size()]
    batches = [padded([data[place] for place in own[start : start + 8]], padding) for start in range(0, len(own), 8)]
    source = f"{min(512, len(data))} records of {Path(options.data).name}"
    tspeft_torch.save(model, options.output, calibration=batches, source=source)
    if tspeft_torch.rank() == 0:
        print(f"{thresholds.sparsity:.1%} of the last step's tokens skipped; written to {options.output}")


main()
