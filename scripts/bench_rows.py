#!/usr/bin/env python3
"""Measures training on rows of many lengths beside PEFT with transformers' Trainer, on the same libtorch: rows a second over
an epoch. `make bench-rows` builds, and makes PEFT's environment, before it calls this.

    python3 scripts/bench_rows.py PYTHON [--work squad shared encoder gemma-3-1b llama-7b] [--precisions float32 bf16] [--steps 24]

PYTHON is one that has PEFT. The work:

- squad: a Llama of 8 layers × 512, prompts of 60 to 400 tokens and completions of 1 to 10, loss on the completion, LoRA of
  rank 16 on all linear maps, 8 rows a step; Trainer groups rows by length.
- shared: the same model, ten questions of 8 to 20 tokens about each context of 50 to 380, 20 rows a step; ours with
  `batch: {share_prefix: true}` and without.
- encoder: BERT of 6 layers × 384 (MiniLM's shape), sentences as long as SST-2's training sentences are by its tokenizer, LoRA
  of rank 8 on queries and values, 32 rows a step; Trainer with random batches and grouped by length.
- gemma-3-1b, llama-7b: as squad with these shapes and 16 rows a step, for a GPU; one is used where there is one.

Each side is a process of its own. They take turns, a step each, so that what else happens on the machine falls on all of them
alike. A process is asked for its next step by a line on its standard input, and answers with a line of JSON:
engine/learn/examples/rows.rs, and `peft` below, where what Trainer does between two steps is part of the next.
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

from bench_common import machine, status
from bench_methods import CONFIG as DECODER

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "target" / "release" / "examples" / "rows"
ENCODER = dict(
    model_type="bert", vocab_size=30522, hidden_size=384, intermediate_size=1536, num_hidden_layers=6,
    num_attention_heads=12, max_position_embeddings=512, type_vocab_size=2, hidden_act="gelu", layer_norm_eps=1e-12,
    initializer_range=0.02, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, pad_token_id=0,
)
# What part of SST-2's 67,349 training sentences is as long, in steps of a twentieth: tokens with [CLS] and [SEP].
SST2 = [3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 11, 13, 14, 16, 18, 20, 23, 27, 33, 66]
SHAPES = ROOT / "tests" / "shapes"
WORK = {
    "gemma-3-1b": (json.loads((SHAPES / "gemma-3-1b.json").read_text()), 16, {"ours": "apart", "PEFT, by length": "grouped"}),
    "llama-7b": (json.loads((SHAPES / "llama-7b.json").read_text()), 16, {"ours": "apart", "PEFT, by length": "grouped"}),
    "squad": (DECODER, 8, {"ours": "apart", "PEFT, by length": "grouped"}),
    "shared": (DECODER, 20, {"ours, shared": "shared", "ours, apart": "apart", "PEFT, by length": "grouped"}),
    "encoder": (ENCODER, 32, {"ours": "texts", "PEFT, random": "random", "PEFT, by length": "grouped"}),
}
MIB = 1 << 20


def made_rows(work, count, draw):
    """Rows as engine/learn/examples/rows.rs reads them."""
    ids = lambda least, most: [draw.randrange(1000, 30000) for _ in range(draw.randint(least, most))]
    if work == "encoder":
        lengths = [round(SST2[at] + (SST2[at + 1] - SST2[at]) * draw.random()) for at in (draw.randrange(20) for _ in range(count))]
        return [{"ids": [101, *ids(length - 2, length - 2), 102], "label": draw.randrange(2)} for length in lengths]
    context, rows = [], []
    for number in range(count):
        if work == "shared":
            context = ids(50, 380) if number % 10 == 0 else context
            prompt = context + ids(8, 20)
        else:
            prompt = ids(60, 400)
        rows.append({"ids": prompt + ids(1, 10), "prompt": len(prompt)})
    draw.shuffle(rows)
    return rows


# PEFT's side.


def peft(config, path, layout, precision, batch, threads):
    """Answers lines as the example `rows` does."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    known = {key: value for key, value in config.items() if key != "model_type"}
    if config["model_type"] == "bert":
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**known, num_labels=2))
        lora = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], task_type="SEQ_CLS")
    else:
        # Made where it computes, and of the kind it computes in: a large one fits nowhere else.
        with torch.device(device):
            model = transformers.AutoModelForCausalLM.from_config(
                transformers.AutoConfig.for_model(config["model_type"], **known), dtype=dtype)
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model.to(dtype), lora)
    rows = [{"input_ids": row["ids"], **{key: row[key] for key in ("prompt", "label") if key in row}} for row in rows]

    def collate(rows):
        width = max(len(row["input_ids"]) for row in rows)
        filled = lambda values, filler: values + [filler] * (width - len(values))
        inputs = {
            "input_ids": torch.tensor([filled(row["input_ids"], 0) for row in rows]),
            "attention_mask": torch.tensor([filled([1] * len(row["input_ids"]), 0) for row in rows]),
        }
        if "label" in rows[0]:
            return {**inputs, "labels": torch.tensor([row["label"] for row in rows])}
        hidden = lambda row: [-100] * row["prompt"] + row["input_ids"][row["prompt"]:]
        return {**inputs, "labels": torch.tensor([filled(hidden(row), -100) for row in rows])}

    class Turns(transformers.TrainerCallback):
        """Waits for its turn before each step."""

        left = None

        def on_step_begin(self, args, state, control, **_):
            between = 0.0 if self.left is None else time.perf_counter() - self.left
            for line in sys.stdin:
                if line.strip() == "step":
                    self.begun = time.perf_counter() - between
                    return
                most = torch.cuda.max_memory_allocated() if device == "cuda" else status("VmHWM")
                print(json.dumps({"bytes": most - before}), flush=True)
            os._exit(0)

        def on_step_end(self, args, state, control, **_):
            print(json.dumps({"seconds": time.perf_counter() - self.begun, "rows": batch}), flush=True)
            self.left = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=batch, num_train_epochs=100, learning_rate=1e-4, weight_decay=0.0,
            train_sampling_strategy="group_by_length" if layout == "grouped" else "random", logging_strategy="no",
            save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=device == "cpu", remove_unused_columns=False, seed=0,
        )
        trainer = transformers.Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Turns()])
        Path("/proc/self/clear_refs").write_text("5")
        before = torch.cuda.memory_allocated() if device == "cuda" else status("VmRSS")
        print(json.dumps({"rows": len(rows)}), flush=True)
        trainer.train()


# The side that asks.


class Side:
    """One side's process."""

    def __init__(self, python, config, path, layout, precision, batch, threads):
        own = layout in ("apart", "shared", "texts")
        command = [ROWS] if own else [python, __file__, "--peft"]
        command += [json.dumps(config), path, layout, precision, batch, threads]
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self.layout, self.seconds, self.rows = layout, 0.0, 0
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.layout}: the process ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.answer()

    def step(self):
        done = self.ask("step")
        self.seconds += done["seconds"]
        self.rows += done["rows"]

    def end(self):
        peak = self.ask("peak")["bytes"]
        self.process.stdin.close()
        self.process.wait()
        return peak


def measure(python, work, precision, steps, threads):
    """Prints one table: an epoch of `steps` steps of each side, after a first step that does not count."""
    config, batch, sides = WORK[work]
    rows = made_rows(work, steps * batch, random.Random(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        running = {name: Side(python, config, path, layout, precision, batch, threads) for name, layout in sides.items()}
        for side in running.values():
            # A whole epoch is measured: the first step of the first is done again.
            side.step()
            side.seconds, side.rows = 0.0, 0
        for _ in range(steps):
            for side in running.values():
                side.step()
        peaks = {name: side.end() for name, side in running.items()}
    first = next(iter(running.values()))
    length = sum(len(row["ids"]) for row in rows) / len(rows)
    print(f"{work}, {precision}: {len(rows)} rows of {length:.0f} tokens in the mean, {batch} a step\n")
    print("| | rows/s | seconds | ours ÷ this | peak, MiB |\n| --- | --- | --- | --- | --- |")
    for name, side in running.items():
        rate = side.rows / side.seconds
        print(f"| {name} | {rate:.2f} | {side.seconds:.1f} | {first.rows / first.seconds / rate:.2f} | {peaks[name] / MIB:.0f} |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", help="a Python that has PEFT")
    parser.add_argument("--work", nargs="+", default=["squad", "shared", "encoder"], choices=list(WORK))
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=["float32", "bf16"])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    print(f"{machine(options.threads, options.python)}\n")
    for work in options.work:
        for precision in options.precisions:
            measure(options.python, work, precision, options.steps, options.threads)


if sys.argv[1:2] == ["--peft"]:
    peft(json.loads(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5], int(sys.argv[6]), int(sys.argv[7]))
elif __name__ == "__main__":
    main()
