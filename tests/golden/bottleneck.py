"""Golden values of bottleneck adapters by adapter-hub's `adapters`, on the models that beside.py left.

    python tests/golden/bottleneck.py

needs an environment of its own (tests/peft/adapters.txt): the library wants an older transformers. Writes
tests/golden/beside/<family>/<style>/ (saved by the library, with the head) and tests/golden/beside/<family>/bottleneck.safetensors and
.json (outputs at first and with the saved adapter, gradients, losses, those of 20 steps of AdamW, versions); for Llama also
series_linear and parallel_linear, the bottlenecks of LLM-Adapters, which are computed here from their formulas.
"""

import json
import shutil

import adapters
import torch
import transformers
from adapters import DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaForCausalLM, RobertaForSequenceClassification, T5ForConditionalGeneration

from common import HERE, write_json
from families import learn, outputs, steps

CLASSES = {"llama": LlamaForCausalLM, "roberta": RobertaForSequenceClassification, "t5": T5ForConditionalGeneration}
STYLES = {
    "llama": {"houlsby": DoubleSeqBnConfig(reduction_factor=5), "pfeiffer": SeqBnConfig(reduction_factor=2.5, non_linearity="gelu"),
              "parallel": ParBnConfig()},
    "roberta": {"houlsby": DoubleSeqBnConfig(reduction_factor=4, ln_before=True, ln_after=True),
                "pfeiffer": SeqBnConfig(reduction_factor=4, scaling=0.7), "parallel": ParBnConfig(mh_adapter=True, reduction_factor=3)},
    "t5": {"houlsby": DoubleSeqBnConfig(reduction_factor=4, cross_adapter=True, leave_out=[1, 2], non_linearity="tanh"),
           "pfeiffer": SeqBnConfig(reduction_factor=6, ln_after=True), "parallel": ParBnConfig(non_linearity="gelu_new")},
}
# The name of the adapter must not matter.
NAME = "some_task"
SERIES = {"gate_proj": "before", "up_proj": "before", "down_proj": "behind"}
PARALLEL = {"q_proj": "parallel", "v_proj": "parallel", "up_proj": "parallel", "down_proj": "parallel"}
SIZE, SCALE = 3, 1.5


class OnMap(nn.Module):
    """LLM-Adapters (arXiv 2304.01933), equations 3 and 4; tanh, no biases."""

    def __init__(self, plain, where):
        super().__init__()
        self.plain, self.where = plain, where
        outputs, inputs = plain.weight.shape
        from_, to = {"before": (inputs, inputs), "behind": (outputs, outputs), "parallel": (inputs, outputs)}[where]
        self.adapter_down, self.adapter_up = nn.Linear(from_, SIZE, bias=False), nn.Linear(SIZE, to, bias=False)

    def bottleneck(self, x):
        return SCALE * self.adapter_up(torch.tanh(self.adapter_down(x)))

    def forward(self, x):
        if self.where == "before":
            return self.plain(x + self.bottleneck(x))
        y = self.plain(x)
        return y + self.bottleneck(y if self.where == "behind" else x)


def on_maps(model, where):
    for name, module in list(model.named_modules()):
        last = name.rsplit(".", 1)[-1]
        if last in where:
            setattr(model.get_submodule(name.rsplit(".", 1)[0]), last, OnMap(module, where[last]))
    for name, tensor in model.named_parameters():
        tensor.requires_grad_("adapter_" in name)


def shake(parameters):
    torch.manual_seed(41)
    with torch.no_grad():
        for name, tensor in parameters:
            tensor.uniform_(0.5, 1.5) if "norm" in name and name.endswith("weight") else tensor.normal_(0, 0.4)


def trained(model):
    # A norm before a bottleneck stands twice in it, as itself and in the list of modules that lead down.
    seen, found = set(), []
    for name, tensor in model.named_parameters(remove_duplicate=False):
        if tensor.requires_grad and id(tensor) not in seen:
            seen.add(id(tensor))
            found.append((name, tensor))
    return found


def record(name, what, model, batch, tensors, values, keep):
    model.train()
    shake(trained(model))
    keep()
    found, loss = learn(name, model, batch)
    loss.backward()
    tensors[f"{what}.outputs"], values["loss"][what] = found.detach(), loss.item()
    for key, tensor in trained(model):
        tensors[f"{what}.gradient.{key}"] = tensor.grad.clone()
    model.zero_grad()
    values["steps"][what] = steps(name, model, batch, [tensor for _, tensor in trained(model)])


def generate(name):
    folder = HERE / "beside" / name
    batch = {key: tensor for key, tensor in load_file(folder / "values.safetensors").items() if key in ("ids", "mask", "labels")}
    base = load_file(folder / "values.safetensors")["base.outputs"]
    tensors = {}
    values = {"generator": "tests/golden/bottleneck.py", "loss": {}, "steps": {},
              "versions": {"adapters": adapters.__version__, "torch": torch.__version__, "transformers": transformers.__version__}}
    for style, config in STYLES[name].items():
        shutil.rmtree(folder / style, ignore_errors=True)
        model = CLASSES[name].from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager").train()
        assert torch.allclose(outputs(name, model, batch), base, rtol=1e-4, atol=1e-4), "another transformers, other numbers"
        adapters.init(model)
        torch.manual_seed(3)
        model.add_adapter(NAME, config=config)
        model.train_adapter(NAME)

        def keep():
            # Shared tensors, which a norm before a bottleneck is, cannot be saved as safetensors.
            model.save_adapter(str(folder / style), NAME, use_safetensors=not config["ln_before"])
            if name == "roberta":
                model.save_head(str(folder / style), use_safetensors=not config["ln_before"])
            for path in (folder / style).glob("*_config.json"):
                write_json(path, {**json.loads(path.read_text()), "model_name": ""})
        record(name, style, model, batch, tensors, values, keep)
    if name == "llama":
        for what, where in (("series_linear", SERIES), ("parallel_linear", PARALLEL)):
            shutil.rmtree(folder / what, ignore_errors=True)
            model = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager")
            on_maps(model, where)

            def keep():
                (folder / what).mkdir()
                save_file({f"base_model.model.{key}": tensor.detach() for key, tensor in trained(model)},
                          folder / what / "adapter_model.safetensors", metadata={"format": "pt"})
                # As its `BottleneckConfig` is saved.
                write_json(folder / what / "adapter_config.json", {
                    "peft_type": "BOTTLENECK", "task_type": "CAUSAL_LM", "base_model_name_or_path": "", "inference_mode": True,
                    "bottleneck_size": SIZE, "non_linearity": "tanh", "adapter_dropout": 0.0, "bias": "none",
                    "init_weights": "bert", "modules_to_save": None, "scaling": SCALE, "target_modules": sorted(where),
                    "use_parallel_adapter": what == "parallel_linear"})
            record(name, what, model, batch, tensors, values, keep)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "bottleneck.safetensors")
    write_json(folder / "bottleneck.json", values)


for name in CLASSES:
    generate(name)
