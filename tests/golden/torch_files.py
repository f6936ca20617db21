"""Files of torch.save as they are published (`pytorch_model.bin`), and such as are not to be believed.

    python tests/golden/torch_files.py

writes tests/golden/torch_files: `model/expected.safetensors` has the numbers of every folder `model/<way>`, which holds them
as `pytorch_model.bin` in a way of its own. `bad` has files that must be refused; torch.load with weights_only=False would
run what they say.
"""

import collections
import json
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from common import HERE, llama, versions, write_json

OUT = HERE / "torch_files"
SIZE = dict(vocab_size=29, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=64)


def folder(name, config):
    path = OUT / "model" / name
    path.mkdir(parents=True)
    write_json(path / "config.json", config)
    return path


def transposed(tensor):
    """The same numbers in another order in the file."""
    return tensor.t().contiguous().t() if tensor.dim() == 2 else tensor


def sliced(tensor):
    """The same numbers as every second one of a larger storage, and not from its first."""
    wide = torch.full([2 * size + 3 for size in tensor.shape], 7.0)
    view = wide[tuple(slice(2, 2 + 2 * size, 2) for size in tensor.shape)]
    view.copy_(tensor)
    return view


def one_storage(state):
    """All tensors as views of one storage, as flat parameters are saved."""
    flat = torch.cat([tensor.reshape(-1) for tensor in state.values()])
    views, at = collections.OrderedDict(), 0
    for name, tensor in state.items():
        views[name] = flat[at:at + tensor.numel()].view(tensor.shape)
        at += tensor.numel()
    return views


def ways():
    model = llama(5, tie_word_embeddings=True, **SIZE)
    config = model.config.to_dict()
    state = model.state_dict()
    assert state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
    plain = {name: tensor.clone() for name, tensor in state.items() if name != "lm_head.weight"}
    save_file(plain, OUT / "model" / "expected.safetensors")

    torch.save(state, folder("tied", config) / "pytorch_model.bin")
    torch.save(dict(model.named_parameters()), folder("parameters", config) / "pytorch_model.bin")
    torch.save({name: transposed(tensor) for name, tensor in plain.items()},
               folder("transposed", config) / "pytorch_model.bin")
    torch.save({name: sliced(tensor) for name, tensor in plain.items()}, folder("sliced", config) / "pytorch_model.bin")
    torch.save(one_storage(plain), folder("one_storage", config) / "pytorch_model.bin")
    torch.save(plain, folder("protocol_4", config) / "pytorch_model.bin", pickle_protocol=4)
    torch.serialization.set_crc32_options(False)
    torch.save(plain, folder("no_checksums", config) / "pytorch_model.bin")
    torch.serialization.set_crc32_options(True)
    for name, kind in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
        torch.save({key: tensor.to(kind) for key, tensor in state.items()}, folder(name, config) / "pytorch_model.bin")

    shards = folder("sharded", config)
    names = sorted(plain)
    files = {"pytorch_model-00001-of-00002.bin": names[:5], "pytorch_model-00002-of-00002.bin": names[5:]}
    for file, held in files.items():
        torch.save({name: plain[name] for name in held}, shards / file)
    weight_map = {name: file for file, held in files.items() for name in held}
    size = sum(tensor.nbytes for tensor in plain.values())
    write_json(shards / "pytorch_model.bin.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})


def old_bert():
    """A BERT as it was published years ago: `gamma` and `beta`, positions as whole numbers, no prefix."""
    torch.manual_seed(7)
    config = BertConfig(vocab_size=29, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                        max_position_embeddings=32, hidden_act="gelu")
    model = BertModel(config).float().eval()
    with torch.no_grad():
        for _, tensor in model.named_parameters():
            tensor.normal_(0.2, 0.3)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, OUT / "model" / "old_bert.safetensors")
    old = collections.OrderedDict()
    old["embeddings.position_ids"] = torch.arange(32).expand((1, -1))
    for name, tensor in state.items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        old[name] = tensor
    torch.save(old, folder("old_bert", config.to_dict()) / "pytorch_model.bin")


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def bad():
    path = OUT / "bad"
    path.mkdir()
    weight = torch.ones(2, 3)
    torch.save({"weight": weight, "x": Calls(os.system, "touch hacked")}, path / "os_system.bin")
    torch.save({"weight": weight, "x": Calls(eval, "1 + 1")}, path / "eval.bin")
    torch.save(Calls(getattr, "text", "upper"), path / "getattr.bin")
    torch.save(torch.nn.Linear(3, 2), path / "module.bin")
    torch.save({"state_dict": {"weight": weight}, "epoch": 3}, path / "nested.bin")
    torch.save([weight], path / "list.bin")
    torch.save({3: weight}, path / "number.bin")
    torch.save({"weight": weight, "scale": 0.5}, path / "scalar.bin")
    torch.save({"weight": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)}, path / "quantized.bin")
    torch.save({"weight": weight.to_sparse()}, path / "sparse.bin")
    torch.save({"weight": weight}, path / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.Linear(3, 2)).save(path / "script.bin")
    torch.save({"weight": torch.ones(1, 3).expand(1000, 3)}, path / "repeated.bin")
    torch.save({"weight": weight.double()}, path / "float64.bin")


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "model").mkdir(parents=True)
    ways()
    old_bert()
    bad()
    write_json(OUT / "versions.json", versions())
