#!/usr/bin/env python3
"""Measures one training step of each method beside PEFT's, on the same libtorch: saved activations, peak memory, seconds.
`make bench-methods` builds, and makes PEFT's environment, before it calls this.

    python3 scripts/bench_methods.py PYTHON [--methods lora dora …] [--precisions float32 bf16] [--dropout 0.05]
        [--steps 7] [--keep FILE]

PYTHON is one that has PEFT. Each method of each side is a process of its own. The processes take turns, a step each, so
that what else happens on the machine falls on all of them alike. A process is asked for its next step by a line on its
standard input, and answers with a line of JSON: engine/learn/examples/step.rs, and `peft` below. With `--keep` what was
measured is added to FILE, and the tables are those of all that it holds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench_common import machine, status

ROOT = Path(__file__).resolve().parent.parent
STEP = ROOT / "target" / "release" / "examples" / "step"
METHODS = ["lora", "lora_fa", "dora", "full"]
PRECISIONS = ["float32", "bf16"]
RANK, ALPHA = 16, 32
ROWS, LENGTH = 4, 256
CONFIG = dict(
    model_type="llama", vocab_size=32000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8,
    num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=2048, rms_norm_eps=1e-5,
    initializer_range=0.02, tie_word_embeddings=False,
)
MIB = 1 << 20


# PEFT's side.


def peft(method, precision, dropout, threads):
    """Answers lines as the example `step` does."""
    import contextlib

    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    from peft.optimizers import create_lorafa_optimizer

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # Full fine-tuning keeps float32 weights, as the engine does, and computes in bf16 by autocast.
    exact = precision == "float32" or method == "full"
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).to(torch.float32 if exact else torch.bfloat16)
    computing = contextlib.nullcontext
    if method == "full" and precision == "bf16":
        def computing():
            return torch.autocast("cpu", torch.bfloat16)
    if method in ("lora", "lora_fa", "dora"):
        model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, target_modules="all-linear",
                                                 use_dora=method == "dora", task_type="CAUSAL_LM"))
    if method == "floor":
        model.requires_grad_(False)
        model.get_input_embeddings().weight.requires_grad_(True)
    if method == "lora_fa":
        optimizer = create_lorafa_optimizer(model=model, r=RANK, lora_alpha=ALPHA, lr=1e-4)
    else:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    model.train()
    ids = torch.tensor([[3 + (row * 31 + at * 7) % 90 for at in range(LENGTH)] for row in range(ROWS)])

    def step():
        with computing():
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def saved():
        storages = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        count = 0

        def pack(tensor):
            nonlocal count
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in storages:
                storages.add(storage.data_ptr())
                count += storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = step()
        return {"bytes": count, "loss": loss}

    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    print(json.dumps({"trainable": trainable}), flush=True)
    for line in sys.stdin:
        match line.strip():
            case "step":
                begun = time.perf_counter()
                loss = step()
                answer = {"seconds": time.perf_counter() - begun, "loss": loss}
            case "saved":
                answer = saved()
            case "peak":
                answer = {"bytes": status("VmHWM") - before}
        print(json.dumps(answer), flush=True)


# The side that asks.


class Trained:
    """One model of one side."""

    def __init__(self, side, python, method, precision, dropout, threads):
        self.side, self.method, self.seconds = side, method, []
        if side == "ours":
            command = [STEP, json.dumps(CONFIG), method, precision, dropout, ROWS, LENGTH, threads]
        else:
            command = [python, __file__, "--peft", method, precision, dropout, threads]
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.trainable = self.answer()["trainable"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.side}, {self.method}: the process ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.answer()

    def found(self):
        return dict(saved=self.saved, peak=self.peak, seconds=self.seconds, trainable=self.trainable)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def measure(python, methods, precision, dropout, steps, threads):
    """What was measured, by side and method. The frozen model's saved activations are `floor`."""
    found = {}
    for side in ("ours", "peft"):
        floor = Trained(side, python, "floor", precision, 0.0, threads)
        found[f"{side} floor"] = {"saved": floor.ask("saved")["bytes"]}
        floor.end()
    trained = [Trained(side, python, method, precision, dropout, threads) for method in methods for side in ("ours", "peft")]
    for model in trained:
        model.ask("step")
        model.peak = model.ask("peak")["bytes"]
    for _ in range(steps):
        for model in trained:
            model.seconds.append(model.ask("step")["seconds"])
    # Hooks that count hold tensors a little longer: last of all.
    for model in trained:
        model.peak = max(model.peak, model.ask("peak")["bytes"])
        model.saved = model.ask("saved")["bytes"]
        model.end()
        found[f"{model.side} {model.method}"] = model.found()
    return found


def table(found, what):
    """One precision's rows."""
    print(f"{what}:\n")
    print("| method | trained | saved, MiB | PEFT's | PEFT ÷ ours | peak, MiB | PEFT's | step, s | PEFT's | ours ÷ PEFT | ours ÷ our LoRA |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    floors = [found[f"{side} floor"]["saved"] / MIB for side in ("ours", "peft")]
    print(f"| frozen | | {floors[0]:.1f} | {floors[1]:.1f} | {floors[1] / floors[0]:.2f} | | | | | | |")
    for method in METHODS:
        if f"ours {method}" not in found:
            continue
        ours, peft = found[f"ours {method}"], found[f"peft {method}"]
        second, second_peft = statistics.median(ours["seconds"]), statistics.median(peft["seconds"])
        lora = statistics.median(found["ours lora"]["seconds"]) if "ours lora" in found else float("nan")
        print(f"| {method} | {ours['trainable']:,} | {ours['saved'] / MIB:.1f} | {peft['saved'] / MIB:.1f} "
              f"| {peft['saved'] / ours['saved']:.2f} | {ours['peak'] / MIB:.0f} | {peft['peak'] / MIB:.0f} "
              f"| {second:.3f} | {second_peft:.3f} | {second / second_peft:.2f} | {second / lora:.3f} |")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", help="a Python that has PEFT")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    found = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    for precision in options.precisions:
        what = f"{precision}, dropout {options.dropout:g}"
        measured = measure(options.python, options.methods, precision, options.dropout, options.steps, options.threads)
        found.setdefault(what, {}).update(measured)
        if options.keep:
            options.keep.write_text(json.dumps(found, indent=1))
    print(f"{machine(options.threads, options.python)}; medians of {options.steps} steps\n")
    for what, part in found.items():
        table(part, what)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peft"]:
        peft(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
