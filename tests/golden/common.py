"""What the golden generators share: tiny Llamas with non-trivial weights, and how values are written.

Random norms, biases and adapters on purpose: a test with ones and zeros would pass with a wrong formula.
"""

import json
import platform
from pathlib import Path

import numpy as np
import peft
import safetensors
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def versions():
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "safetensors": safetensors.__version__,
        "numpy": np.__version__,
    }


def llama(seed, spread=0.25, **settings):
    """A Llama in float32 whose every tensor is random: matrices of deviation `spread`, norms around one, biases not zero."""
    torch.manual_seed(seed)
    base = dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=128, bos_token_id=1, eos_token_id=2, rms_norm_eps=1e-5)
    config = LlamaConfig(**{**base, **settings})
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(".bias"):
                tensor.normal_(0, 0.3)
            else:
                tensor.normal_(0, spread)
    model.tie_weights()
    return model


def randomize_adapter(model, seed, deviation=0.2):
    """Gives every trainable tensor of a LoRA or DoRA model values that are far from the initial ones."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if not tensor.requires_grad:
                continue
            if "lora_magnitude_vector" in name:
                tensor.mul_(torch.empty_like(tensor).uniform_(0.6, 1.4))
            else:
                tensor.normal_(0, deviation)


def save_adapter(model, folder):
    """Saves with PEFT; its set of targets is sorted and the base's place left out, so that each run writes the same bytes."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = ""
    write_json(folder / "adapter_config.json", config)


def prompts(seed, lengths, vocabulary):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def masked_loss(logits, tokens, mask):
    """Mean negative log-likelihood of the target positions that `mask` marks: logits at t speak of the token at t + 1."""
    shifted = torch.log_softmax(logits[:, :-1].float(), -1).gather(-1, tokens[:, 1:, None])[..., 0]
    chosen = mask[:, 1:].to(shifted.dtype)
    return -(shifted * chosen).sum() / chosen.sum()


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
