"""Golden values of adapters on a Phi-3, whose queries, keys and values are rows of one weight, by PEFT: on the whole fused
maps as they are, and on slices of them, for which the fused maps are taken apart into maps of their own. Outputs, losses,
gradients and 20 AdamW steps, in double precision.

    python tests/golden/slices.py

reads the model and the texts that decoders.py has written, and writes tests/golden/slices/<variant>.safetensors (each tensor
of the adapter before the first step, its gradient, it after the last step, and the scores) and tests/golden/slices/values.json
(losses, settings). The maps taken apart are called as the engine calls slices: `….qkv_proj.q`.

- Steps: AdamW, betas 0.9 and 0.999, eps 1e-8, weight decay 0.01, a constant learning rate, the same batch each time.
- `pissa` is begun by PEFT and has scores and losses alone: singular vectors have no sign of their own.
"""

import shutil

import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Phi3ForCausalLM

from common import HERE, versions, write_json

BASE, FOLDER = HERE / "decoders" / "phi3", HERE / "slices"
STEPS, RATE, DECAY = 20, 5e-3, 0.01
LORA = dict(r=3, lora_alpha=7.5, lora_dropout=0.0, task_type="CAUSAL_LM")
PATTERNS = dict(rank_pattern={"qkv_proj.q": 2, "qkv_proj.v": 5}, alpha_pattern={"1.self_attn.qkv_proj.v": 4.0})

WHOLE = ["qkv_proj", "gate_up_proj", "down_proj"]
VARIANTS = {
    "lora_whole": LoraConfig(target_modules=WHOLE, **LORA),
    "dora_whole": LoraConfig(target_modules=WHOLE, use_dora=True, **LORA),
    "lora": LoraConfig(target_modules=["q", "v", "up", "down_proj"], **LORA),
    "lora_scales": LoraConfig(target_modules=["q", "k", "v", "gate"], use_rslora=True, **LORA, **PATTERNS),
    "lora_fa": LoraConfig(target_modules=["q", "v", "gate"], **LORA),
    "dora": LoraConfig(target_modules=["k", "v", "gate", "o_proj"], use_dora=True, **LORA),
    "dora_scales": LoraConfig(target_modules=["q", "v"], use_dora=True, **LORA, **PATTERNS),
    "ia3": IA3Config(target_modules=["k", "v", "up", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
    "pissa": LoraConfig(target_modules=["q", "v", "up"], init_lora_weights="pissa", **LORA),
}


class Apart(torch.nn.Module):
    """The maps whose rows stand one below the other in the weight of `fused`, each by itself."""

    def __init__(self, fused, sizes):
        super().__init__()
        first = 0
        for name, rows in sizes.items():
            part = torch.nn.Linear(fused.in_features, rows, bias=False, dtype=fused.weight.dtype)
            part.weight.data = fused.weight.data[first:first + rows].clone()
            self.add_module(name, part)
            first += rows
        assert first == fused.out_features

    def forward(self, x):
        return torch.cat([part(x) for part in self.children()], -1)


def take_apart(model):
    config = model.config
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    for layer in model.model.layers:
        layer.self_attn.qkv_proj = Apart(layer.self_attn.qkv_proj, dict(q=queries, k=keys, v=keys))
        layer.mlp.gate_up_proj = Apart(layer.mlp.gate_up_proj, dict(gate=config.intermediate_size, up=config.intermediate_size))


def forward(model):
    values = load_file(BASE / "values.safetensors")
    tokens, mask = values["tokens"], values["loss_mask"]
    logits = model(input_ids=tokens).logits
    scores = torch.log_softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None])[..., 0]
    chosen = mask[:, 1:].to(scores.dtype)
    return logits, -(scores * chosen).sum() / chosen.sum()


def plain_name(name):
    for part in ("base_model.model.", ".default"):
        name = name.replace(part, "")
    return name.removesuffix(".weight") if "lora_magnitude_vector" in name else name


def generate(name, config):
    model = Phi3ForCausalLM.from_pretrained(BASE / "model", dtype=torch.float32, attn_implementation="eager")
    # PiSSA takes float32.
    model = model if name == "pissa" else model.double()
    with torch.no_grad():
        expected = forward(model)[0]
    if not name.endswith("whole"):
        take_apart(model)
        with torch.no_grad():
            assert torch.equal(forward(model)[0], expected) or (forward(model)[0] - expected).abs().max() < 1e-5
    torch.manual_seed(5)
    model = get_peft_model(model, config)
    tensors, losses = {}, []
    trains = {plain_name(name): tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    torch.manual_seed(6)
    for key, tensor in trains.items():
        if name == "pissa":
            continue
        with torch.no_grad():
            if "lora_magnitude_vector" in key:
                tensor.mul_(torch.empty_like(tensor).uniform_(0.6, 1.4))
            elif "ia3" in key:
                tensor.uniform_(0.6, 1.4)
            else:
                tensor.normal_(0, 0.1)
            # As the files of adapters have it.
            tensor.copy_(tensor.float())
        tensors[f"start.{key}"] = tensor.detach().clone()
    if name == "lora_fa":
        for key in [key for key in trains if "lora_A" in key]:
            trains.pop(key).requires_grad = False
    optimizer = torch.optim.AdamW(trains.values(), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    for step in range(STEPS):
        optimizer.zero_grad()
        scores, loss = forward(model)
        loss.backward()
        if step == 0:
            tensors["scores"] = scores.detach()
            if name != "pissa":
                tensors.update({f"gradient.{key}": tensor.grad.clone() for key, tensor in trains.items()})
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < losses[0]
    if name != "pissa":
        tensors.update({f"final.{key}": tensor.detach() for key, tensor in trains.items()})
    save_file({key: tensor.float().contiguous() for key, tensor in tensors.items()}, FOLDER / f"{name}.safetensors")
    print(name, losses[0], losses[-1])
    return losses


shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir()
losses = {name: generate(name, config) for name, config in VARIANTS.items()}
write_json(FOLDER / "values.json", {"versions": versions(), "generator": "tests/golden/slices.py", "steps": STEPS,
                                    "learning_rate": RATE, "weight_decay": DECAY, "losses": losses})
