"""Adapters saved by the engine load in stock PEFT with the same logits, and the other way round.

    python tests/peft/interop.py target/release/examples/peft_interop

needs torch, transformers and peft (see requirements.txt beside this file) and the built example. Exits with 1 and says what differs.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

TOLERANCE = 1e-5
TOKENS = torch.tensor([(at * 7 + 3) % 50 for at in range(26)]).view(2, 13)
CONFIG = dict(vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, attention_bias=True, tie_word_embeddings=True, initializer_range=0.2)


def logits(model):
    with torch.no_grad():
        return model.eval()(TOKENS).logits.contiguous()


def compare(what, found, expected):
    off = ((found - expected).abs().max() / expected.abs().max()).item()
    print(f"{what}: logits off by {off:.1e}")
    if not off <= TOLERANCE:
        sys.exit(f"{what}: off by more than {TOLERANCE}")


def load_here(folder):
    """What the engine saved, through PEFT and through transformers."""
    for name in ("lora", "dora", "lora_pattern", "dora_suffixes"):
        expected = load_file(folder / name / "logits.safetensors")["logits"]
        base = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
        adapted = PeftModel.from_pretrained(base, folder / name / "adapter")
        trained = {key for key, _ in adapted.named_parameters() if "lora_" in key}
        stored = load_file(folder / name / "adapter" / "adapter_model.safetensors")
        if len(trained) != len(stored):
            sys.exit(f"{name}: PEFT made {len(trained)} tensors, the file holds {len(stored)}")
        compare(f"{name}: saved here, loaded by PEFT", logits(adapted), expected)
        compare(f"{name}: saved here, merged by PEFT", logits(adapted.merge_and_unload()), expected)
        merged = AutoModelForCausalLM.from_pretrained(folder / name / "merged", dtype=torch.float32)
        compare(f"{name}: merged here, loaded by transformers", logits(merged), expected)


def save_there(folder):
    """What PEFT saves, for the engine."""
    torch.manual_seed(0)
    settings = {
        "lora": dict(target_modules="all-linear"),
        "dora": dict(target_modules=r".*\.(q_proj|up_proj)", use_dora=True),
        "rslora": dict(target_modules=["v_proj", "down_proj"], use_rslora=True, init_lora_weights="gaussian"),
    }
    for name, setting in settings.items():
        torch.manual_seed(1)
        model = LlamaForCausalLM(LlamaConfig(**CONFIG)).float()
        if name == "lora":
            model.save_pretrained(folder / "model")
        adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=7, task_type="CAUSAL_LM", **setting))
        with torch.no_grad():
            for key, tensor in adapted.named_parameters():
                if tensor.requires_grad:
                    tensor.mul_(1.2).add_(torch.randn_like(tensor) * 0.2)
        adapted.save_pretrained(folder / name / "adapter")
        save_file({"logits": logits(adapted)}, folder / name / "logits.safetensors")


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        config = folder / "config.json"
        config.write_text(json.dumps(LlamaConfig(**CONFIG).to_dict()))
        subprocess.run([program, "save", folder / "ours", config], check=True)
        load_here(folder / "ours")
        save_there(folder / "theirs")
        subprocess.run([program, "check", folder / "theirs"], check=True)


main(sys.argv[1])
