#!/usr/bin/env python3
"""What each study in `pipelines/` needs, by `engine estimate`, from the shapes of its models alone: memory of its largest
training on a GPU, disk, work, and hours at a speed. Prints the table of README.md. `make needs` builds before it calls this.

    python3 scripts/needs.py [--speed 100]

Nothing is downloaded: every row is taken to be as long as `max_length` allows, so that memory and work are the most there
can be, and rows are as many as the data sets' cards say. Disk is the models' files and what each training leaves at its
end: the numbers that it trained, in float32.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "target" / "release" / "engine"

# Bytes of each model's weights on the Hub: its numbers, by those of each in the file.
FILES = {
    "gemma-3-1b": 999_885_952 * 2,
    "llama-7b": 6_738_415_616 * 2,
    "roberta-base": 124_645_632 * 4,
    "roberta-large": 355_359_744 * 4,
    "rut5-large": 737_668_096 * 4,
}

GLUE = {
    "mnli": 392_702,
    "sst2": 67_349,
    "mrpc": 3_668,
    "cola": 8_551,
    "qnli": 104_743,
    "qqp": 363_846,
    "rte": 2_490,
    "stsb": 5_749,
}


def by_task(rows):
    """Settings of `--rows` for a stage `tokens` with an axis `task`."""
    return [f"tokens[task={task}]={count}" for task, count in rows.items()]


# Each study: its models' shapes by what sets them, and its rows to train on.
STUDIES = {
    "squad_dora": ({"stages.gemma.from": "gemma-3-1b"}, ["tokens=128319"]),
    "commonsense_dora": (
        {"stages.llama.from": "llama-7b"},
        by_task({"boolq": 9_427 - 120, "hellaswag": 39_905 - 120, "winogrande": 40_398 - 120}),
    ),
    "commonsense_170k": ({"stages.llama.from": "llama-7b"}, ["tokens=170300"]),
    "glue_lora_fa": (
        {"stages.roberta.from": "roberta-base"},
        by_task({task: GLUE[task] - 200 for task in ("mrpc", "rte", "cola")}),
    ),
    "glue_lora": ({"stages.base.from": "roberta-base", "stages.large.from": "roberta-large"}, by_task(GLUE)),
    "ru_instruct": ({"stages.rut5.from": "rut5-large"}, ["tokens=13500"]),
    "roberta_matrices": (
        {"vars.sizes.base": "roberta-base", "vars.sizes.large": "roberta-large"},
        by_task({"stsb": GLUE["stsb"], "ag_news": 120_000, "mnli": GLUE["mnli"], "snli": 549_367}),
    ),
}


def forecasts(project, study, speed):
    """What `engine estimate` says of each training of a study."""
    shapes, rows = STUDIES[study]
    words = [ENGINE, "estimate", f"pipelines/{study}.yaml", "--json", "--device", "cuda", "--speed", str(speed)]
    for setting, shape in shapes.items():
        words += ["--set", f"{setting}={{path: shapes/{shape}}}"]
    for told in rows:
        words += ["--rows", told]
    said = subprocess.run(words, cwd=project, check=True, capture_output=True, text=True).stdout
    answers = [json.loads(line) for line in said.splitlines()]
    failed = [answer for answer in answers if "forecast" not in answer]
    if failed:
        raise SystemExit(f"{study}: {failed[0]}")
    return [answer["forecast"] for answer in answers]


def row(study, found):
    """A line of the table."""
    memory = max(one["weights"] + one["peak"] for one in found)
    disk = sum(FILES[shape] for shape in STUDIES[study][0].values())
    disk += sum(4 * one["trainable_parameters"] for one in found)
    work = sum(one["steps"] * one["step_products"] for one in found)
    hours = sum(one["steps"] * one["step_seconds"] for one in found) / 3600
    cells = [f"`{study}.yaml`", len(found), f"{memory / 2**30:.1f} GiB", f"{disk / 1e9:.1f} GB", f"{work / 1e15:,.0f} PFLOP"]
    return f"| {' | '.join(map(str, cells))} | {hours:,.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speed", type=float, default=100, help="TFLOP/s")
    speed = parser.parse_args().speed
    print(f"| study | trainings | GPU memory | disk | work | hours at {speed:g} TFLOP/s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in ("pipelines", "templates"):
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("*.lock.yaml"))
        for shape in FILES:
            (project / "shapes" / shape).mkdir(parents=True)
            shutil.copy(ROOT / "tests" / "shapes" / f"{shape}.json", project / "shapes" / shape / "config.json")
        for study in STUDIES:
            print(row(study, forecasts(project, study, speed)), flush=True)


if __name__ == "__main__":
    main()
