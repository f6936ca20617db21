#!/usr/bin/env python3
"""Writes tiny models with random weights in Hugging Face's layout, one of each family that the studies use.

    python3 datasets/tiny_models/generate.py            write the files beside this program
    python3 datasets/tiny_models/generate.py --check    verify that they are what it writes

Needs Python 3.8 or later and nothing else. The same bytes on every version and machine: weights are sums of
whole numbers from the generator below, and the tokenizer's merges are counted in the sets of `datasets/`.
The models know nothing; they are there so that a whole pipeline can be run in a minute, offline.
"""

import argparse
import json
import re
import struct
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETS = HERE.parent
MERGES = 320


class Random:
    """SplitMix64 (Steele, Lea, Flood 2014), seeded by a name."""

    MASK = (1 << 64) - 1

    def __init__(self, use):
        self.state = 11
        for byte in use.encode():
            self.state = (self.state * 257 + byte + 1) & self.MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def normal(self):
        """Nearly normal, of deviation one: eight 16-bit numbers, added. Exact, so the same everywhere."""
        a, b = self.next(), self.next()
        total = sum((a >> s & 0xFFFF) + (b >> s & 0xFFFF) for s in (0, 16, 32, 48))
        return (total - 8 * 0x7FFF - 4) / 65536 * 1.224744871391589


# ---------------------------------------------------------------------------- tokenizer


def alphabet():
    """The characters that stand for the 256 bytes in byte-level BPE (Radford et al. 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (b for b in range(256) if b not in plain)
    table = {b: chr(b) for b in plain}
    table.update({b: chr(256 + n) for n, b in enumerate(others)})
    return table


def texts():
    """What merges are counted in: a part of every set, and the margins that the common-sense prompts have."""
    yield ("\n" + " " * 16 + "the correct answer is") * 400
    for path in sorted(SETS.glob("*/**/train.*")):
        if path.parts[len(SETS.parts)] != "tiny_models":
            text = path.read_text(encoding="utf-8")[:12000]
            yield text.replace("\\n", "\n") if path.suffix != ".tsv" else text.replace("\t", "\n")


def merges(bytes_of):
    words = Counter(word for text in texts() for word in re.findall(r" ?\w+| ?[^\s\w]+|\s+", text))
    parts = {word: [bytes_of[b] for b in word.encode()] for word in words}
    found = []
    while len(found) < MERGES:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(parts[word], parts[word][1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        for word, pieces in parts.items():
            at = 0
            while at < len(pieces) - 1:
                if (pieces[at], pieces[at + 1]) == best:
                    pieces[at : at + 2] = ["".join(best)]
                at += 1
    return found


def tokenizer(special, last, learned, post):
    """`special` have the first ids, `last` the last ones."""
    pieces = [*special, *alphabet().values(), *("".join(pair) for pair in learned), *last]
    if len(set(pieces)) != len(pieces):
        pieces = list(dict.fromkeys(pieces))
    ids = {piece: number for number, piece in enumerate(pieces)}
    added = [
        {"id": ids[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for t in [*special, *last]
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": ids,
        "merges": [f"{a} {b}" for a, b in learned],
    }
    return ids, {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": post(ids), "decoder": level, "model": model,
    }


def around(before=(), after=()):
    """A post-processor that puts tokens before and behind each text."""

    def make(ids):
        def text(name):
            return {"Sequence": {"id": name, "type_id": 0}}

        def token(name):
            return {"SpecialToken": {"id": name, "type_id": 0}}

        first = [*map(token, before), text("A"), *map(token, after)]
        return {
            "type": "TemplateProcessing", "single": first, "pair": [*first, text("B"), *map(token, after)],
            "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in [*before, *after]},
        }

    return make


def roberta_pairs(ids):
    return {
        "type": "RobertaProcessing", "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]],
        "trim_offsets": True, "add_prefix_space": False,
    }


# ---------------------------------------------------------------------------- weights


def halves(values):
    return struct.pack(f"<{len(values)}e", *values)


def safetensors(shapes, name):
    """The file of so many tensors: the header's length in eight bytes, the header, the numbers. `shapes` has for
    each tensor its shape and either a constant or, as a text, the deviation of its numbers."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for tensor, (shape, fill) in sorted(shapes.items()):
        count = 1
        for size in shape:
            count *= size
        rng = Random(f"{name} {tensor}")
        values = [rng.normal() * float(fill) for _ in range(count)] if isinstance(fill, str) else [fill] * count
        data = halves(values)
        header[tensor] = {"dtype": "F16", "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def decoder_layers(config, prefix, norms, norm):
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {}
    for layer in range(config["num_hidden_layers"]):
        at = f"{prefix}layers.{layer}."
        for part, shape in {
            "self_attn.q_proj": (queries, width), "self_attn.k_proj": (keys, width), "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, queries), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }.items():
            shapes[f"{at}{part}.weight"] = (shape, "0.18")
        shapes.update({f"{at}{part}.weight": ((width,), norm) for part in norms})
    return shapes


def gemma3(learned):
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    ids, pieces = tokenizer(special, [], learned, around(before=["<bos>"]))
    config = {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": len(ids), "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 1024, "query_pre_attn_scalar": 16,
        "sliding_window": 64, "sliding_window_pattern": 2, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0, "attention_bias": False, "tie_word_embeddings": True, "torch_dtype": "float16",
        "bos_token_id": ids["<bos>"], "eos_token_id": [ids["<eos>"], ids["<end_of_turn>"]], "pad_token_id": 0,
    }
    shapes = {"model.embed_tokens.weight": ((len(ids), 32), "0.06"), "model.norm.weight": ((32,), 0.0)}
    norms = ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"]
    shapes.update(decoder_layers(config, "model.", norms, 0.0))
    for layer in range(2):
        shapes.update({f"model.layers.{layer}.self_attn.{n}.weight": ((16,), 0.0) for n in ("q_norm", "k_norm")})
    chat = (
        "{{ bos_token }}{% for turn in messages %}<start_of_turn>{{ 'model' if turn.role == 'assistant' else turn.role }}\n"
        "{{ turn.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    return config, pieces, shapes, {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
            "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False, "chat_template": chat,
        },
        "generation_config.json": {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }


def llama(learned):
    ids, pieces = tokenizer(["<unk>", "<s>", "</s>"], [], learned, around(before=["<s>"]))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(ids), "hidden_size": 32,
        "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8,
        "hidden_act": "silu", "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False, "torch_dtype": "float16",
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }
    shapes = {
        "model.embed_tokens.weight": ((len(ids), 32), "0.06"), "lm_head.weight": ((len(ids), 32), "0.06"),
        "model.norm.weight": ((32,), 1.0),
    }
    shapes.update(decoder_layers(config, "model.", ["input_layernorm", "post_attention_layernorm"], 1.0))
    return config, pieces, shapes, {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
            "add_bos_token": True, "add_eos_token": False,
        },
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    }


def roberta(learned):
    ids, pieces = tokenizer(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"], learned, roberta_pairs)
    width, inner = 32, 64
    config = {
        "architectures": ["RobertaForMaskedLM"], "model_type": "roberta", "vocab_size": len(ids), "hidden_size": width,
        "intermediate_size": inner, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 514,
        "type_vocab_size": 1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-5, "initializer_range": 0.02, "position_embedding_type": "absolute", "torch_dtype": "float16",
        "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
    }

    shapes = {}

    def linear(name, out, into):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = ((out, into), "0.18"), ((out,), 0.0)

    def norm(name):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = ((width,), 1.0), ((width,), 0.0)

    shapes["roberta.embeddings.word_embeddings.weight"] = ((len(ids), width), "0.06")
    shapes["roberta.embeddings.position_embeddings.weight"] = ((514, width), "0.02")
    shapes["roberta.embeddings.token_type_embeddings.weight"] = ((1, width), "0.06")
    norm("roberta.embeddings.LayerNorm")
    for layer in range(2):
        at = f"roberta.encoder.layer.{layer}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            linear(at + part, width, width)
        linear(at + "intermediate.dense", inner, width)
        linear(at + "output.dense", width, inner)
        norm(at + "attention.output.LayerNorm")
        norm(at + "output.LayerNorm")
    linear("lm_head.dense", width, width)
    norm("lm_head.layer_norm")
    shapes["lm_head.bias"] = ((len(ids),), 0.0)
    return config, pieces, shapes, {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>",
            "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>",
        },
    }


def t5(learned):
    ids, pieces = tokenizer(["<pad>", "</s>", "<unk>"], [], learned, around(after=["</s>"]))
    width, inner, heads = 32, 64, 4
    config = {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": len(ids), "d_model": width,
        "d_kv": 8, "d_ff": inner, "num_layers": 2, "num_decoder_layers": 2, "num_heads": heads, "is_encoder_decoder": True,
        "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6, "initializer_factor": 1.0, "feed_forward_proj": "relu", "tie_word_embeddings": True,
        "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "torch_dtype": "float16",
    }
    shapes = {"shared.weight": ((len(ids), width), "0.06")}
    for stack, parts in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        for layer in range(2):
            for number, part in enumerate([*parts, "DenseReluDense"]):
                at = f"{stack}.block.{layer}.layer.{number}."
                shapes[at + "layer_norm.weight"] = ((width,), 1.0)
                if part == "DenseReluDense":
                    shapes[at + part + ".wi.weight"] = ((inner, width), "0.18")
                    shapes[at + part + ".wo.weight"] = ((width, inner), "0.18")
                else:
                    shapes.update({f"{at}{part}.{name}.weight": ((width, width), "0.18") for name in "qkvo"})
        shapes[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = ((32, heads), "0.06")
        shapes[f"{stack}.final_layer_norm.weight"] = ((width,), 1.0)
    return config, pieces, shapes, {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
        },
        "generation_config.json": {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0},
    }


# ---------------------------------------------------------------------------- files


def build():
    """Every file by its path, as its exact bytes."""
    learned, files = merges(alphabet()), {}
    for name, make in {"gemma3": gemma3, "llama": llama, "roberta": roberta, "t5": t5}.items():
        config, pieces, shapes, others = make(learned)
        for path, value in {"config.json": config, "tokenizer.json": pieces, **others}.items():
            indent = None if path == "tokenizer.json" else 2
            files[f"{name}/{path}"] = (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
        files[f"{name}/model.safetensors"] = safetensors(shapes, name)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="verify the files instead of writing them")
    arguments = parser.parse_args()
    files, found = build(), []
    for name, data in files.items():
        path = HERE / name
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        elif not path.is_file():
            found.append(f"{path} is missing: run this program without --check")
        elif path.read_bytes() != data:
            found.append(f"{path} is not what this program writes: run it without --check")
        print(f"{name:32} {len(data):8} bytes")
    for problem in found:
        print("error: " + problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
