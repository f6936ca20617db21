#!/usr/bin/env python3
"""Measures the engine's metrics beside the Python ones, in one run over the same made-up rows, and compares their figures.
Prints Markdown. `make bench-metrics` builds before it calls this. sacreBLEU, rouge_score and NLTK are installed into
`.venv-metrics/`.

    python3 scripts/bench_metrics.py [--rows 100000] [--python-rows 10000] [--metrics bleu chrf …]

The rows are sentences of 5 to 40 words, drawn as often as words occur in texts, and answers that change some of them. Both
sides count from texts in memory; the engine also computes intervals and figures of every row. The Python ones run on one
core, as their users run them, over the first `--python-rows` rows, since some take minutes: their seconds are those times the
part of the rows. The engine counts all rows on all cores, and once more on one; over the same first rows its figures must
be Python's.
"""

import argparse
import json
import os
import platform
import random
import shutil
import string
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCORE = ROOT / "target" / "release" / "examples" / "score"
VENV = ROOT / ".venv-metrics"
WANTED = ROOT / "scripts" / "bench_metrics_requirements.txt"
CORES = len(os.sched_getaffinity(0))


def install():
    """Puts the Python metrics into an environment of their own, where they are not there yet."""
    stamp = VENV / WANTED.name  # written last
    if stamp.exists() and stamp.read_text() == WANTED.read_text():
        return
    print("installing sacreBLEU, rouge_score and NLTK into .venv-metrics/", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", WANTED], check=True)
    shutil.copy(WANTED, stamp)


def write_rows(path, count):
    """Rows with an answer and one reference, the same each time."""
    draw = random.Random(0)
    syllables = [one + two for one in "bcdfghklmnprstvw" for two in ("a", "e", "i", "o", "u", "er", "an", "ing")]
    words = ["".join(draw.choices(syllables, k=draw.choice([1, 1, 2, 2, 2, 3]))) for _ in range(20_000)]
    words[:6] = ["the", "a", "of", "and", "to", "in"]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    pool = iter(draw.choices(words, weights, k=count * 60))
    with path.open("w") as file:
        for _ in range(count):
            reference = [next(pool) for _ in range(draw.randint(5, 40))]
            answer = [next(pool) if draw.random() < 0.2 else word for word in reference if draw.random() > 0.1]
            texts = [" ".join(text).capitalize().replace(" and", ", and") + "." for text in (answer, reference)]
            row = {"prediction": texts[0], "references": [texts[1]]}
            file.write(json.dumps(row) + "\n")


def squad(predictions, references):
    """Exact match and F1 as SQuAD's script counts them."""
    import re

    articles = re.compile(r"\b(a|an|the)\b")
    punctuation = set(string.punctuation)

    def words(text):
        bare = "".join(c for c in text.lower() if c not in punctuation)
        return articles.sub(" ", bare).split()

    exact = f1 = 0.0
    for prediction, reference in zip(predictions, references):
        exact += words(prediction) == words(reference)
        ours, theirs = words(prediction), words(reference)
        same = sum((Counter(ours) & Counter(theirs)).values())
        if same:
            precision, recall = same / len(ours), same / len(theirs)
            f1 += 2 * precision * recall / (precision + recall)
    return {"exact": 100 * exact / len(predictions), "f1": 100 * f1 / len(predictions)}


def bleu(predictions, references):
    from sacrebleu.metrics import BLEU

    return {"bleu": BLEU().corpus_score(predictions, [references]).score}


def chrf(predictions, references, **settings):
    from sacrebleu.metrics import CHRF

    return {"chrf": CHRF(**settings).corpus_score(predictions, [references]).score}


def chrf_plus(predictions, references):
    return chrf(predictions, references, word_order=2)


def rouge(predictions, references, **settings):
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(kinds, **settings)
    sums = Counter()
    for prediction, reference in zip(predictions, references):
        for kind, score in scorer.score(reference, prediction).items():
            sums[kind] += score.fmeasure
    return {kind: 100 * sums[kind] / len(predictions) for kind in kinds}


def rouge_stem(predictions, references):
    return rouge(predictions, references, use_stemmer=True)


def meteor(predictions, references):
    from nltk.tokenize.destructive import NLTKWordTokenizer
    from nltk.translate.meteor_score import meteor_score

    class NoSynonyms:
        def synsets(self, word):
            return []

    words = NLTKWordTokenizer().tokenize
    scores = [
        meteor_score([words(reference)], words(prediction), wordnet=NoSynonyms())
        for prediction, reference in zip(predictions, references)
    ]
    return {"meteor": 100 * sum(scores) / len(scores)}


# What the table calls it, the engine's metric, what Python does.
METRICS = {
    "squad": ("SQuAD 2.0", "squad_v2", squad),
    "bleu": ("BLEU", "bleu", bleu),
    "chrf": ("chrF", "chrf", chrf),
    "chrf++": ("chrF++", "{chrf: {word_order: 2}}", chrf_plus),
    "rouge": ("ROUGE-1/2/L/Lsum", "{rouge: {tokenizer: google}}", rouge),
    "rouge_stem": ("ROUGE with Porter's stems", "{rouge: {tokenizer: google_stem}}", rouge_stem),
    "meteor": ("METEOR without synonyms", "{meteor: {stem: porter}}", meteor),
}


def reference(rows, name):
    """What Python says of the rows, and how long it took."""
    texts = [json.loads(line) for line in Path(rows).open()]
    predictions = [row["prediction"] for row in texts]
    references = [row["references"][0] for row in texts]
    started = time.perf_counter()
    figures = METRICS[name][2](predictions, references)
    print(json.dumps({"figures": figures, "seconds": time.perf_counter() - started}))


def output(command, **environment):
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **environment})
    return json.loads(said.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--python-rows", type=int, default=10_000)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--reference", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reference:
        return reference(*arguments.reference)
    install()
    first = min(arguments.rows, arguments.python_rows)
    print(f"{arguments.rows:,} rows, Python's seconds from {first:,} of them, {CORES} cores of {platform.machine()}\n")
    print("| metric | Python | engine | engine, one core | Python ÷ engine | Python ÷ engine, one core |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        rows, some = Path(folder) / "rows.jsonl", Path(folder) / "some.jsonl"
        write_rows(rows, arguments.rows)
        with rows.open() as lines:
            some.write_text("".join(line for line, _ in zip(lines, range(first))))
        for name in arguments.metrics:
            title, metric, _ = METRICS[name]
            theirs = output([VENV / "bin" / "python", __file__, "--reference", str(some), name])
            same = output([SCORE, str(some), metric])["figures"]
            for figure, wanted in theirs["figures"].items():
                if abs(same[figure] - wanted) > 1e-9 * abs(wanted):
                    sys.exit(f"bench_metrics: {title}: {figure} is {same[figure]}, Python says {wanted}")
            all_cores = output([SCORE, str(rows), metric])["seconds"]["counting"]
            one_core = output([SCORE, str(rows), metric], RAYON_NUM_THREADS="1")["seconds"]["counting"]
            python = theirs["seconds"] * arguments.rows / first
            ratios = f"{python / all_cores:.0f} | {python / one_core:.0f}"
            print(f"| {title} | {python:.1f} | {all_cores:.2f} | {one_core:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
