#!/usr/bin/env python3
"""Measures how fast rows become token ids in a Parquet file, beside Hugging Face's datasets with the same fast tokenizer,
in one run over the same made-up rows, and compares all ids. Prints Markdown. `make bench-tokenize` builds before it calls
this. datasets, transformers and tokenizers are installed into `.venv-tokenize/`.

    python3 scripts/bench_tokenize.py [--rows 1000000] [--rounds 3] [--tokenizers bpe wordpiece]

The rows are texts of 8 to 40 words of several scripts, drawn as often as words occur in texts; the tokenizers have 30,000
pieces, trained from the first rows. The sides take turns. Each keeps the text beside its ids. datasets is asked for ids
alone (`load_dataset`, `map(batched=True)` with a process a core, `to_parquet`); the engine runs a pipeline of a file, a
template and a `tokenize` stage with nothing in its store. Memory is the most that all processes of a side held at once,
without files that are mapped.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "target" / "release" / "engine"
VENV = ROOT / ".venv-tokenize"
PYTHON = VENV / "bin" / "python"
WANTED = ROOT / "scripts" / "bench_tokenize_requirements.txt"
CORES = len(os.sched_getaffinity(0))
VOCABULARY = 30_000

PIPELINE = """
stages:
  files: {kind: download, from: {path: data}}
  tokenizer: {kind: download, from: {path: tokenizer}}
  rows: {kind: preprocess, input: files, template: text.jinja, splits: {rows: {from: rows}}}
  tokens: {kind: tokenize, input: rows, tokenizer: tokenizer, bos: none, eos: none, max_length: 4096}
"""


def install():
    """Puts datasets and what it needs into an environment of their own, where they are not there yet."""
    stamp = VENV / WANTED.name  # written last
    if stamp.exists() and stamp.read_text() == WANTED.read_text():
        return
    print("installing datasets, transformers and tokenizers into .venv-tokenize/", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", WANTED], check=True)
    shutil.copy(WANTED, stamp)


def write_rows(path, count):
    """Rows of one text each, the same each time."""
    draw = random.Random(0)
    consonants, vowels = "bcdfghklmnprstvw", ("a", "e", "i", "o", "u", "er", "an", "ing")
    latin = [one + two for one in consonants for two in vowels]
    accented = [one + two for one in "bcçdfgłmnñprsšt" for two in ("á", "é", "ï", "ö", "ü", "ån")]
    cyrillic = [one + two for one in "бвгдклмнпрст" for two in ("а", "е", "и", "о", "у", "ый", "ен")]
    chinese = list("的一是不了人我在有他这中大来上个国和到说们为子时道你对生能而")
    other = ["🙂", "🚀", "—", "…", "№", "“", "2026", "17", "3.14", "it's", "don't"]
    scripts, weights = (latin, accented, cyrillic, chinese), (80, 10, 8, 2)
    words = []
    for _ in range(60_000):
        syllables = draw.choices(scripts, weights)[0]
        words.append("".join(draw.choices(syllables, k=draw.choice([1, 2, 2, 2, 3, 3, 4]))))
    words[:6] = ["the", "a", "of", "and", "to", "in"]
    words[100 : 100 + len(other)] = other
    pool = draw.choices(words, [1 / (rank + 2) for rank in range(len(words))], k=1 << 20)
    with path.open("w") as file:
        for _ in range(count):
            length = draw.randint(8, 40)
            start = draw.randrange(len(pool) - length)
            text = " ".join(pool[start : start + length]).capitalize().replace(" and", ", and") + draw.choice(".?!")
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def train(kind, rows, target):
    """Writes a tokenizer of the first rows. Run in the environment, as `side` is."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    with open(rows) as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(100_000))]
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(target)


def side(rows, tokenizer, target):
    """What datasets' users write; prints the seconds of its parts."""
    from datasets import disable_progress_bars, load_dataset
    from transformers import PreTrainedTokenizerFast

    disable_progress_bars()
    fast = PreTrainedTokenizerFast(tokenizer_file=tokenizer)

    def encode(batch):
        return fast(
            batch["text"], add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
        )

    times = [time.perf_counter()]
    data = load_dataset("json", data_files=rows, split="train")
    times.append(time.perf_counter())
    data = data.map(encode, batched=True, num_proc=CORES)
    times.append(time.perf_counter())
    data.to_parquet(target)
    times.append(time.perf_counter())
    seconds = dict(zip(("read", "map", "to_parquet"), (b - a for a, b in zip(times, times[1:]))))
    print(json.dumps(seconds))


def compare(ours, theirs):
    """Ends unless all ids are the same, row for row."""
    import pyarrow
    import pyarrow.parquet as parquet

    files = [parquet.ParquetFile(path) for path in (ours, theirs)]
    wanted = pyarrow.list_(pyarrow.int32())
    batches = [file.iter_batches(batch_size=10_000, columns=["input_ids"]) for file in files]
    rows = 0
    for one, other in zip(*batches, strict=True):
        one, other = (batch.column("input_ids").cast(wanted) for batch in (one, other))
        if not one.equals(other):
            row = next(row for row, (a, b) in enumerate(zip(one, other)) if a != b)
            sys.exit(f"bench_tokenize: row {rows + row + 1}: {one[row]} is not {other[row]}")
        rows += len(one)
    print(rows)


def held(process):
    """The bytes of memory that a process and its children hold now; none where they have ended."""
    total, waiting = 0, [process]
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                sizes = dict(line.split()[:2] for line in file if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
            total += sum(map(int, sizes.values())) * 1024
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    waiting.extend(file.read().split())
        except OSError:
            continue
    return total


def measure(command, folder):
    """What a command says, its seconds, and the most memory that it and its children held at once."""
    environment = {
        **os.environ,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=complained, env=environment)
        most, ended = 0, threading.Event()

        def watch():
            nonlocal most
            while not ended.wait(0.05):
                most = max(most, held(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        took = time.perf_counter() - started
        ended.set()
        watcher.join()
        if code != 0:
            complained.seek(0)
            words = complained.read().decode(errors="replace")[-2000:]
            sys.exit(f"bench_tokenize: {' '.join(map(str, command))} ended with {code}\n{words}")
        said.seek(0)
        return said.read().decode(), took, most


def engine(folder):
    """The engine's side: seconds of all, of the stages, bytes of all and of the stages."""
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    _, took, memory = measure([ENGINE, "run", "pipelines/bench.yaml"], folder)
    stages = {}
    for stage in ("rows", "tokens"):
        stages[stage] = json.loads((folder / "outputs" / "bench" / f"{stage}.observed" / "run.json").read_text())
    return took, memory, stages


def theirs(folder):
    shutil.rmtree(folder / "hf", ignore_errors=True)
    target = folder / "theirs.parquet"
    target.unlink(missing_ok=True)
    arguments = [folder / "data" / "rows.jsonl", folder / "tokenizer" / "tokenizer.json", target]
    said, took, memory = measure([PYTHON, __file__, "--side", *map(str, arguments)], folder)
    return took, memory, json.loads(said.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizers", nargs="+", choices=("bpe", "wordpiece"), default=("bpe", "wordpiece"))
    for name, count in (("train", 3), ("side", 3), ("compare", 2)):
        parser.add_argument(f"--{name}", nargs=count, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name, function in (("train", train), ("side", side), ("compare", compare)):
        if getattr(arguments, name):
            return function(*getattr(arguments, name))
    install()
    print(f"{arguments.rows:,} rows, {CORES} cores of {platform.machine()}, medians of {arguments.rounds}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("data", "tokenizer", "templates", "pipelines"):
            (folder / name).mkdir()
        rows = folder / "data" / "rows.jsonl"
        write_rows(rows, arguments.rows)
        (folder / "templates" / "text.jinja").write_text("{% block prompt %}{{ text }}{% endblock %}")
        (folder / "pipelines" / "bench.yaml").write_text(PIPELINE)
        for kind in arguments.tokenizers:
            bench(folder, rows, kind, arguments)


def bench(folder, rows, kind, arguments):
    """Measures both sides with one tokenizer, and prints a table."""
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    subprocess.run([PYTHON, __file__, "--train", kind, rows, tokenizer], check=True)
    ours, others = [], []
    for _ in range(arguments.rounds):
        ours.append(engine(folder))
        others.append(theirs(folder))
    target = folder / "outputs" / "bench" / "tokens" / "rows.parquet"
    pair = [target, folder / "theirs.parquet"]
    subprocess.run([PYTHON, __file__, "--compare", *pair], check=True, stdout=subprocess.DEVNULL)

    def middle(of, runs):
        return statistics.median(map(of, runs))

    count = arguments.rows
    lines = []

    def line(what, engine_seconds, their_seconds):
        ratio = f"{their_seconds / engine_seconds:.1f}"
        speeds = f"{count / engine_seconds:,.0f} | {count / their_seconds:,.0f}"
        lines.append(f"| {what} | {engine_seconds:.1f} | {their_seconds:.1f} | {speeds} | {ratio} |")

    mapped = middle(lambda run: run[2]["map"] + run[2]["to_parquet"], others)
    line("the stage; `map` and `to_parquet`", middle(lambda run: run[2]["tokens"]["seconds"], ours), mapped)
    line("everything, from the file on", middle(lambda run: run[0], ours), middle(lambda run: run[0], others))
    print(f"{kind}, {VOCABULARY:,} pieces, the same ids in all rows:\n")
    print("| what | engine, s | datasets, s | engine, rows/s | datasets, rows/s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines), end="\n\n")

    def mib(of, runs):
        return f"{middle(of, runs) / 2**20:,.0f}"

    stages = [mib(lambda run: run[2][stage]["peak_memory_bytes"], ours) for stage in ("rows", "tokens")]
    print(
        f"Memory, MiB: the engine's `preprocess` {stages[0]}, its `tokenize` {stages[1]}; datasets "
        f"{mib(lambda run: run[1], others)}. Parquet, MiB: {pair[0].stat().st_size / 2**20:,.0f} and "
        f"{pair[1].stat().st_size / 2**20:,.0f}.\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
