"""Golden values of what an `inspect` stage finds, by PEFT and NumPy, from whole matrices: each update is the difference of
PEFT's merged model and the base, in double precision.

    python tests/golden/inspection.py

reads the model that llama.py has written as `biases`, and writes tests/golden/inspection/<member>/ as a train stage leaves it:
an adapter saved by PEFT or a whole model, `snapshots/step-…`, and the `summary.json` that names the kept step; and
tests/golden/inspection/values.json with the figures.

- `lora2`, `lora4`: LoRA of ranks 2 and 4, seeds 0 and 1; the second with rsLoRA, patterns and an embedding among its targets.
- `dora`: DoRA of rank 3, whose magnitudes are far from the rows' norms. `full`: every tensor moved; its first snapshot is
  the base.
- Subspaces: Hu et al. 2021, equation 4, by the definition: the Frobenius norm of a product of singular vectors.
- Amplification: the same paper, section 7.3. What is to be expected of random subspaces is checked here against draws.
- Magnitude and direction: Liu et al. 2024, equations 3 and 4, over output rows.
"""

import copy
import json
import shutil

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from common import HERE, randomize_adapter, save_adapter, versions, write_json

FOLDER = HERE / "inspection"
BASE = HERE / "llama" / "biases" / "model"
STEPS = [0, 10, 20]
MEMBERS = {
    "lora2": dict(seed=0, config=dict(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj", "down_proj"])),
    "lora4": dict(seed=1, config=dict(r=4, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj", "embed_tokens"],
                                      rank_pattern={"1.self_attn.v_proj": 3}, alpha_pattern={"q_proj": 9})),
    "dora": dict(seed=2, config=dict(r=3, lora_alpha=7.5, use_dora=True, target_modules=["q_proj", "v_proj", "up_proj"])),
}
PAIRS = [("lora2", "lora4"), ("lora2", "dora"), ("lora4", "dora")]
DIRECTIONS = {"lora2": 2, "dora": 3, "full": 8}


def base():
    return LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager")


def weights(model):
    return {name.removesuffix(".weight"): tensor.detach().double().numpy()
            for name, tensor in model.state_dict().items() if tensor.dim() == 2 and "lm_head" not in name}


def folder_of(member, step):
    return FOLDER / member / "snapshots" / f"step-{step:06}"


def save_trajectory(member, settings):
    torch.manual_seed(settings["seed"])
    model = get_peft_model(base(), LoraConfig(task_type="CAUSAL_LM", **settings["config"]))
    for step in STEPS:
        if step > 0:
            randomize_adapter(model, 100 * settings["seed"] + step, deviation=step / 100)
            if settings["config"].get("use_dora"):
                # As training moves them: near their rows' norms, the further the later.
                for module in model.modules():
                    for vector in getattr(module, "lora_magnitude_vector", {}).values():
                        with torch.no_grad():
                            vector.weight.mul_(1 + torch.randn_like(vector.weight) * step / 400)
        save_adapter(model, folder_of(member, step))
        for config in [folder_of(member, step) / "adapter_config.json"]:
            text = json.loads(config.read_text())
            write_json(config, text)
    for file in folder_of(member, STEPS[-1]).iterdir():
        shutil.copy(file, FOLDER / member / file.name)
    # Embeddings: PEFT saves the table that it changes as well.
    write_json(FOLDER / member / "summary.json", {"kept_step": STEPS[-1]})


def save_full():
    model = base()
    generator = torch.Generator().manual_seed(7)
    for step in STEPS:
        if step > 0:
            with torch.no_grad():
                for tensor in model.parameters():
                    tensor.add_(torch.randn(tensor.shape, generator=generator) * step / 500)
        model.save_pretrained(folder_of("full", step))
        for extra in ["generation_config.json"]:
            (folder_of("full", step) / extra).unlink(missing_ok=True)
    # The best was not the last.
    for file in folder_of("full", 10).iterdir():
        shutil.copy(file, FOLDER / "full" / file.name)
    write_json(FOLDER / "full" / "summary.json", {"kept_step": 10})


def merged(member, step):
    """Every matrix at a step, by PEFT's own merge."""
    if member == "full":
        return weights(LlamaForCausalLM.from_pretrained(folder_of(member, step), dtype=torch.float64))
    model = PeftModel.from_pretrained(base().double(), folder_of(member, step), autocast_adapter_dtype=False).double()
    return weights(model.merge_and_unload())


def changed(member):
    """The matrices that a member adapts."""
    if member == "full":
        return sorted(name for name in weights(base()) if "embed" not in name)
    keys = load_file(folder_of(member, 20) / "adapter_model.safetensors")
    ends = [".lora_A.weight", ".lora_embedding_A"]
    names = [key.removeprefix("base_model.model.").removesuffix(end) for key in keys for end in ends if key.endswith(end)]
    return sorted(names)


def factor_a(member, module, step=20):
    tensors = load_file(folder_of(member, step) / "adapter_model.safetensors")
    return tensors[f"base_model.model.{module}.lora_A.weight"].double().numpy()


def norms(update, weight, has_factors):
    values = np.linalg.svd(update, compute_uv=False)
    norm = np.linalg.norm(update)
    is_rounding = norm <= (0 if has_factors else np.finfo(np.float32).eps * np.linalg.norm(weight)) or norm < 1e-12
    parts = values[values > values.max() * 1e-12] / values.sum() if not is_rounding else None
    return {
        "norm": norm,
        "relative": norm / np.linalg.norm(weight),
        "spectral": values[0],
        "stable_rank": None if is_rounding else (norm / values[0]) ** 2,
        "effective_rank": None if is_rounding else float(np.exp(-(parts * np.log(parts)).sum())),
    }


def moved(now, before):
    m, m0 = np.linalg.norm(now, axis=1), np.linalg.norm(before, axis=1)
    cosine = (now * before).sum(1) / (m * m0)
    return {"magnitude": np.abs(m - m0).mean(), "direction": (1 - cosine).mean()}


def phi(one, other, i, j):
    return np.linalg.norm(one[:, :i].T @ other[:, :j]) ** 2 / min(i, j)


def right(matrix):
    return np.linalg.svd(matrix)[2].T


def amplified(update, weight, directions):
    (u, _, v), values = np.linalg.svd(update), np.linalg.svd(weight, compute_uv=False)
    inside = np.linalg.norm(u[:, :directions].T @ weight @ v[:directions].T)
    return {
        "directions": directions,
        "weight": np.linalg.norm(weight),
        "update": np.linalg.norm(update),
        "in_update": inside,
        "in_weight": np.sqrt((values[:directions] ** 2).sum()),
        "in_random": directions * np.linalg.norm(weight) / np.sqrt(weight.size),
        "factor": np.linalg.norm(update) / inside,
    }


def check_random(weight, directions):
    """The root of the mean square over draws of subspaces is what the formula says."""
    generator = np.random.default_rng(0)

    def drawn():
        u, v = (np.linalg.qr(generator.normal(size=(size, directions)))[0] for size in weight.shape)
        return np.linalg.norm(u.T @ weight @ v) ** 2

    found = np.sqrt(np.mean([drawn() for _ in range(4000)]))
    expected = directions * np.linalg.norm(weight) / np.sqrt(weight.size)
    assert abs(found / expected - 1) < 0.02, (found, expected)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    for member, settings in MEMBERS.items():
        save_trajectory(member, settings)
    save_full()
    before = weights(base().double())
    values = {"update_norms": {}, "magnitude_direction": {}, "subspaces": {}, "begun": {}, "amplification": {}, "correlations": {}, "versions": versions()}
    points = {}
    for member in [*MEMBERS, "full"]:
        for step in STEPS:
            now = merged(member, step)
            for module in changed(member):
                key = f"{member} {module} {step}"
                has_factors = member.startswith("lora")
                values["update_norms"][key] = norms(now[module] - before[module], before[module], has_factors)
                values["magnitude_direction"][key] = moved(now[module], before[module])
                if step > 0:
                    points.setdefault(member, []).append((module, values["magnitude_direction"][key]))
    for one, other in PAIRS:
        for module in sorted(set(changed(one)) & set(changed(other))):
            for of in ["a", "update"]:
                if "embed" in module:
                    continue
                sides = []
                for member in [one, other]:
                    rank = factor_a(member, module).shape[0]
                    matrix = factor_a(member, module) if of == "a" else merged(member, 20)[module] - before[module]
                    sides.append(right(matrix)[:, :rank])
                grid = [[phi(sides[0], sides[1], i, j) for j in range(1, sides[1].shape[1] + 1)]
                        for i in range(1, sides[0].shape[1] + 1)]
                values["subspaces"][f"{of} {one} {other} {module}"] = grid
                ranks = [side.shape[1] for side in sides]
                first = [right(factor_a(member, module, 0))[:, :rank] for member, rank in zip([one, other], ranks)]
                values["begun"][f"{of} {one} {other} {module}"] = phi(*first, *ranks) if of == "a" else None
    for member, directions in DIRECTIONS.items():
        now = merged(member, 10 if member == "full" else 20)
        for module in changed(member):
            values["amplification"][f"{member} {module}"] = amplified(now[module] - before[module], before[module], directions)
    check_random(before["model.layers.0.mlp.up_proj"], 4)
    for member, found in points.items():
        for role, wanted in [("all", ""), ("attention.q", "q_proj")]:
            pairs = [(point["direction"], point["magnitude"]) for module, point in found if module.endswith(wanted)]
            x, y = np.array(pairs).T
            values["correlations"][f"{member} {role}"] = {
                "points": len(pairs), "correlation": np.corrcoef(x, y)[0, 1], "slope": np.polyfit(x, y, 1)[0]}
    write_json(FOLDER / "values.json", values)


main()
