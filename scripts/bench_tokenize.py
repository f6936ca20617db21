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
import resource
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

# Each stage gets all cores, as datasets does; by itself a stage of a run takes one.
PIPELINE = f"""
stages:
  files: {{kind: download, from: {{path: data}}}}
  tokenizer: {{kind: download, from: {{path: tokenizer}}}}
  rows:
    kind: preprocess
    resources: {{cpu: {CORES}}}
    input: files
    template: text.jinja
    splits: {{rows: {{from: rows}}}}
  tokens:
    kind: tokenize
    resources: {{cpu: {CORES}}}
    input: rows
    tokenizer: tokenizer
    bos: none
    eos: none
    max_length: 4096
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
    """What datasets' users write; prints the seconds of `map` and `to_parquet`."""
    from datasets import disable_progress_bars, load_dataset
    from transformers import PreTrainedTokenizerFast

    def processor():
        used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    disable_progress_bars()
    fast = PreTrainedTokenizerFast(tokenizer_file=tokenizer)

    def encode(batch):
        return fast(
            batch["text"], add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
        )

    data = load_dataset("json", data_files=rows, split="train")
    begun, used = time.perf_counter(), processor()
    data.map(encode, batched=True, num_proc=CORES).to_parquet(target)
    print(json.dumps({"seconds": time.perf_counter() - begun, "cpu_seconds": processor() - used}))


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
    """What a command says, its seconds, the processor's, and the most memory that it and its children held at once."""
    environment = {
        **os.environ,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=complained, env=environment)
        most, ended = 0, threading.Event()

        def watch():
            nonlocal most
            while not ended.wait(0.05):
                most = max(most, held(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
        if process.returncode != 0:
            complained.seek(0)
            words = complained.read().decode(errors="replace")[-2000:]
            sys.exit(f"bench_tokenize: {' '.join(map(str, command))} ended with {process.returncode}\n{words}")
        said.seek(0)
        whole = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "memory": most}
        return said.read().decode(), whole


def ours(folder):
    """A run of the engine: what all of it took, and what its stages did."""
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    _, whole = measure([ENGINE, "run", "pipelines/bench.yaml"], folder)
    run = {"whole": whole}
    for stage in ("rows", "tokens"):
        run[stage] = json.loads((folder / "outputs" / "bench" / f"{stage}.observed" / "run.json").read_text())
    return run


def theirs(folder):
    """A run of datasets: what all of it took, and `map` with `to_parquet`."""
    shutil.rmtree(folder / "hf", ignore_errors=True)
    target = folder / "theirs.parquet"
    target.unlink(missing_ok=True)
    arguments = [folder / "data" / "rows.jsonl", folder / "tokenizer" / "tokenizer.json", target]
    said, whole = measure([PYTHON, __file__, "--side", *map(str, arguments)], folder)
    return {"whole": whole, "tokens": json.loads(said.splitlines()[-1])}


def bench(folder, rows, kind, arguments):
    """Measures both sides with one tokenizer, and prints a table."""
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    subprocess.run([PYTHON, __file__, "--train", kind, rows, tokenizer], check=True)
    engine, others = [], []
    for _ in range(arguments.rounds):
        engine.append(ours(folder))
        others.append(theirs(folder))
    files = [folder / "outputs" / "bench" / "tokens" / "rows.parquet", folder / "theirs.parquet"]
    subprocess.run([PYTHON, __file__, "--compare", *files], check=True, stdout=subprocess.DEVNULL)

    def middle(runs, part, figure):
        return statistics.median(run[part][figure] for run in runs)

    print(f"{kind}, {VOCABULARY:,} pieces, the same ids in all rows:\n")
    print("| what | engine, s | datasets, s | engine, rows/s | datasets, rows/s | ratio | of the processor's time |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for part, what in (("tokens", "`tokenize`; `map` and `to_parquet`"), ("whole", "all, from JSON lines on")):
        seconds = [middle(runs, part, "seconds") for runs in (engine, others)]
        speeds = " | ".join(f"{arguments.rows / one:,.0f}" for one in seconds)
        used = middle(others, part, "cpu_seconds") / middle(engine, part, "cpu_seconds")
        ratio = seconds[1] / seconds[0]
        print(f"| {what} | {seconds[0]:.1f} | {seconds[1]:.1f} | {speeds} | {ratio:.1f} | {used:.1f} |")

    def mib(size):
        return f"{size / 2**20:,.0f}"

    held = [mib(middle(runs, "whole", "memory")) for runs in (engine, others)]
    sizes = [mib(file.stat().st_size) for file in files]
    rest = middle(engine, "rows", "seconds")
    print(
        f"\nThe engine's `preprocess` took {rest:.1f} s of the whole. Memory, MiB: {held[0]} and {held[1]}. Parquet, MiB: "
        f"{sizes[0]} and {sizes[1]}.\n",
        flush=True,
    )


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


if __name__ == "__main__":
    main()
