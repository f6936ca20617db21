"""Golden values of the LoRA family on tiny models of three families, by PEFT and PyTorch: outputs, losses, gradients and 20
AdamW steps.

    python tests/golden/lora_family.py

reads the models and texts that llama.py, encoders.py and t5.py have written, and writes
tests/golden/lora_family/<family>/<variant>/: the adapter before the first step, saved by PEFT (none for BitFit, which begins
as the model), `values.safetensors` with the scores, the gradients and each tensor that trains after the last step, and
tests/golden/lora_family/<family>.json with losses and settings. Everything is computed in double precision.

- Steps: AdamW, betas 0.9 and 0.999, eps 1e-8, weight decay 0.01, a constant learning rate, the same batch each time.
- `lora_plus`: PEFT's create_loraplus_optimizer; it gives biases and norms the rate of B as well, so that RoBERTa's head gets
  groups made here.
- `lora_fa_projected`: PEFT's LoraFAOptimizer, without its rounding to bf16, with an eps so small that it does not matter where
  it is added, and without weight decay.
- `pissa`, `olora`: begun by PEFT; the adapter is that of the last step, saved as it is (`trained/`) and converted for the
  untouched base (`converted/`).
- `bias_lora_only`: PEFT 0.19 saves no biases then; they are added under the keys that it reads, which is checked.
"""

import copy
import json
import shutil
import tempfile
from pathlib import Path

import peft.optimizers.lorafa as lorafa
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
from safetensors.torch import load_file, save_file

from common import HERE, masked_loss, randomize_adapter, save_adapter, versions, write_json

lorafa.is_bf16_available = lambda: False
FOLDER = HERE / "lora_family"
STEPS, RATE, DECAY, RATIO, PENALTY = 20, 5e-3, 0.01, 8.0, 0.05

BASES = {"llama": HERE / "llama" / "biases", "roberta": HERE / "encoders" / "roberta_classifier", "t5": HERE / "t5" / "v1_0"}
KINDS = {"llama": "LlamaForCausalLM", "roberta": "RobertaForSequenceClassification", "t5": "T5ForConditionalGeneration"}
TASKS = {"llama": "CAUSAL_LM", "roberta": "SEQ_CLS", "t5": None}
TARGETS = {"llama": ["q_proj", "up_proj"], "roberta": ["query", "output.dense"], "t5": ["q", "wo"]}
PATTERNS = {
    "llama": dict(rank_pattern={r"layers\.1\..*_proj": 2, "up_proj": 5, "q_proj": 1}, alpha_pattern={"1.self_attn.q_proj": 3}),
    "roberta": dict(rank_pattern={"attention.output.dense": 5, "query": 2}, alpha_pattern={r"layer\.0\..*": 3.5}),
    "t5": dict(rank_pattern={"decoder.*q": 4}, alpha_pattern={"wo": 9}),
}
EMBEDDINGS = {"llama": "embed_tokens", "roberta": "word_embeddings", "t5": "shared"}
LAYERS = {
    "llama": dict(layers_to_transform=[1], exclude_modules=["mlp.up_proj"]),
    "roberta": dict(layers_to_transform=0, exclude_modules=r".*attention\.output\.dense"),
    "t5": dict(layers_to_transform=[1], layers_pattern="block"),
}


def variants(family):
    plain = dict(r=3, lora_alpha=7.5, target_modules=TARGETS[family])
    return {
        "lora": plain,
        "lora_plus": plain,
        "lora_fa": plain,
        "lora_fa_projected": plain,
        "dora": dict(plain, use_dora=True),
        "dora_frozen_a": dict(plain, use_dora=True, use_rslora=True),
        "patterns": dict(plain, use_rslora=True, **PATTERNS[family]),
        "layers": dict(plain, **LAYERS[family]),
        "bias_all": dict(plain, bias="all"),
        "bias_lora_only": dict(plain, bias="lora_only", use_dora=True),
        "penalty": plain,
        "pissa": dict(plain, init_lora_weights="pissa"),
        "olora": dict(plain, init_lora_weights="olora", use_rslora=True),
        "embedding": dict(plain, target_modules=[TARGETS[family][0], EMBEDDINGS[family]], rank_pattern={EMBEDDINGS[family]: 2}),
        "bitfit": None,
    }


def base(family):
    model = getattr(transformers, KINDS[family]).from_pretrained(BASES[family] / "model", dtype=torch.float32, attn_implementation="eager")
    return model.double()


def forward(family, model):
    """Scores and loss of the texts that belong to the model."""
    values = load_file(BASES[family] / "values.safetensors")
    inner = model.base_model if isinstance(model, PeftModel) else model
    if family == "llama":
        logits = inner(values["tokens"]).logits
        return logits, masked_loss_double(logits, values["tokens"], values["loss_mask"])
    if family == "roberta":
        labels = json.loads((BASES[family] / "values.json").read_text())["labels"]
        out = inner(input_ids=values["ids"], attention_mask=values["mask"], token_type_ids=values["types"], labels=torch.tensor(labels))
        return out.logits, out.loss
    out = inner(input_ids=values["ids"], attention_mask=values["mask"], labels=values["labels"])
    return out.logits, out.loss


def masked_loss_double(logits, tokens, mask):
    shifted = torch.log_softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None])[..., 0]
    chosen = mask[:, 1:].to(shifted.dtype)
    return -(shifted * chosen).sum() / chosen.sum()


def plain_name(name):
    for part in ("base_model.model.", ".default", ".modules_to_save", ".base_layer"):
        name = name.replace(part, "")
    return name.removesuffix(".weight") if "lora_magnitude_vector" in name else name


def trained(model):
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def optimizer(family, variant, settings, model):
    adamw = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    if variant == "lora_plus" and family == "roberta":
        of = lambda is_b: [tensor for name, tensor in trained(model).items() if ("lora_B" in name) == is_b]
        return torch.optim.AdamW([dict(params=of(False), lr=RATE), dict(params=of(True), lr=RATE * RATIO)], **adamw)
    if variant == "lora_plus":
        adamw.pop("weight_decay")
        return create_loraplus_optimizer(model, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=RATIO, loraplus_weight_decay=DECAY, weight_decay=DECAY, **adamw)
    if variant == "lora_fa_projected":
        made = create_lorafa_optimizer(model, r=settings["r"], lora_alpha=settings["lora_alpha"], lr=RATE)
        made.param_groups[0]["eps"] = 1e-14
        return made
    return torch.optim.AdamW(trained(model).values(), lr=RATE, **adamw)


def penalty(variant, model):
    """The penalty on A of all adapted maps."""
    if variant != "penalty":
        return None
    rows = [tensor for name, tensor in trained(model).items() if "lora_A" in name]
    return PENALTY * sum((a @ a.T - torch.eye(len(a), dtype=a.dtype)).square().sum() for a in rows)


def with_biases(model, folder):
    """The file of an adapter with the biases that PEFT trains and does not save, under the keys that it reads."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    biases = {name: tensor.detach().float() for name, tensor in trained(model).items() if name.endswith(".base_layer.bias")}
    assert biases and not set(biases) & set(tensors)
    save_file({**tensors, **biases}, path, metadata={"format": "pt"})


def generate(family, variant, settings):
    folder = FOLDER / family / variant
    model = base(family)
    begun = variant in ("pissa", "olora")
    if variant == "bitfit":
        for name, tensor in model.named_parameters():
            tensor.requires_grad = name.endswith(".bias") or name.startswith("classifier.")
    else:
        torch.manual_seed(5)
        # PiSSA and OLoRA take float32.
        model = get_peft_model(model.float() if begun else model, LoraConfig(lora_dropout=0.0, task_type=TASKS[family], **settings))
        if not begun:
            randomize_adapter(model, 6, 0.1)
            save_adapter(model.float(), folder)
            if variant == "bias_lora_only":
                with_biases(model, folder)
                again = PeftModel.from_pretrained(base(family).float(), folder)
                found = dict(again.named_parameters())
                assert all(torch.equal(found[name], tensor) for name, tensor in trained(model).items())
        first = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
        model.double()
    model.train()
    if variant in ("lora_fa", "lora_fa_projected", "dora_frozen_a"):
        for name, tensor in model.named_parameters():
            if "lora_A" in name:
                tensor.requires_grad = False
    if begun:
        # The adapter that the conversion subtracts, as PEFT's documents have it.
        start = Path(tempfile.mkdtemp()) / "start"
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(start)
        model.peft_config["default"].init_lora_weights = settings["init_lora_weights"]
        copied = {name: value for name, value in load_file(start / "adapter_model.safetensors").items()}
        save_file({name: value.float() for name, value in copied.items()}, start / "adapter_model.safetensors", metadata={"format": "pt"})

    steps = optimizer(family, variant, settings, model)
    tensors, losses, penalties = {}, [], []
    for step in range(STEPS):
        steps.zero_grad()
        scores, loss = forward(family, model)
        added = penalty(variant, model)
        (loss if added is None else loss + added).backward()
        if step == 0:
            tensors["scores"] = scores.detach()
            for name, tensor in trained(model).items():
                tensors[f"gradient.{plain_name(name)}"] = tensor.grad.clone()
        losses.append(loss.item())
        penalties.append(None if added is None else added.item())
        steps.step()
    assert losses[-1] < losses[0]
    for name, tensor in trained(model).items():
        tensors[f"final.{plain_name(name)}"] = tensor.detach()
    if begun:
        with torch.no_grad():
            tensors = {"scores": tensors["scores"], "trained": forward(family, model)[0]}
        model.float()
        save_adapter(model, folder / "trained")
        model.save_pretrained(folder / "converted", path_initial_model_for_weight_conversion=str(start))
        (folder / "converted" / "README.md").unlink(missing_ok=True)
        config = json.loads((folder / "converted" / "adapter_config.json").read_text())
        config.update(target_modules=sorted(config["target_modules"]), base_model_name_or_path="")
        write_json(folder / "converted" / "adapter_config.json", config)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, folder / "values.safetensors")
    return dict(losses=losses, **({} if penalties[0] is None else dict(penalties=penalties)))


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    for family in BASES:
        found = {}
        for variant, settings in variants(family).items():
            if variant in ("bitfit", "bias_lora_only", "embedding") and family == "t5":
                continue
            found[variant] = generate(family, variant, settings)
            print(family, variant, found[variant]["losses"][0], found[variant]["losses"][-1])
        write_json(FOLDER / f"{family}.json", {
            "versions": versions(), "generator": "tests/golden/lora_family.py", "steps": STEPS, "learning_rate": RATE,
            "weight_decay": DECAY, "learning_rate_ratio": RATIO, "penalty": PENALTY, "rank": 3, "alpha": 7.5,
            "targets": TARGETS[family], "variants": found})


main()
