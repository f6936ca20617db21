"""Golden trajectories: 20 AdamW steps of full fine-tuning, LoRA and DoRA on a tiny random Llama, by PyTorch and PEFT.

    python tests/golden/train.py

writes tests/golden/train/: `model/` (the start), `lora/` and `dora/` (adapters before the first step, saved by PEFT, with
B not zero), `values.json` and, for each method, `<method>_final.safetensors` with every trained tensor after the last step.

What happens in a step, all in float32, no dropout:
- the batch has two micro-batches with unequal numbers of loss-carrying tokens; the loss is the sum of the negative
  log-likelihoods of all loss-carrying tokens of both, divided by their number in both; gradients are accumulated;
- `gradient_norm` is the norm before clipping; gradients are clipped at 1.0 by torch.nn.utils.clip_grad_norm_;
- AdamW, betas 0.9 and 0.999, eps 1e-8, weight decay 0.01 on every tensor that trains, norms included;
- the learning rate of step i (from 0) is PEAK · i/5 for i < 5, then PEAK · (20 − i)/15, as
  transformers.get_linear_schedule_with_warmup(optimizer, 5, 20) has it: zero in the first step.
A mask's mark at position t says that the token at t carries loss (it is a target; the logits at t − 1 are scored).
"""

import copy
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import get_linear_schedule_with_warmup

from common import HERE, llama, prompts, randomize_adapter, save_adapter, versions, write_json

STEPS, WARMUP, PEAK, DECAY, CLIP = 20, 5, 1e-2, 0.01, 1.0
RANK, ALPHA = 3, 7.5
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCABULARY = 37
FOLDER = HERE / "train"


def micro_batch(seed, lengths, starts):
    """Rows padded on the right with 0; the tokens from each row's start on carry loss."""
    rows = prompts(seed, lengths, VOCABULARY)
    width = max(lengths)
    # A pattern that can be learned, so that the loss falls: each token carries the one before it plus one.
    for row in rows:
        for at in range(1, len(row)):
            if at % 8:
                row[at] = (row[at - 1] + 1 - 3) % (VOCABULARY - 3) + 3
    return {
        "tokens": [row + [0] * (width - len(row)) for row in rows],
        "lengths": lengths,
        "loss_mask": [[int(start <= at < length) for at in range(width)] for length, start in zip(lengths, starts)],
    }


BATCHES = [[micro_batch(1000 + 2 * step, [31, 25, 28], [2, 3, 1]), micro_batch(1001 + 2 * step, [12 + 3 * (step % 4), 14], [3, 2])]
           for step in range(STEPS)]


def loss_sum(model, micro):
    tokens, mask = torch.tensor(micro["tokens"]), torch.tensor(micro["loss_mask"])
    logits = model(tokens).logits
    scores = torch.log_softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None])[..., 0]
    return -(scores * mask[:, 1:]).sum()


def train(model):
    model.train()
    trained = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW([tensor for _, tensor in trained], lr=PEAK, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=DECAY)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    history = {"loss": [], "gradient_norm": [], "learning_rate": []}
    for batch in BATCHES:
        count = sum(sum(row[1:]) for micro in batch for row in micro["loss_mask"])
        assert len({sum(sum(row[1:]) for row in micro["loss_mask"]) for micro in batch}) == 2
        total = 0.0
        for micro in batch:
            loss = loss_sum(model, micro) / count
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_([tensor for _, tensor in trained], CLIP)
        history["loss"].append(total)
        history["gradient_norm"].append(norm.item())
        history["learning_rate"].append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return history, dict(trained)


def plain_name(name):
    name = name.removeprefix("base_model.model.").replace(".default", "")
    return name.removesuffix(".weight") if "lora_magnitude_vector" in name else name


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    model = llama(7, spread=0.13, vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_key_value_heads=2,
                  tie_word_embeddings=True)
    model.save_pretrained(FOLDER / "model")
    (FOLDER / "model" / "generation_config.json").unlink(missing_ok=True)
    values = {"versions": versions(), "generator": "tests/golden/train.py", "steps": STEPS, "warmup": WARMUP,
              "peak_learning_rate": PEAK, "weight_decay": DECAY, "betas": [0.9, 0.999], "epsilon": 1e-8,
              "max_gradient_norm": CLIP, "rank": RANK, "alpha": ALPHA, "targets": TARGETS, "batches": BATCHES,
              "methods": {}}
    for method in ("full", "lora", "dora"):
        adapted = copy.deepcopy(model)
        adapted.tie_weights()
        if method != "full":
            adapted = get_peft_model(adapted, LoraConfig(
                r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS, use_dora=method == "dora",
                task_type="CAUSAL_LM"))
            randomize_adapter(adapted, 8)
            save_adapter(adapted, FOLDER / method)
        history, trained = train(adapted)
        norms = history["gradient_norm"]
        assert min(norms) < CLIP < max(norms), f"{method}: clipping must act in some steps and not in all: {norms}"
        assert history["loss"][-1] < history["loss"][0]
        values["methods"][method] = history
        final = {plain_name(name): tensor.detach().contiguous() for name, tensor in trained.items()}
        save_file(final, FOLDER / f"{method}_final.safetensors")
    write_json(FOLDER / "values.json", values)


main()
