"""Makes Fixtures/tiny-classifiers/NAME.safetensors: what transformers' class with a head for sequences gives for the small
decoders of Fixtures/tiny-decoders, whose checkpoints it takes.

Each file holds a seeded `score.weight` [3, hidden], `tokens` [2, 9] (I32) of two texts, filled up with the padding token on
the right, which the first text has once more before its last token and the second at its own end, `lengths` [2] (I32) and
the `scores` [2, 3] in float32.

Versions used: torch 2.13.0, transformers 5.24.0. Run from the package's root:
python Tests/Scripts/make_tiny_classifiers.py
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

LENGTHS = [9, 6]
PADDING = 448


def main():
    target = pathlib.Path("Fixtures/tiny-classifiers")
    target.mkdir(exist_ok=True)
    for folder in sorted(pathlib.Path("Fixtures/tiny-decoders").iterdir()):
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, num_labels=3, dtype=torch.float32, attn_implementation="eager").eval()
        except ValueError as error:
            print(f"{folder.name}: {str(error).splitlines()[0][:90]}")
            continue
        generator = torch.Generator().manual_seed(7)
        tokens = torch.randint(0, 440, (2, max(LENGTHS)), generator=generator)
        tokens[0, 7] = PADDING
        tokens[1, LENGTHS[1] - 1 :] = PADDING
        mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
        with torch.no_grad():
            model.score.weight.copy_(torch.randn(model.score.weight.shape, generator=generator))
            scores = model(input_ids=tokens, attention_mask=mask).logits
        save_file(
            {"score.weight": model.score.weight.detach().contiguous(), "tokens": tokens.to(torch.int32),
             "lengths": torch.tensor(LENGTHS, dtype=torch.int32), "scores": scores.contiguous()},
            target / f"{folder.name}.safetensors")
        print(f"{folder.name}: {type(model).__name__} {scores[0].tolist()}")


if __name__ == "__main__":
    main()
