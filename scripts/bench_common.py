"""What the benchmarks share: the machine in words, the versions that a Python has, a line of this process' status."""

import os
import platform
import subprocess
from pathlib import Path


def processor():
    """The processor's name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def status(line):
    """A line of this process' status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(found.split()[1]) * 1024 for found in lines if found.startswith(f"{line}:"))


def machine(threads, python=None, packages=("torch", "transformers", "peft")):
    """The machine, and what versions of the packages a Python has."""
    words = f"{processor()}, {threads} threads, {platform.system()} {platform.release().split('-')[0]}"
    if python is None:
        return words
    program = "import sys; from importlib.metadata import version; print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
    found = subprocess.run([python, "-c", program, *packages], check=True, capture_output=True, text=True).stdout.strip()
    return f"{words}; {found}"


def threads():
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))
