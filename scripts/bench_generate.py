#!/usr/bin/env python3
"""Measures generation beside transformers' `generate`, on the same libtorch and weights: questions about paragraphs, as in
SQuAD, with one instruction for all and several questions a paragraph. `make bench-generate` builds, and makes PEFT's
environment, before it calls this.

    python3 scripts/bench_generate.py PYTHON [--precisions float32 bf16] [--beams 1 4] [--batches 16 32 64]
        [--paragraphs 10] [--questions 10] [--rounds 2] [--keep FILE]

PYTHON is one that has transformers. Each side is a process of its own; they take turns, so that what else happens on the
machine falls on both alike. transformers gets the rows sorted by length, padded on the left, with its cache and fused
attention, in inference mode; of both sides the best batch is shown, by the fastest of the rounds. No row ends early.
Beside the time there is the processor's: on a machine that others use it says more.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_common import machine

ROOT = Path(__file__).resolve().parent.parent
GENERATE = ROOT / "target" / "release" / "examples" / "generate"
NEW_TOKENS = 32
CONFIG = dict(
    vocab_size=32000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8,
    num_key_value_heads=8, max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=False,
)


# transformers' side.


def transformers_side(folder, precision, threads):
    """Answers lines as the example `generate` does."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.set_num_threads(threads)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").to(device).eval()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        prompts, texts = asked["prompts"], [None] * len(asked["prompts"])
        config = GenerationConfig(max_new_tokens=asked["new_tokens"], do_sample=False, num_beams=asked["beams"], pad_token_id=0,
                                  eos_token_id=None, use_cache=True)
        begun = time.perf_counter()
        order = sorted(range(len(prompts)), key=lambda at: -len(prompts[at]))
        with torch.inference_mode():
            for start in range(0, len(order), asked["batch"]):
                places = order[start:start + asked["batch"]]
                width = max(len(prompts[at]) for at in places)
                ids = torch.tensor([[0] * (width - len(prompts[at])) + prompts[at] for at in places], device=device)
                mask = torch.tensor([[0] * (width - len(prompts[at])) + [1] * len(prompts[at]) for at in places], device=device)
                made = model.generate(ids, attention_mask=mask, generation_config=config)
                for at, row in zip(places, made[:, width:].tolist()):
                    texts[at] = row
        print(json.dumps({"seconds": time.perf_counter() - begun, "texts": texts}), flush=True)


# The side that asks.


def made_model(python, folder):
    """Writes random weights with transformers; their scale makes near ties rare."""
    program = ("import json, sys, torch; from transformers import LlamaConfig, LlamaForCausalLM; torch.manual_seed(0); "
               "model = LlamaForCausalLM(LlamaConfig(**json.loads(sys.argv[1]), initializer_range=0.05)); "
               "model.save_pretrained(sys.argv[2])")
    subprocess.run([python, "-c", program, json.dumps(CONFIG), folder], check=True)


def made_prompts(paragraphs, questions):
    """An instruction, paragraphs of 60 to 240 tokens, questions of 8 to 20."""
    draw = random.Random(0)

    def some(length):
        return [draw.randrange(3, CONFIG["vocab_size"]) for _ in range(length)]

    instruction = some(40)
    prompts = []
    for _ in range(paragraphs):
        paragraph = some(draw.randrange(60, 240))
        prompts += [instruction + paragraph + some(draw.randrange(8, 20)) for _ in range(questions)]
    draw.shuffle(prompts)
    return prompts


class Side:
    """One side's process."""

    def __init__(self, name, python, folder, precision, threads):
        self.name = name
        command = [GENERATE, folder, precision, threads]
        if name != "ours":
            command = [python, __file__, "--transformers", folder, precision, threads]
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        if name != "ours":
            self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.name}: the process ended with {self.process.wait()}")
        return json.loads(line)

    def processor_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, **asked):
        begun = self.processor_seconds()
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        return {**answer, "processor": self.processor_seconds() - begun}

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", help="a Python that has transformers")
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=["float32", "bf16"])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--paragraphs", type=int, default=10)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    prompts = made_prompts(options.paragraphs, options.questions)
    tokens = sum(map(len, prompts))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        made_model(options.python, folder)
        for precision in options.precisions:
            sides = [Side(name, options.python, folder, precision, options.threads) for name in ("ours", "transformers")]
            for side in sides:
                side.ask(prompts=prompts[:4], batch=4, beams=1, new_tokens=4)
            for beams in options.beams:
                best, texts = {}, {}
                for batch in options.batches:
                    for _ in range(options.rounds):
                        for side in sides:
                            found = side.ask(prompts=prompts, batch=batch, beams=beams, new_tokens=NEW_TOKENS)
                            kept = best.setdefault(side.name, {})
                            for clock in ("seconds", "processor"):
                                kept[clock] = min(kept.get(clock, (float("inf"), 0)), (found[clock], batch))
                            texts[side.name] = found["texts"]
                            print(f"{precision}, {beams} beams, batch {batch}, {side.name}: {found['seconds']:.2f} s, of the "
                                  f"processor {found['processor']:.2f} s", file=sys.stderr, flush=True)
                alike = sum(one == other for one, other in zip(texts["ours"], texts["transformers"]))
                rows.append(dict(precision=precision, beams=beams, alike=alike, best=best))
            for side in sides:
                side.end()
    if options.keep:
        options.keep.write_text(json.dumps(rows, indent=1))
    print(f"{machine(options.threads, options.python, ('torch', 'transformers'))}; {len(prompts)} rows, "
          f"{options.questions} a paragraph, {tokens / len(prompts):.0f} tokens each, {NEW_TOKENS} new ones; the fastest of "
          f"{options.rounds} rounds\n")
    print("| numbers | beams | clock | tokens/s | transformers | rows/s | transformers | ratio | batch | its batch | texts alike |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        for clock, what in (("seconds", "wall"), ("processor", "processor")):
            (ours, batch), (theirs, their_batch) = row["best"]["ours"][clock], row["best"]["transformers"][clock]
            made = len(prompts) * NEW_TOKENS
            print(f"| {row['precision']} | {row['beams']} | {what} | {made / ours:.0f} | {made / theirs:.0f} "
                  f"| {len(prompts) / ours:.2f} | {len(prompts) / theirs:.2f} | {theirs / ours:.2f} | {batch} | {their_batch} "
                  f"| {row['alike']} of {len(prompts)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--transformers"]:
        transformers_side(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
