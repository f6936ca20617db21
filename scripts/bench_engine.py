#!/usr/bin/env python3
"""Measures the engine against ninja and DVC, in one run: pipelines of trivial commands as a fan and as a chain, the
first run and the run that has nothing to do, wall time and the largest process's memory. Prints Markdown.
`make bench-engine` builds before it calls this. ninja and DVC are installed into `.venv-bench/`.

    python3 scripts/bench_engine.py [--sizes 100 1000 10000] [--shapes fan chain] [--without-dvc] [--limit SECONDS]

Every stage starts one shell, which reads one small file and writes one; none of them equals another. A tool that
exceeds the limit is ended, and what it would have measured further is left out and said so. Where DVC's first run takes
too long, what it would have left is written for it, so that its run with nothing to do is measured all the same; where
the first run ends, what is written so is compared with what DVC itself left.
"""

import argparse
import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "target" / "release" / "engine"
VENV = ROOT / ".venv-bench"
WANTED = ROOT / "scripts" / "bench_requirements.txt"
CORES = len(os.sched_getaffinity(0))


def install():
    """Puts ninja and DVC into an environment of their own, where they are not there yet."""
    stamp = VENV / WANTED.name  # written last
    if stamp.exists() and stamp.read_text() == WANTED.read_text():
        return
    print("installing ninja and DVC into .venv-bench/", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", WANTED], check=True)
    shutil.copy(WANTED, stamp)


# What each stage does, as shell: its number and the first word of what it reads.
SCRIPT = 'read word rest < "{source}"; echo "{number} $word" > "{target}"'


def sources(shape, count):
    """For each stage the stage that it reads; None for the file that the project has."""
    return [None if shape == "fan" or number == 0 else number - 1 for number in range(count)]


def write_engine(folder, shape, count):
    lines = ["name: bench", "stages:"]
    for number, source in enumerate(sources(shape, count)):
        script = SCRIPT.format(source="$1", target="$2", number=number).replace("\\", "\\\\").replace('"', '\\"')
        reads = "{path: words.txt}" if source is None else f"s{source}/text"
        lines += [
            f"  s{number}:",
            "    kind: command",
            f'    run: [sh, -c, "{script}", sh, "${{in.a}}", "${{out.text}}"]',
            f"    in: {{a: {reads}}}",
            "    out: {text: text}",
        ]
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "bench.yaml").write_text("\n".join(lines) + "\n")


def write_ninja(folder, shape, count):
    script = SCRIPT.format(source="$in", target="$out", number="$number").replace("$word", "$$word")
    lines = ["rule stage", f"  command = {script}"]
    for number, source in enumerate(sources(shape, count)):
        reads = "words.txt" if source is None else f"out/{source}"
        lines += [f"build out/{number}: stage {reads}", f"  number = {number}"]
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def write_dvc(folder, shape, count):
    lines = ["stages:"]
    for number, source in enumerate(sources(shape, count)):
        reads = "words.txt" if source is None else f"out/{source}"
        script = SCRIPT.format(source=reads, target=f"out/{number}", number=number).replace('"', '\\"')
        lines += [f"  s{number}:", f'    cmd: "{script}"', f"    deps: [{reads}]", f"    outs: [out/{number}]"]
    (folder / "out").mkdir()
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    subprocess.run([VENV / "bin" / "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True, env=environment())
    subprocess.run(
        [VENV / "bin" / "dvc", "config", "core.analytics", "false"], cwd=folder, check=True, env=environment()
    )


def finish_dvc(folder, shape, count):
    """What DVC leaves after its first run: the outputs, its lock, and its cache."""
    contents, lines = {"words.txt": b"pear apple\n"}, ["schema: '2.0'", "stages:"]

    def entry(path):
        digest = hashlib.md5(contents[path]).hexdigest()
        return [f"    - path: {path}", "      hash: md5", f"      md5: {digest}", f"      size: {len(contents[path])}"]

    for number, source in enumerate(sources(shape, count)):
        reads, writes = "words.txt" if source is None else f"out/{source}", f"out/{number}"
        word = contents[reads].split()[0].decode()
        contents[writes] = f"{number} {word}\n".encode()
        script = SCRIPT.format(source=reads, target=writes, number=number)
        lines += [f"  s{number}:", f"    cmd: {script}", "    deps:", *entry(reads), "    outs:", *entry(writes)]
        (folder / writes).write_bytes(contents[writes])
        digest = hashlib.md5(contents[writes]).hexdigest()
        cached = folder / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(contents[writes])
        cached.chmod(0o444)
    (folder / "dvc.lock").write_text("\n".join(lines) + "\n")


def state_of_dvc(folder):
    """What DVC looks at to say that there is nothing to do: its lock, stage by stage, and the files of its cache."""
    stages = set(("\n" + (folder / "dvc.lock").read_text()).split("\n  s"))
    cache = folder / ".dvc" / "cache" / "files"
    return stages, {path.relative_to(cache): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def environment():
    return {**os.environ, "DVC_NO_ANALYTICS": "1", "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"}


@dataclass
class Tool:
    name: str
    write: object
    command: list
    firsts: int  # how often the first run is measured
    repeats: int  # how often the run that has nothing to do is
    finish: object = None  # writes what the first run leaves, where that takes too long
    state: object = None  # reads it


TOOLS = [
    Tool("engine", write_engine, [ENGINE, "run", "pipelines/bench.yaml", "--jobs", str(CORES)], 3, 11),
    Tool("ninja", write_ninja, [VENV / "bin" / "ninja", "-j", str(CORES)], 3, 11),
    Tool("dvc", write_dvc, [VENV / "bin" / "dvc", "repro", "--quiet"], 1, 3, finish_dvc, state_of_dvc),
]


class TooSlow(Exception):
    pass


# Starts a command, waits for it, and prints how it ended, its wall time and the largest process's memory. A process of
# its own, and a small one: what a process uses is at least what the one used that started it.
LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(child, 0)
took = time.perf_counter() - begin
with open(sys.argv[1], "w") as report:
    print(os.waitstatus_to_exitcode(status), took, used.ru_maxrss * 1024, file=report)
"""


def measure(command, folder, limit):
    """Wall seconds and the largest process's memory in bytes of a command, which must succeed."""
    with tempfile.NamedTemporaryFile("r") as report, tempfile.TemporaryFile() as said:
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, report.name, *map(str, command)]
        process = subprocess.Popen(
            launcher, cwd=folder, stdin=subprocess.DEVNULL, stderr=said, env=environment(), start_new_session=True
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            raise TooSlow from None
        code, took, memory = report.read().split()
        if int(code) != 0:
            said.seek(0)
            words = said.read().decode(errors="replace")[-2000:]
            sys.exit(f"error: {' '.join(map(str, command))} ended with {code}\n{words}")
    return float(took), float(memory)


@dataclass
class Measured:
    first: float | None = None
    first_memory: float | None = None
    nothing: float | None = None
    nothing_memory: float | None = None
    cut: str = ""


def check(folder, tool, shape, count):
    """What the last stage left: a tool that was fast because it did something else is no tool."""
    last = {"engine": f"outputs/bench/s{count - 1}/text"}.get(tool.name, f"out/{count - 1}")
    expected = f"{count - 1} {'pear' if shape == 'fan' or count == 1 else count - 2}\n"
    found = (folder / last).read_text()
    if found != expected:
        sys.exit(f"error: {tool.name} left {found!r} where {expected!r} belongs")


def begin(tool, shape, count, folder):
    """A folder with a pipeline that nobody has run."""
    (folder / "words.txt").write_text("pear apple\n")
    tool.write(folder, shape, count)


def measure_firsts(measured, tool, shape, count, folder, limit):
    """Measures the first run, in folders of their own; the last is left in `folder`."""
    firsts = []
    for number in range(tool.firsts):
        one = folder / str(number)
        one.mkdir()
        begin(tool, shape, count, one)
        firsts.append(measure(tool.command, one, limit))
        check(one, tool, shape, count)
        if number + 1 < tool.firsts:
            shutil.rmtree(one)
    measured.first = statistics.median(first for first, _ in firsts)
    measured.first_memory = statistics.median(memory for _, memory in firsts)
    return one


def check_finish(tool, shape, count, done, folder):
    """That what is written for a tool whose first run takes too long is what its first run leaves."""
    written = folder / "written"
    written.mkdir()
    begin(tool, shape, count, written)
    tool.finish(written, shape, count)
    if tool.state(written) != tool.state(done):
        sys.exit(f"error: {tool.name} leaves something else after its first run than is written for it")


def measure_nothing(measured, tool, folder, limit):
    """Measures the run that has nothing to do."""
    # A file that is younger than two seconds is read again each time.
    time.sleep(2.5)
    measure(tool.command, folder, limit)
    runs = [measure(tool.command, folder, limit) for _ in range(tool.repeats)]
    measured.nothing = statistics.median(nothing for nothing, _ in runs)
    measured.nothing_memory = statistics.median(memory for _, memory in runs)


def bench(tool, shape, count, limit, above, is_slow):
    """Measures one tool on one pipeline; files are made below the folder `above`. The first run of a tool that is known
    to be slow is not tried."""
    measured = Measured()
    with tempfile.TemporaryDirectory(dir=above) as folder:
        folder = Path(folder)
        try:
            if is_slow:
                raise TooSlow
            done = measure_firsts(measured, tool, shape, count, folder, limit)
            if tool.finish:
                check_finish(tool, shape, count, done, folder)
        except TooSlow:
            measured.cut = "the first run was not tried" if is_slow else f"the first run was ended after {limit:.0f} s"
            if not tool.finish:
                return measured
            done = folder / "done"
            done.mkdir()
            begin(tool, shape, count, done)
            tool.finish(done, shape, count)
        try:
            measure_nothing(measured, tool, done, limit)
        except TooSlow:
            measured.cut += f"{'; ' if measured.cut else ''}with nothing to do it was ended after {limit:.0f} s"
    return measured


def seconds(value):
    if value is None:
        return "–"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"


def megabytes(value):
    return "–" if value is None else f"{value / 1e6:.0f}"


def ratio(a, b, form="{:.1f}"):
    return "–" if a is None or b is None else form.format(a / b)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def version(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split()[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000], help="stages of a pipeline")
    parser.add_argument("--shapes", nargs="+", default=["fan", "chain"], choices=["fan", "chain"])
    parser.add_argument("--without-dvc", action="store_true", help="measure the engine and ninja alone")
    parser.add_argument("--limit", type=float, default=600, help="the most seconds that one run may take")
    parser.add_argument("--folder", help="where the pipelines are written; a temporary folder by default")
    options = parser.parse_args()
    install()
    tools = [tool for tool in TOOLS if tool.name != "dvc" or not options.without_dvc]
    versions = [f"engine {version([ENGINE, '--version'])}", f"ninja {version([VENV / 'bin' / 'ninja', '--version'])}"]
    if not options.without_dvc:
        versions.append(f"DVC {version([VENV / 'bin' / 'dvc', '--version'])}")
    loads = [os.getloadavg()[0]]
    measured, cuts = {}, []
    for shape in options.shapes:
        slow = set()
        for count in sorted(options.sizes):
            for tool in tools:
                result = bench(tool, shape, count, options.limit, options.folder, tool.name in slow)
                if result.cut:
                    cuts.append(f"{tool.name}, {shape} of {count:,}: {result.cut}")
                # Ten times the stages take at least ten times as long.
                if result.first is None or result.first * 10 > options.limit:
                    slow.add(tool.name)
                measured[shape, count, tool.name] = result
                print(f"{shape} {count} {tool.name}: {result}", file=sys.stderr)
        loads.append(os.getloadavg()[0])
    names = [tool.name for tool in tools]
    print(f"{processor()}, {CORES} cores, {platform.system()} {platform.release()}; {', '.join(versions)}.")
    print(f"Load before, between and after: {', '.join(f'{load:.1f}' for load in loads)}.\n")
    heads = {"engine": "engine", "ninja": "ninja", "dvc": "DVC"}

    def table(title, value, memory):
        columns = [title, *(heads[name] for name in names), "engine ÷ ninja"]
        columns += ["DVC ÷ engine"] if "dvc" in names else []
        columns += [f"{heads[name]}, MB" for name in names]
        print("| " + " | ".join(columns) + " |")
        print("| " + " | ".join(["---"] * len(columns)) + " |")
        for shape in options.shapes:
            for count in sorted(options.sizes):
                one = {name: measured[shape, count, name] for name in names}
                row = [f"{shape} of {count:,}", *(seconds(value(one[name])) for name in names)]
                row.append(ratio(value(one["engine"]), value(one["ninja"])))
                if "dvc" in names:
                    row.append(ratio(value(one["dvc"]), value(one["engine"]), "{:,.0f}"))
                row += [megabytes(memory(one[name])) for name in names]
                print("| " + " | ".join(row) + " |")
        print()

    table("nothing to do", lambda one: one.nothing, lambda one: one.nothing_memory)
    table("first run", lambda one: one.first, lambda one: one.first_memory)
    print("The engine's cost a stage, in microseconds:\n")
    sizes = sorted(options.sizes)
    print("| | " + " | ".join(f"{count:,} stages" for count in sizes) + " |")
    print("| --- |" + " --- |" * len(sizes))
    for shape in options.shapes:
        for what in ("nothing", "first"):
            values = [getattr(measured[shape, count, "engine"], what) for count in sizes]
            row = ["–" if value is None else f"{value / count * 1e6:.0f}" for value, count in zip(values, sizes)]
            label = "nothing to do" if what == "nothing" else "first run"
            print(f"| {shape}, {label} | " + " | ".join(row) + " |")
    if cuts:
        print("\nLeft out:\n")
        print("\n".join(f"- {cut}" for cut in cuts))


if __name__ == "__main__":
    main()
