"""The protocol `choices` and lm-evaluation-harness on the same tiny model and rows: every log-likelihood to 1e-4, acc and
acc_norm exactly. The prompts are those of the harness' own tasks, and of the project's templates for them.

    python tests/harness/choices.py target/release/engine

needs what tests/peft/harness.txt lists, and the built programs. Exits with 1 and says what differs.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import lm_eval
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, processors, trainers

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = Path(lm_eval.__file__).parent / "tasks"
ROWS = 60
TOLERANCE = 1e-4
RANDOM = random.Random(7)
WORDS = ("the a cat dog fish sleeps eats runs cold warm water ice red green sky is was not very because since house "
         "under over jar lid open close Вода лёд 42 naïve").split()

# Template: the harness' task, the file of its settings, whether its figure by length counts.
CASES = {
    "boolq": ("super_glue/boolq/default.yaml", False),
    "arc": ("arc/arc_easy.yaml", True),
    "hellaswag": ("hellaswag/hellaswag.yaml", True),
    "winogrande": ("winogrande/default.yaml", False),
    "piqa": ("piqa/piqa.yaml", True),
    "social_iqa": ("siqa/siqa.yaml", False),
    "openbookqa": ("openbookqa/openbookqa.yaml", True),
}


def words(least, most):
    return " ".join(RANDOM.choices(WORDS, k=RANDOM.randint(least, most)))


def options(count):
    return {"label": list("ABCDE")[:count], "text": [words(1, 6) for _ in range(count)]}


def document(template, number):
    """A row as the task's data set has them."""
    match template:
        case "boolq":
            return {"passage": words(5, 40) + RANDOM.choice(["", ".", "\n"]), "question": words(3, 8), "label": number % 2, "idx": number}
        case "arc":
            found = options(4)
            return {"id": str(number), "question": words(4, 12), "choices": found, "answerKey": RANDOM.choice(found["label"])}
        case "hellaswag":
            endings = [RANDOM.choice(["", "[step] ", " "]) + words(1, 9) + RANDOM.choice(["", " [title] " + words(1, 3)]) for _ in range(4)]
            return {"ind": number, "activity_label": words(1, 3), "ctx_a": words(4, 9) + ".", "ctx_b": words(1, 4),
                    "ctx": "", "endings": endings, "label": str(RANDOM.randrange(4)), "split": "val"}
        case "winogrande":
            return {"sentence": f"{words(2, 9)} _ {words(1, 7)}.", "option1": words(1, 2), "option2": words(1, 3), "answer": RANDOM.choice("12")}
        case "piqa":
            return {"goal": words(3, 8), "sol1": words(2, 9), "sol2": words(2, 9), "label": number % 2}
        case "social_iqa":
            return {"context": words(4, 9) + ".", "question": words(3, 6) + "?", "answerA": words(1, 4), "answerB": words(1, 4),
                    "answerC": words(1, 4), "label": RANDOM.choice("123")}
        case "openbookqa":
            found = options(4)
            return {"id": str(number), "question_stem": words(3, 9) + RANDOM.choice(["", " "]), "choices": found,
                    "answerKey": RANDOM.choice(found["label"])}


def make_model(folder, documents, begins):
    """A tiny Llama of random weights, large enough that choices differ, and its tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([json.dumps(one, ensure_ascii=False) for one in documents], trainer)
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=len(wrapped), hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.4, bos_token_id=0, eos_token_id=1)
    model = transformers.LlamaForCausalLM(config).float().eval()
    model.save_pretrained(folder)
    return model, wrapped


def ours(engine, folder, begins):
    """The engine's rows and figures, by template."""
    lines = ["name: p", "stages:", "  base: {kind: download, from: {path: model}}"]
    for name in CASES:
        lines += [
            f"  raw_{name}: {{kind: download, from: {{path: data/{name}.jsonl}}}}",
            f"  rows_{name}: {{kind: preprocess, input: raw_{name}, template: lm_eval/{name}.jinja, splits: {{test: {{from: {name}}}}}}}",
            f"  tokens_{name}: {{kind: tokenize, input: rows_{name}, tokenizer: base, bos: {'auto' if begins else 'none'}, max_length: 500, form: choices}}",
            f"  {name}: {{kind: evaluate, model: base, data: tokens_{name}/test, protocol: choices, batch: {{size: 16}}, "
            "metrics: [accuracy, normalized_accuracy]}",
        ]
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "p.yaml").write_text("\n".join(lines) + "\n")
    (folder / "templates").symlink_to(ROOT / "templates")
    done = subprocess.run([engine, "run", "pipelines/p.yaml"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    found = {}
    for name in CASES:
        left = folder / "outputs" / "p" / name
        rows = [json.loads(line) for line in (left / "predictions.jsonl").read_text().splitlines()]
        found[name] = rows, json.loads((left / "metrics.json").read_text())["metrics"]
    return found


def theirs(model, tokenizer, folder, begins):
    """The harness' samples and figures, by template."""
    asked = []
    for name, (settings, _) in CASES.items():
        config = dict(load_yaml(TASKS / settings, resolve_func=True))
        config.pop("tag", None)
        config.update(task=name, dataset_path="json", dataset_name=None, training_split=None, test_split=None,
                      validation_split="validation", dataset_kwargs={"data_files": {"validation": str(folder / f"data/{name}.jsonl")}})
        asked.append(config)
    wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, add_bos_token=begins, device="cpu")
    found = lm_eval.simple_evaluate(model=wrapped, tasks=asked, log_samples=True, bootstrap_iters=0)
    return found["samples"], found["results"]


def compare(name, by_length, engine, harness):
    """The largest difference of a log-likelihood; ends the program where figures differ."""
    (rows, metrics), (samples, figures) = engine, harness
    samples = sorted(samples, key=lambda sample: sample["doc_id"])
    largest = 0.0
    if len(rows) != len(samples):
        sys.exit(f"{name}: {len(rows)} rows and {len(samples)} of the harness")
    for row, sample in zip(rows, samples):
        expected = [response[0][0] for response in sample["resps"]]
        found = [choice["log_likelihood"] for choice in row["choices"]]
        if len(found) != len(expected):
            sys.exit(f"{name}, row {row['id']}: {len(found)} choices and {len(expected)} of the harness")
        largest = max(largest, *(abs(one - other) for one, other in zip(found, expected)))
    if not largest < TOLERANCE:
        sys.exit(f"{name}: a log-likelihood differs by {largest}")
    pairs = [("accuracy", "acc,none")] + [("normalized_accuracy", "acc_norm,none")] * by_length
    for own, other in pairs:
        if abs(metrics[own][own] / 100 - figures[other]) > 1e-12:
            sys.exit(f"{name}: {own} is {metrics[own][own]}, the harness' {other} {figures[other]}")
    shown = ", ".join(f"{other.split(',')[0]} {figures[other]:.4f}" for _, other in pairs)
    print(f"{name}: {sum(len(row['choices']) for row in rows)} choices, log-likelihoods within {largest:.1e}; {shown}")


def main():
    engine = Path(sys.argv[1]).resolve()
    for begins in (True, False):
        print(f"rows begin with {'<s>' if begins else 'no token of their own'}:")
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "data").mkdir()
            documents = {name: [document(name, number) for number in range(ROWS)] for name in CASES}
            for name, rows in documents.items():
                text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                (folder / "data" / f"{name}.jsonl").write_text(text)
            model, tokenizer = make_model(folder / "model", [row for rows in documents.values() for row in rows], begins)
            engine_found = ours(engine, folder, begins)
            samples, figures = theirs(model, tokenizer, folder, begins)
            for name, (_, by_length) in CASES.items():
                compare(name, by_length, engine_found[name], (samples[name], figures[name]))


main()
