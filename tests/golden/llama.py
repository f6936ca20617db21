"""Golden values of the Llama family, LoRA and DoRA, by transformers and PEFT on tiny random models.

    python tests/golden/llama.py

writes tests/golden/llama/<variant>/: `model/` (a Hugging Face folder), `lora/` and `dora/` (adapters saved by PEFT),
`values.safetensors` (tokens, logits, gradients) and `values.json` (settings, losses, continuations, versions).
"""

import json
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from common import HERE, llama, masked_loss, prompts, randomize_adapter, save_adapter, versions, write_json

LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}

VARIANTS = {
    "tied_multi_head": dict(model=dict(tie_word_embeddings=True)),
    "untied_grouped": dict(model=dict(num_key_value_heads=2, tie_word_embeddings=False, head_dim=8)),
    "llama3_rope": dict(model=dict(num_key_value_heads=1, rope_parameters=LLAMA3, head_dim=12, tie_word_embeddings=True),
                        lengths=[90, 41]),
    "biases": dict(model=dict(attention_bias=True, mlp_bias=True, num_key_value_heads=2, tie_word_embeddings=False)),
    "sharded_float16": dict(model=dict(num_key_value_heads=2, tie_word_embeddings=False), sharded=True),
}
TARGETS = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
RANK, ALPHA = 3, 7.5


def old_rope_keys(folder):
    """Writes the configuration once more, as transformers 4 did: `rope_theta` beside `rope_scaling`."""
    config = json.loads((folder / "model" / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    write_json(folder / "config_old_keys.json", config)


def continuation(model, prompt, ends, limit):
    """Greedy tokens one by one over the whole text, without a cache."""
    text, made = list(prompt), []
    for _ in range(limit):
        scores = model(torch.tensor([text])).logits[0, -1]
        best, second = scores.topk(2).values.tolist()
        assert best - second > 1e-3, "a near tie makes a continuation that proves nothing"
        token = int(scores.argmax())
        if token in ends:
            return {"tokens": made, "end": token}
        made.append(token)
        text.append(token)
    return {"tokens": made, "end": None}


def forward(model, tokens, mask):
    logits = model(tokens).logits
    return logits, masked_loss(logits, tokens, mask)


def generate(seed, variant):
    model = llama(seed, **variant["model"])
    folder = HERE / "llama" / variant["name"]
    shutil.rmtree(folder, ignore_errors=True)
    if variant.get("sharded"):
        model.half().save_pretrained(folder / "model", max_shard_size="9KB")
        assert len(list((folder / "model").glob("*.safetensors"))) > 2
        # Loaded anew: half() has rounded the rotary frequencies too, which no file holds.
        model = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager").eval()
    else:
        model.save_pretrained(folder / "model")
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)
    vocabulary = model.config.vocab_size

    lengths = variant.get("lengths", [17, 9])
    rows = prompts(seed, lengths, vocabulary)
    tokens = torch.tensor([row + [0] * (max(lengths) - len(row)) for row in rows])
    mask = torch.tensor([[3 <= at < length and at % 3 != 1 for at in range(max(lengths))] for length in lengths])

    tensors = {"tokens": tokens, "loss_mask": mask.to(torch.uint8)}
    values = {"versions": versions(), "generator": "tests/golden/llama.py", "rank": RANK, "alpha": ALPHA,
              "targets": TARGETS, "lengths": lengths, "loss": {}}
    with torch.no_grad():
        logits, loss = forward(model, tokens, mask)
    tensors["base.logits"], values["loss"]["base"] = logits, loss.item()

    # Ends are chosen from what the model would say, so that some rows stop early and others reach the limit.
    with torch.no_grad():
        given = prompts(seed + 1, [1, 12, 5, 7, 12, 3], vocabulary)
        free = [continuation(model, prompt, [], 12)["tokens"] for prompt in given]
        ends = [free[1][4], free[3][7]]
        values["generation"] = {"prompts": given, "end_ids": ends, "max_new_tokens": 12, "greedy": [
            continuation(model, prompt, ends, 12) for prompt in given]}
        stopped = [row["end"] is not None for row in values["generation"]["greedy"]]
        assert any(stopped) and not all(stopped), stopped

    for method, dora in (("lora", False), ("dora", True)):
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS, use_dora=dora,
                            task_type="CAUSAL_LM", base_model_name_or_path=f"tests/golden/llama/{variant['name']}/model")
        adapted = get_peft_model(model, config)
        randomize_adapter(adapted, seed + 2)
        adapted.train()
        logits, loss = forward(adapted, tokens, mask)
        loss.backward()
        tensors[f"{method}.logits"], values["loss"][method] = logits.detach(), loss.item()
        for name, tensor in adapted.named_parameters():
            if tensor.requires_grad:
                key = name.removeprefix("base_model.model.").replace(".default", "")
                if "lora_magnitude_vector" in key:
                    key = key.removesuffix(".weight")
                tensors[f"{method}.gradient.{key}"] = tensor.grad
        save_adapter(adapted, folder / method)
        model = adapted.unload()

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "values.safetensors")
    write_json(folder / "values.json", values)
    if variant["name"] == "llama3_rope":
        old_rope_keys(folder)


for seed, (name, variant) in enumerate(VARIANTS.items(), start=20):
    generate(seed, {**variant, "name": name})
