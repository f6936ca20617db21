#!/usr/bin/env python3
"""Measures what a user waits for, and prints it as a table: the quickstart from nothing, the same run again with
everything cached, and the start of the programs. `make bench` builds before it calls this.

    python3 scripts/bench.py [--skip-quickstart]
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "target" / "release"
PIPELINE = "pipelines/quickstart.yaml"


def seconds(command, folder):
    """The wall time of a command, which must succeed."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(map(str, command))} ended with {done.returncode}\n{done.stderr}")
    return took


def median(command, folder, times=21):
    """The median wall time of a command in milliseconds, after one run that warms up."""
    seconds(command, folder)
    return statistics.median(seconds(command, folder) for _ in range(times)) * 1000


def processor():
    """The processor's name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip-quickstart", action="store_true", help="measure only what takes milliseconds")
    skip = parser.parse_args().skip_quickstart
    engine, worker = PROGRAMS / "engine", PROGRAMS / "engine-worker"
    rows = [
        ("`engine --version`, median of 21", f"{median([engine, '--version'], ROOT):.1f} ms"),
        ("`engine-worker --build-id`, median of 21", f"{median([worker, '--build-id'], ROOT):.0f} ms"),
        (f"`engine check {PIPELINE}`, median of 21", f"{median([engine, 'check', PIPELINE], ROOT):.1f} ms"),
    ]
    if not skip:
        with tempfile.TemporaryDirectory() as folder:
            for part in ("pipelines", "templates", "datasets"):
                shutil.copytree(ROOT / part, Path(folder) / part)
            run = [engine, "run", PIPELINE]
            rows.append((f"`engine run {PIPELINE}` from nothing", f"{seconds(run, folder):.0f} s"))
            rows.append(("the same again, all cached, median of 21", f"{median(run, folder):.1f} ms"))
    load = f"{os.getloadavg()[0]:.1f}"
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}, load {load} at the end\n")
    print("| what | time |\n| --- | --- |")
    for what, took in rows:
        print(f"| {what} | {took} |")


main()
