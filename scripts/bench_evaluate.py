#!/usr/bin/env python3
"""Measures the protocol `generate` on questions about contexts, as in SQuAD's development set, with the shape of Gemma-3 1B and
random weights: rows a second where questions about one context share its computation, and where nothing is shared.
`make bench-evaluate` builds before it calls this.

    python3 scripts/bench_evaluate.py [--precision bf16] [--contexts 4] [--questions 10] [--batches 10 20] [--rounds 2]

Where nothing is shared every token of every prompt is drawn anew: the same rows by their lengths, in plain batches sorted by
length. One process reads both in turn (engine/learn/examples/generate.rs); of each the best batch is shown, by the fastest of
the rounds. No row ends early. Beside the time there is the processor's: on a machine that others use it says more.
"""

import argparse
import json
import os
import random
from pathlib import Path

from bench_common import machine
from bench_generate import Side

ROOT = Path(__file__).resolve().parent.parent
NEW_TOKENS = 6


def made_prompts(contexts, questions, vocabulary, shared):
    """An instruction of 30 tokens, contexts of 80 to 280 (SQuAD's have 150 in the mean), questions of 8 to 20."""
    lengths, draw = random.Random(0), random.Random(1)
    some = lambda length: [draw.randrange(3, vocabulary) for _ in range(length)]
    instruction, prompts = some(30), []
    for _ in range(contexts):
        context = some(lengths.randrange(80, 280))
        for _ in range(questions):
            front = instruction + context
            prompts.append((front if shared else some(len(front))) + some(lengths.randrange(8, 20)))
    lengths.shuffle(prompts)
    return prompts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", default="bf16", choices=["float32", "bf16"])
    parser.add_argument("--contexts", type=int, default=4)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--batches", nargs="+", type=int, default=[10, 20])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    config = (ROOT / "tests" / "shapes" / "gemma-3-1b.json").read_text()
    prompts = {
        what: made_prompts(options.contexts, options.questions, json.loads(config)["vocab_size"], what == "shared")
        for what in ("shared", "apart")
    }
    side = Side("ours", None, config, options.precision, options.threads)
    for some in prompts.values():
        side.ask(prompts=some[:4], batch=4, beams=1, new_tokens=2)
    best = {what: {"seconds": (float("inf"), 0), "processor": (float("inf"), 0)} for what in prompts}
    for batch in options.batches:
        for _ in range(options.rounds):
            for what, some in prompts.items():
                found = side.ask(prompts=some, batch=batch, beams=1, new_tokens=NEW_TOKENS)
                for clock, kept in best[what].items():
                    best[what][clock] = min(kept, (found[clock], batch))
    side.end()
    rows = prompts["shared"]
    mean = sum(map(len, rows)) / len(rows)
    print(f"{machine(options.threads)}; {len(rows)} rows, {options.questions} a context, {mean:.0f} tokens each, "
          f"{NEW_TOKENS} new ones, {options.precision}, the fastest of {options.rounds} rounds\n")
    print("| clock | shared, rows/s | apart, rows/s | ratio | batch | batch apart |\n| --- | --- | --- | --- | --- | --- |")
    for clock, what in (("seconds", "wall"), ("processor", "processor")):
        (shared, batch), (apart, batch_apart) = best["shared"][clock], best["apart"][clock]
        print(f"| {what} | {len(rows) / shared:.2f} | {len(rows) / apart:.2f} | {apart / shared:.2f} | {batch} | {batch_apart} |")


if __name__ == "__main__":
    main()
