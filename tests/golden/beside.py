"""Golden values of IA3 and VeRA by PEFT, on tiny random models of three families.

    python tests/golden/beside.py

writes tests/golden/beside/<family>/: `model/` (a Hugging Face folder), for each method `<method>/` (saved by PEFT),
`values.safetensors` (tokens, outputs at first and with the saved adapter, gradients) and `values.json` (losses, those of 20
steps of AdamW, versions). What adapter-hub's library saves is put beside it by bottleneck.py, which needs these models.
"""

import copy
import json
import shutil

import torch
from peft import IA3Config, VeraConfig, get_peft_model
from safetensors.torch import save_file

from common import HERE, write_json, versions
from families import FAMILIES, learn, outputs, steps

IA3 = {"llama": (["k_proj", "v_proj", "down_proj"], ["down_proj"]),
       "roberta": (["key", "value", "intermediate.dense", "layer.0.output.dense", "layer.1.output.dense"],
                   ["layer.0.output.dense", "layer.1.output.dense"]),
       "t5": (["k", "v", "wo"], ["wo"])}
VERA = {"llama": ["q_proj", "v_proj", "up_proj", "down_proj"],
        "roberta": ["query", "value", "intermediate.dense"],
        "t5": ["q", "v", "wi", "wo"]}


def configs(name):
    task = None if name == "t5" else {"llama": "CAUSAL_LM", "roberta": "SEQ_CLS"}[name]
    targets, feedforward = IA3[name]
    return {"ia3": IA3Config(target_modules=targets, feedforward_modules=feedforward, task_type=task),
            "vera": VeraConfig(r=5, target_modules=VERA[name], projection_prng_key=11, d_initial=0.3, task_type=task)}


def save(adapted, folder):
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    config["base_model_name_or_path"] = ""
    write_json(folder / "adapter_config.json", config)


def plain_name(name):
    return name.removeprefix("base_model.model.").replace(".modules_to_save", "").replace(".default", "")


def generate(name):
    folder = HERE / "beside" / name
    shutil.rmtree(folder, ignore_errors=True)
    model, batch = FAMILIES[name](folder / "model")
    tensors = dict(batch)
    values = {"versions": versions(), "generator": "tests/golden/beside.py", "loss": {}, "steps": {}}
    with torch.no_grad():
        tensors["base.outputs"] = outputs(name, model, batch)
    for method, config in configs(name).items():
        adapted = get_peft_model(copy.deepcopy(model), config)
        adapted.train()
        with torch.no_grad():
            tensors[f"{method}.initial"] = outputs(name, adapted.base_model, batch)
        assert torch.allclose(tensors[f"{method}.initial"], tensors["base.outputs"], rtol=1e-4, atol=1e-5)
        torch.manual_seed(31)
        with torch.no_grad():
            for key, tensor in adapted.named_parameters():
                if tensor.requires_grad:
                    tensor.uniform_(0.5, 1.6) if "ia3_l" in key else tensor.normal_(0, 0.4)
        save(adapted, folder / method)
        found, loss = learn(name, adapted.base_model, batch)
        loss.backward()
        tensors[f"{method}.outputs"], values["loss"][method] = found.detach(), loss.item()
        for key, tensor in adapted.named_parameters():
            if tensor.requires_grad:
                tensors[f"{method}.gradient.{plain_name(key)}"] = tensor.grad.clone()
        adapted.zero_grad()
        values["steps"][method] = steps(name, adapted.base_model, batch,
                                        [tensor for tensor in adapted.parameters() if tensor.requires_grad])
    save_file({key: tensor.contiguous().float() if tensor.is_floating_point() else tensor.contiguous()
               for key, tensor in tensors.items()}, folder / "values.safetensors")
    write_json(folder / "values.json", values)


if __name__ == "__main__":
    for name in FAMILIES:
        generate(name)
