"""What transformers generates with the tiny models in float32, and what its processors make of logits.

    python make_generation_cases.py Fixtures

writes generation/beams.json (ids of greedy choice and of beam search, with and without a repetition penalty, where an
end token comes early and where none does) and generation/processors.json (logits, the tokens so far, options, and the
probabilities that are left). Versions used: torch 2.9.0, transformers 5.24.0.
"""
import json
import pathlib
import random
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.generation.logits_process import (
    LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper,
    TopPLogitsWarper)

fixtures = pathlib.Path(sys.argv[1])
out = fixtures / "generation"
out.mkdir(exist_ok=True)
torch.set_num_threads(1)
MODELS = ["tiny-llama", "tiny-qwen2", "tiny-qwen3"]
PROMPTS = ["Review: a quiet and moving film about", "The movie is", "I did not like"]


def generate(model, ids, ends, count, **settings):
    config = GenerationConfig(
        max_new_tokens=count, do_sample=False, eos_token_id=ends or None, pad_token_id=0, bos_token_id=None, **settings)
    with torch.no_grad():
        whole = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), generation_config=config)
    found = whole[0, len(ids):].tolist()
    # What is behind the first end token fills up, and that token itself is no part of our text.
    place = next((index for index, token in enumerate(found) if token in ends), len(found))
    return found[:place], place < len(found)


def beam_cases():
    cases = []
    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(fixtures / name, dtype=torch.float32).eval()
        model.generation_config = GenerationConfig()
        tokenizer = AutoTokenizer.from_pretrained(fixtures / name)
        size = model.config.vocab_size
        prompts = [tokenizer(text)["input_ids"] for text in PROMPTS]
        prompts.append([random.Random(name).randrange(size) for _ in range(11)])
        for number, prompt in enumerate(prompts):
            free, _ = generate(model, prompt, [], 20, num_beams=4)
            early = [[], [free[3]], [free[1], free[9]], [free[0], free[6], free[12]]]
            for index, (beams, settings) in enumerate([
                (1, {}), (1, {"repetition_penalty": 1.3}), (2, {}), (3, {"length_penalty": 0.0}), (4, {}),
                (4, {"early_stopping": True}), (4, {"early_stopping": "never", "length_penalty": 2.0}),
                (4, {"length_penalty": -1.0, "early_stopping": "never"}), (5, {"repetition_penalty": 1.2}),
                (8, {"length_penalty": 0.6}), (4, {"repetition_penalty": 0.8, "early_stopping": True}),
            ]):
                for ends in early if beams > 1 else early[:2]:
                    count = 20 if (number + index) % 3 else 7
                    tokens, ended = generate(model, prompt, ends, count, num_beams=beams, **settings)
                    cases.append({
                        "model": name, "prompt": prompt, "ends": ends, "limit": count, "beams": beams, **settings,
                        "tokens": tokens, "ended": ended})
    return cases


def processor_cases():
    draw = random.Random(5)
    cases = []
    for number in range(120):
        size = draw.choice([5, 16, 40])
        logits = [round(draw.gauss(0, 2.5), 3) for _ in range(size)]
        text = [draw.randrange(size) for _ in range(draw.randrange(1, 8))]
        options = {
            "repetition_penalty": draw.choice([1.0, 1.1, 1.5, 0.7]), "temperature": draw.choice([1.0, 0.6, 1.7]),
            "top_k": draw.choice([0, 0, 1, 4, 12, 100]), "top_p": draw.choice([1.0, 0.95, 0.7, 0.3]),
            "min_p": draw.choice([0.0, 0.05, 0.2, 0.6, 1.0])}
        processors = LogitsProcessorList()
        # The order of GenerationMixin._get_logits_processor.
        if options["repetition_penalty"] != 1:
            processors.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
        if options["temperature"] != 1:
            processors.append(TemperatureLogitsWarper(options["temperature"]))
        if options["top_k"]:
            processors.append(TopKLogitsWarper(options["top_k"]))
        if options["top_p"] < 1:
            processors.append(TopPLogitsWarper(options["top_p"]))
        if options["min_p"] > 0:
            processors.append(MinPLogitsWarper(options["min_p"]))
        scores = processors(torch.tensor([text]), torch.tensor([logits], dtype=torch.float32))
        cases.append({
            "logits": logits, "text": text, **options, "probabilities": [
                round(value, 7) for value in torch.softmax(scores, -1)[0].tolist()]})
    return cases


def lines(values):
    return "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]\n"


(out / "beams.json").write_text(lines(beam_cases()))
(out / "processors.json").write_text(lines(processor_cases()))
