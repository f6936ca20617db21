#!/usr/bin/env python3
"""Runs a benchmark and puts what it prints into docs/benchmarks.md, between the lines `<!-- NAME -->` and `<!-- /NAME -->`.

    python3 scripts/bench_docs.py NAME COMMAND…
"""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def main():
    name, *command = sys.argv[1:]
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    if begin not in DOCS.read_text() or end not in DOCS.read_text():
        sys.exit(f"error: docs/benchmarks.md has no place for {name}: add the lines {begin.strip()} and {end.strip()}")
    printed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if running.returncode != 0:
        sys.exit(f"error: {name} ended with {running.returncode}; docs/benchmarks.md stays as it was")
    text = DOCS.read_text()
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    DOCS.write_text(before + begin + "".join(printed).strip() + "\n" + end + after)


if __name__ == "__main__":
    main()
