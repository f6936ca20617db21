"""Adapters saved by the engine load in stock PEFT with the same outputs, and the other way round, for every family.

    python tests/peft/interop.py target/release/examples/peft_interop [FAMILY…]

needs torch, transformers and peft (see requirements.txt beside this file) and the built example. Exits with 1 and says what differs.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from peft import (IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, VeraConfig,
                  get_peft_model)
from safetensors.torch import load_file, save_file

# PEFT 0.19 keeps a method that transformers has renamed; it is used in generation alone.
t5 = transformers.T5ForConditionalGeneration
if not hasattr(t5, "_prepare_encoder_decoder_kwargs_for_generation"):
    t5._prepare_encoder_decoder_kwargs_for_generation = t5._prepare_text_encoder_decoder_kwargs_for_generation

TOLERANCE = 1e-5
TOKENS = torch.tensor([(at * 7 + 3) % 50 for at in range(26)]).view(2, 13)

DECODER = dict(vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
               num_key_value_heads=2, tie_word_embeddings=True, initializer_range=0.2, max_position_embeddings=64)
ENCODER = dict(vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
               max_position_embeddings=80, pad_token_id=55, initializer_range=0.2)
T5 = dict(vocab_size=60, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, decoder_start_token_id=0)
ATTENTION = {"decoder": "q_proj", "fused": "qkv_proj", "encoder": "query", "t5": "q"}
DOWN = {"decoder": "down_proj", "fused": "down_proj", "encoder": "output.dense", "t5": "wo"}
EMBEDDINGS = {"decoder": "embed_tokens", "fused": "embed_tokens", "encoder": "word_embeddings"}
LAYERS = {"decoder": "layers", "fused": "layers", "encoder": ["layer"], "t5": "block"}

HEADS = ["classifier", "qa_outputs", "score"]
# What is in the names of the tensors that methods put beside maps.
PARTS = ["lora_", "ia3_l", "vera_lambda"]

# Name: kind, task of the engine, task of PEFT, class of the model, its configuration.
FAMILIES = {
    "llama": ("decoder", "language_model", "CAUSAL_LM", "LlamaForCausalLM",
              transformers.LlamaConfig(**DECODER, attention_bias=True)),
    "gemma3": ("decoder", "language_model", "CAUSAL_LM", "Gemma3ForCausalLM",
               transformers.Gemma3TextConfig(**DECODER, head_dim=8, query_pre_attn_scalar=8, sliding_window=6,
                                             layer_types=["sliding_attention", "full_attention"])),
    "mistral": ("decoder", "language_model", "CAUSAL_LM", "MistralForCausalLM", transformers.MistralConfig(**DECODER)),
    "qwen2": ("decoder", "language_model", "CAUSAL_LM", "Qwen2ForCausalLM", transformers.Qwen2Config(**DECODER)),
    "qwen3": ("decoder", "language_model", "CAUSAL_LM", "Qwen3ForCausalLM",
              transformers.Qwen3Config(**DECODER, head_dim=8)),
    "phi3": ("fused", "language_model", "CAUSAL_LM", "Phi3ForCausalLM",
             transformers.Phi3Config(**{**DECODER, "pad_token_id": 0}, head_dim=8, sliding_window=6,
                                     rope_parameters={"rope_type": "default", "rope_theta": 5e3, "partial_rotary_factor": 0.5})),
    "bert_classes": ("encoder", "classes", "SEQ_CLS", "BertForSequenceClassification",
                     transformers.BertConfig(**ENCODER, num_labels=3)),
    "bert_answers": ("encoder", "answers", "QUESTION_ANS", "BertForQuestionAnswering",
                     transformers.BertConfig(**ENCODER)),
    "roberta_classes": ("encoder", "classes", "SEQ_CLS", "RobertaForSequenceClassification",
                        transformers.RobertaConfig(**ENCODER, num_labels=3)),
    "roberta_answers": ("encoder", "answers", "QUESTION_ANS", "RobertaForQuestionAnswering",
                        transformers.RobertaConfig(**ENCODER)),
    "t5": ("t5", "language_model", "SEQ_2_SEQ_LM", "T5ForConditionalGeneration", transformers.T5Config(**T5)),
    "t5_gated": ("t5", "language_model", "SEQ_2_SEQ_LM", "T5ForConditionalGeneration",
                 transformers.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
}


def outputs(model):
    """What the engine's `Network::outputs` gives; of an adapted model by the model within, since PEFT's classes for heads
    ask for more than the tokens."""
    model = model.eval()
    kind = model.active_peft_config.peft_type if isinstance(model, PeftModel) else ""
    if kind in ("PROMPT_TUNING", "PREFIX_TUNING"):
        return prompted(model, model.active_peft_config.num_virtual_tokens if kind == "PROMPT_TUNING" else 0)
    inner = model.base_model if isinstance(model, PeftModel) else model
    with torch.no_grad():
        if model.config.model_type == "t5":
            return inner(input_ids=TOKENS, decoder_input_ids=TOKENS).logits.contiguous()
        found = inner(input_ids=TOKENS)
        if "start_logits" in found:
            return torch.stack([found.start_logits, found.end_logits], -1)
        return found.logits.contiguous()


def prompted(model, virtual):
    """The same of a model whose tokens PEFT puts before those of the text, as many as `virtual`."""
    seen = torch.ones_like(TOKENS)
    with torch.no_grad():
        if model.config.model_type == "t5":
            return model(input_ids=TOKENS, attention_mask=seen, decoder_input_ids=TOKENS).logits.contiguous()
        found = model(input_ids=TOKENS, attention_mask=seen)
        if "start_logits" in found:
            return torch.stack([found.start_logits, found.end_logits], -1)
        return found.logits[:, virtual:].contiguous() if virtual else found.logits.contiguous()


def known_to_peft(family, name, method):
    """PEFT 0.19 mixes the layers of a Gemma 3's prefix, or does not find them, and has no prompt behind a first token."""
    if method.startswith("prefix"):
        return name != "gemma3"
    return not method.startswith("prompt") or family != "encoder"


def distance(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def compare(what, found, expected):
    off = distance(found, expected)
    print(f"{what}: outputs off by {off:.1e}")
    if not off <= TOLERANCE:
        sys.exit(f"{what}: off by more than {TOLERANCE}")


def base_model(kind, config, folder):
    """A model of random weights, none of which is at rest."""
    torch.manual_seed(1)
    model = getattr(transformers, kind)(config).float().eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            norm = "norm" in name.lower() and tensor.dim() == 1 and not name.endswith("bias")
            tensor.uniform_(0.5, 1.5) if norm else tensor.normal_(0, 0.2)
    model.save_pretrained(folder)


def merged_by_peft(adapted, name):
    """The same model with merged weights; PEFT 0.19 unwraps heads of several maps for LoRA alone."""
    if name in ("ia3", "vera"):
        adapted.merge_adapter()
        return adapted
    return adapted.merge_and_unload()


def load_here(folder, family, kind):
    """What the engine saved, through PEFT and through transformers."""
    names = sorted(path.parent.name for path in folder.glob("*/adapter"))
    if len(names) < 2:
        sys.exit(f"{folder.name}: the engine saved {names} alone")
    model_class = getattr(transformers, kind)
    for name in names:
        if not known_to_peft(family, folder.name, name):
            continue
        expected = load_file(folder / name / "outputs.safetensors")["outputs"]
        base = model_class.from_pretrained(folder / "model", dtype=torch.float32)
        if distance(outputs(base), expected) < 0.01:
            sys.exit(f"{folder.name}, {name}: the adapter changes nothing")
        adapted = PeftModel.from_pretrained(base, folder / name / "adapter")
        # A head stands there twice: as it was, and as it was saved beside the adapter. Biases of the model are its own.
        ours = PARTS + ["modules_to_save", "prompt_encoder"]
        made = {key for key, _ in adapted.named_parameters() if any(part in key for part in ours)}
        stored = load_file(folder / name / "adapter" / "adapter_model.safetensors")
        stored = {key for key in stored if key == "prompt_embeddings" or any(part in key for part in PARTS + HEADS)}
        what = f"{folder.name}, {name}"
        if len(made) != len(stored):
            sys.exit(f"{what}: PEFT made {len(made)} tensors, the file holds {len(stored)}")
        compare(f"{what}: saved here, loaded by PEFT", outputs(adapted), expected)
        if name.startswith("pr"):
            continue
        # PEFT merges an adapted embedding into the head that is tied to it.
        if name != "embedding":
            compare(f"{what}: saved here, merged by PEFT", outputs(merged_by_peft(adapted, name)), expected)
        merged = model_class.from_pretrained(folder / name / "merged", dtype=torch.float32)
        compare(f"{what}: merged here, loaded by transformers", outputs(merged), expected)


def save_there(folder, model_name, family, task, kind):
    """What PEFT saves, for the engine."""
    q = ATTENTION[family]
    # Among "all-linear" PEFT counts the maps of a head, which it saves whole besides, or refuses to.
    every = r".*encoder\.layer\..*(query|key|value|dense)" if family == "encoder" else "all-linear"
    settings = {
        "lora": dict(target_modules=every),
        "dora": dict(target_modules=rf".*\.{q}", use_dora=True),
        "rslora": dict(target_modules=[q], use_rslora=True, init_lora_weights="gaussian"),
        "patterns": dict(target_modules=every, rank_pattern={rf"1\..*{q}": 5, q: 2}, alpha_pattern={q: 11}),
        "layers": dict(target_modules=[q], layers_to_transform=[1], layers_pattern=LAYERS[family], bias="all"),
        "excluded": dict(target_modules=[q, DOWN[family]], exclude_modules=rf".*\.0\..*{q}"),
        "pissa": dict(target_modules=[q], init_lora_weights="pissa"),
        "olora": dict(target_modules=[q], init_lora_weights="olora"),
        "orthogonal": dict(target_modules=[q], init_lora_weights="orthogonal", r=4),
    }
    if family != "t5":
        settings["embedding"] = dict(target_modules=[q, EMBEDDINGS[family]])
    plain = dict(r=3, lora_alpha=7, task_type=task)
    configs = {name: LoraConfig(**{**plain, **setting}) for name, setting in settings.items()}
    configs["prompt"] = PromptTuningConfig(num_virtual_tokens=6, task_type=task)
    configs["ia3"] = IA3Config(target_modules=[q, DOWN[family]], feedforward_modules=[DOWN[family]], task_type=task)
    configs["vera"] = VeraConfig(target_modules=[q, DOWN[family]], r=5, projection_prng_key=9, save_projection=False,
                                 task_type=task)
    configs["prefix"] = PrefixTuningConfig(num_virtual_tokens=6, task_type=task)
    for name, config in configs.items():
        if not known_to_peft(family, model_name, name):
            continue
        torch.manual_seed(1)
        model = getattr(transformers, kind).from_pretrained(folder / "model", dtype=torch.float32)
        adapted = get_peft_model(model, config)
        with torch.no_grad():
            for key, tensor in adapted.named_parameters():
                if tensor.requires_grad:
                    tensor.mul_(1.2).add_(torch.randn_like(tensor) * 0.2)
        adapted.save_pretrained(folder / name / "adapter")
        save_file({"outputs": outputs(adapted)}, folder / name / "outputs.safetensors")


def main(program, chosen):
    for name in chosen or FAMILIES:
        family, task, peft_task, kind, config = FAMILIES[name]
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = Path(folder) / name, Path(folder) / "theirs"
            for place in (ours, theirs):
                base_model(kind, config, place / "model")
            subprocess.run([program, "save", ours, task], check=True)
            load_here(ours, family, kind)
            save_there(theirs, name, family, peft_task, kind)
            subprocess.run([program, "check", theirs, task], check=True)


main(sys.argv[1], sys.argv[2:])
