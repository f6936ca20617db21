"""Golden texts of transformers' `generate` on the tiny random models that other generators wrote, one of each generating
family: greedy search, beams, and the distributions that are drawn from.

    python tests/golden/generation.py [MODEL …]

writes tests/golden/generation/<model>.json: 200 prompts of mixed lengths, of which most share their beginnings with others;
for each setting what was generated, the end with it; and for each way to draw, the probabilities of the first new token. A
prompt is taken only if noise of 1e-4 on every score changes none of it: a near tie proves nothing.
"""

import json
import random
import sys

import torch
from transformers import (Gemma3ForCausalLM, GenerationConfig, LlamaForCausalLM, LogitsProcessor, LogitsProcessorList,
                          T5Config, T5ForConditionalGeneration)
from safetensors.torch import load_file

from common import HERE, versions

NEW_TOKENS, COUNT = 14, 200
SETTINGS = {
    "greedy": dict(),
    "greedy_penalties": dict(repetition_penalty=1.3, no_repeat_ngram_size=2),
    "greedy_longer": dict(min_new_tokens=4, repetition_penalty=0.9),
    "beams": dict(num_beams=4),
    "beams_early": dict(num_beams=4, early_stopping=True, length_penalty=0.6),
    "beams_never": dict(num_beams=3, early_stopping="never", length_penalty=1.5),
    "beams_short": dict(num_beams=2, length_penalty=-0.5, early_stopping="never"),
    "beams_penalties": dict(num_beams=5, length_penalty=0.0, repetition_penalty=1.2, no_repeat_ngram_size=3),
    "beams_longer": dict(num_beams=3, early_stopping=True, min_new_tokens=5),
}
DRAWS = {
    "temperature_top_k": dict(temperature=0.7, top_k=10),
    "top_p": dict(top_k=0, top_p=0.8),
    "min_p": dict(temperature=1.3, top_k=0, min_p=0.1),
    "typical_p": dict(top_k=0, typical_p=0.6),
    "all": dict(temperature=0.8, top_k=12, top_p=0.9, min_p=0.01, repetition_penalty=1.2, no_repeat_ngram_size=2),
}


def t5(name):
    folder = HERE / "t5" / name / "model"
    config = T5Config(**json.loads((folder / "config.json").read_text()))
    model = T5ForConditionalGeneration(config)
    # transformers calls every T5 tied; one that says otherwise has a head of its own, whose inputs are not scaled.
    own_head = not config.scale_decoder_outputs
    if own_head:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    missing = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not missing.unexpected_keys, missing
    if not own_head:
        model.tie_weights()
    return model


MODELS = {
    "llama": ("llama/untied_grouped", lambda: LlamaForCausalLM.from_pretrained(HERE / "llama/untied_grouped/model")),
    "gemma3": ("decoders/gemma3_text", lambda: Gemma3ForCausalLM.from_pretrained(HERE / "decoders/gemma3_text/model")),
    "t5_v1_0": ("t5/v1_0", lambda: t5("v1_0")),
    "t5_v1_1": ("t5/v1_1", lambda: t5("v1_1")),
}


class Noise(LogitsProcessor):
    """Noise on every score, other in each step; first of all."""

    def __init__(self, seed, size=1e-4):
        self.generator, self.size = torch.Generator().manual_seed(seed), size

    def __call__(self, ids, scores):
        return scores + self.size * torch.randn(scores.shape, generator=self.generator)


def made_prompts(seed, vocabulary):
    """Three of four have an instruction, one of some contexts and a question; the others are by themselves."""
    draw = random.Random(seed)

    def some(length):
        return [draw.randrange(3, vocabulary) for _ in range(length)]

    instruction = some(9)
    contexts = [some(length) for length in (3, 8, 14, 22, 22)]
    while True:
        if draw.random() < 0.75:
            yield instruction + draw.choice(contexts) + some(draw.choice((1, 2, 3, 5)))
        else:
            yield some(draw.choice((1, 2, 5, 13, 31, 45)))


def generate(model, prompts, settings, ends, seed=None):
    """What comes behind the prompts, the end with it. Prompts of one length go together, so that none is padded."""
    found = [None] * len(prompts)
    start = 1 if model.config.is_encoder_decoder else None
    lengths = {}
    for at, prompt in enumerate(prompts):
        lengths.setdefault(len(prompt), []).append(at)
    config = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=ends or None, pad_token_id=0,
                              decoder_start_token_id=model.config.decoder_start_token_id if start else None,
                              # Its cache has no place for a decoder of more layers than the encoder has.
                              use_cache=not model.config.is_encoder_decoder, **settings)
    for length, places in lengths.items():
        noise = LogitsProcessorList([Noise(seed)] if seed is not None else [])
        ids = torch.tensor([prompts[at] for at in places])
        rows = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=noise)
        for at, row in zip(places, rows.tolist()):
            row = row[start or length:]
            end = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
            found[at] = row[:end]
    return found


def distribution(model, prompt, settings, seed=None):
    """The probabilities of the first new token, by id, of those that may be drawn."""
    config = GenerationConfig(max_new_tokens=1, do_sample=True, pad_token_id=0, return_dict_in_generate=True, output_scores=True,
                              use_cache=False,
                              decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None), **settings)
    noise = LogitsProcessorList([Noise(seed, 1e-5)] if seed is not None else [])
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=noise)
    probabilities = out.scores[0][0].softmax(-1)
    return {int(at): round(float(probabilities[at]), 7) for at in probabilities.nonzero()[:, 0]}


def write(name, seed):
    place, load = MODELS[name]
    model = load().float().eval()
    model.generation_config = GenerationConfig()
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("eager")
    vocabulary = min(model.config.vocab_size, 61 if "llama" in name else 40)
    source = made_prompts(seed, vocabulary)
    torch.manual_seed(seed)
    # Ends are ids that come neither at once nor never.
    free = generate(model, [next(source) for _ in range(80)], {}, [])
    share = {token: sum(token in row for row in free) for row in free for token in row}
    ends = sorted(share, key=lambda token: abs(share[token] - 24))[:2]
    prompts, texts, draws = [], {key: [] for key in SETTINGS}, []
    while len(prompts) < COUNT:
        tried = [next(source) for _ in range(120)]
        found = {key: generate(model, tried, settings, ends) for key, settings in SETTINGS.items()}
        firm = [True] * len(tried)
        for noise in (1, 2):
            for key, settings in SETTINGS.items():
                for at, row in enumerate(generate(model, tried, settings, ends, seed=noise)):
                    firm[at] &= row == found[key][at]
        print(name, "ends", ends, "firm", sum(firm), "of", len(tried), flush=True)
        for at in (at for at, kept in enumerate(firm) if kept):
            if len(prompts) < COUNT:
                prompts.append(tried[at])
                for key in SETTINGS:
                    texts[key].append(found[key][at])
    for key in ("greedy", "beams", "beams_early", "beams_short"):
        ended = sum(row[-1] in ends for row in texts[key])
        assert 4 < ended < COUNT, (key, ended)
    for prompt in prompts[:60]:
        row = {key: distribution(model, prompt, settings) for key, settings in DRAWS.items()}
        noisy = {key: distribution(model, prompt, settings, seed=3) for key, settings in DRAWS.items()}
        if all(row[key].keys() == noisy[key].keys() for key in DRAWS) and len(draws) < 25:
            draws.append({"prompt": prompt, **{key: [list(row[key]), list(row[key].values())] for key in DRAWS}})
    values = {"versions": versions(), "generator": "tests/golden/generation.py", "model": place, "ends": ends,
              "max_new_tokens": NEW_TOKENS, "settings": SETTINGS, "draws": DRAWS}
    head = json.dumps(values, indent=1, sort_keys=True)[:-2]
    rows = ",\n".join(json.dumps([prompt] + [texts[key][at] for key in SETTINGS], separators=(",", ":"))
                      for at, prompt in enumerate(prompts))
    drawn = ",\n".join(json.dumps(row, separators=(",", ":")) for row in draws)
    path = HERE / "generation" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{head},\n "columns": {json.dumps(["prompt", *SETTINGS])},\n "rows": [\n{rows}\n],\n "drawn": [\n{drawn}\n]\n}}\n')
    print(name, path.stat().st_size, "bytes,", len(draws), "distributions", flush=True)


for seed, name in enumerate(MODELS, start=60):
    if name in (sys.argv[1:] or MODELS):
        write(name, seed)
