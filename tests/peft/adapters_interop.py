"""Bottleneck adapters saved by the engine load in adapter-hub's `adapters` with the same outputs, and the other way round.

    python tests/peft/adapters_interop.py target/release/examples/adapters_interop [FAMILY…]

needs what adapters.txt beside this file lists, and the built example. Exits with 1 and says what differs.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import adapters
import torch
import transformers
from adapters import DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-5
TOKENS = torch.tensor([(at * 7 + 3) % 50 for at in range(26)]).view(2, 13)

DECODER = dict(vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
               num_key_value_heads=2, initializer_range=0.2, max_position_embeddings=64)
ENCODER = dict(vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
               max_position_embeddings=80, pad_token_id=55, initializer_range=0.2)
T5 = dict(vocab_size=60, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, decoder_start_token_id=0)

# Name: task of the engine, class of the model, its configuration.
FAMILIES = {
    "llama": ("language_model", "LlamaForCausalLM", transformers.LlamaConfig(**DECODER, tie_word_embeddings=True)),
    "llama_untied": ("language_model", "LlamaForCausalLM", transformers.LlamaConfig(**DECODER, tie_word_embeddings=False)),
    "mistral": ("language_model", "MistralForCausalLM", transformers.MistralConfig(**DECODER)),
    "bert_classes": ("classes", "BertForSequenceClassification", transformers.BertConfig(**ENCODER, num_labels=3)),
    "bert_answers": ("answers", "BertForQuestionAnswering", transformers.BertConfig(**ENCODER)),
    "roberta_classes": ("classes", "RobertaForSequenceClassification",
                        transformers.RobertaConfig(**ENCODER, num_labels=3)),
    "roberta_answers": ("answers", "RobertaForQuestionAnswering", transformers.RobertaConfig(**ENCODER)),
    "t5": ("language_model", "T5ForConditionalGeneration", transformers.T5Config(**T5)),
}
STYLES = {
    "houlsby": DoubleSeqBnConfig(reduction_factor=3), "pfeiffer": SeqBnConfig(reduction_factor=4, ln_before=True),
    "parallel": ParBnConfig(ln_after=True, leave_out=[1]),
}


def outputs(model):
    """What the engine's `Network::outputs` gives."""
    with torch.no_grad():
        if model.config.model_type == "t5":
            return model(input_ids=TOKENS, decoder_input_ids=TOKENS).logits.contiguous()
        found = model(input_ids=TOKENS)
        if "start_logits" in found:
            return torch.stack([found.start_logits, found.end_logits], -1)
        return found.logits.contiguous()


def distance(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def base_model(kind, config, folder):
    """A model of random weights, none of which is at rest."""
    torch.manual_seed(1)
    model = getattr(transformers, kind)(config).float().eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            norm = "norm" in name.lower() and tensor.dim() == 1 and not name.endswith("bias")
            tensor.uniform_(0.5, 1.5) if norm else tensor.normal_(0, 0.2)
    model.save_pretrained(folder)


def load_here(folder, kind):
    """What the engine saved, through adapter-hub's library."""
    model_class = getattr(transformers, kind)
    for name in STYLES:
        expected = load_file(folder / name / "outputs.safetensors")["outputs"]
        model = model_class.from_pretrained(folder / "model", dtype=torch.float32).eval()
        if distance(outputs(model), expected) < 0.01:
            sys.exit(f"{folder.name}, {name}: the adapter changes nothing")
        adapters.init(model)
        info = {}
        model.load_adapter(str(folder / name / "adapter"), use_safetensors=True, set_active=True, loading_info=info)
        model.eval()
        if info["missing_keys"] or info["unexpected_keys"]:
            sys.exit(f"{folder.name}, {name}: {info}")
        off = distance(outputs(model), expected)
        print(f"{folder.name}, {name}: saved here, loaded by adapter-hub's library: outputs off by {off:.1e}")
        if not off <= TOLERANCE:
            sys.exit(f"{folder.name}, {name}: off by more than {TOLERANCE}")


def save_there(folder, kind):
    """What adapter-hub's library saves, for the engine."""
    for name, config in STYLES.items():
        model = getattr(transformers, kind).from_pretrained(folder / "model", dtype=torch.float32)
        adapters.init(model)
        model.add_adapter("task", config=config)
        model.train_adapter("task")
        torch.manual_seed(1)
        with torch.no_grad():
            for _, tensor in model.named_parameters():
                if tensor.requires_grad:
                    tensor.mul_(1.2).add_(torch.randn_like(tensor) * 0.2)
        model.eval()
        place = folder / name / "adapter"
        place.mkdir(parents=True)
        # Shared tensors, which a norm before a bottleneck is, cannot be saved as safetensors.
        model.save_adapter(str(place), "task", use_safetensors=not config["ln_before"])
        if "Classification" in kind or "Answering" in kind:
            model.save_head(str(place), use_safetensors=not config["ln_before"])
        save_file({"outputs": outputs(model)}, folder / name / "outputs.safetensors")


def main(program, chosen):
    for name in chosen or FAMILIES:
        task, kind, config = FAMILIES[name]
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = Path(folder) / name, Path(folder) / "theirs"
            for place in (ours, theirs):
                base_model(kind, config, place / "model")
            subprocess.run([program, "save", ours, task], check=True)
            load_here(ours, kind)
            save_there(theirs, kind)
            subprocess.run([program, "check", theirs, task], check=True)


main(sys.argv[1], sys.argv[2:])
