"""Golden values of BERT and RoBERTa with their heads, and of LoRA beside a head, by transformers and PEFT on tiny random
models.

    python tests/golden/encoders.py

writes tests/golden/encoders/<variant>/: `model/` (a Hugging Face folder), `values.safetensors` (padded texts, hidden states,
scores, gradients), `values.json` (losses, settings, versions), where a variant has one `lora/` (saved by PEFT; its tensors
again in `adapter_model.bin`), and `bf16.safetensors` (hidden states, scores, loss and gradients of the same model in bfloat16).
"""

import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (BertConfig, BertForQuestionAnswering, BertForSequenceClassification, BertModel, RobertaConfig,
                          RobertaForQuestionAnswering, RobertaForSequenceClassification)

from common import HERE, randomize_adapter, save_adapter, versions, write_json

SIZES = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=20, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
BERT = dict(SIZES, type_vocab_size=2, pad_token_id=0)
ROBERTA = dict(SIZES, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5)
LENGTHS = [13, 8, 4]

VARIANTS = {
    "bert_classifier": (BertForSequenceClassification, BertConfig(**BERT, num_labels=3), [2, 0, 1]),
    "bert_regression": (BertForSequenceClassification, BertConfig(**BERT, num_labels=1, hidden_act="gelu_new"), [0.3, -1.2, 2.5]),
    "bert_answers": (BertForQuestionAnswering, BertConfig(**BERT, hidden_act="relu"), [(3, 5), (6, 6), (0, 0)]),
    "bert_headless": (BertModel, BertConfig(**BERT), None),
    "roberta_classifier": (RobertaForSequenceClassification, RobertaConfig(**ROBERTA, num_labels=4), [3, 1, 0]),
    "roberta_regression": (RobertaForSequenceClassification, RobertaConfig(**ROBERTA, num_labels=1), [1.5, 0.0, -0.7]),
    "roberta_answers": (RobertaForQuestionAnswering, RobertaConfig(**ROBERTA), [(9, 12), (1, 4), (2, 3)]),
}


def randomize(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "LayerNorm.weight" in name:
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(".bias"):
                tensor.normal_(0, 0.3)
            else:
                tensor.normal_(0, 0.3)


class RoundsEachStep(torch.nn.Module):
    """A layer norm as it must not be computed in bfloat16: the golden values have to tell it from the right one."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.norm.eps) * self.norm.weight + self.norm.bias


def in_bf16(kind, folder, inputs, scores):
    """The model in bfloat16, with the kernels of attention that transformers takes by itself. Its `gelu_new` rounds after
    each of its steps; here it is the function of torch, which rounds once."""
    model = kind.from_pretrained(folder / "model", dtype=torch.bfloat16, attn_implementation="sdpa").train()
    base = getattr(model, model.base_model_prefix)
    if model.config.hidden_act == "gelu_new":
        for layer in base.encoder.layer:
            layer.intermediate.intermediate_act_fn = torch.nn.GELU(approximate="tanh")
    with torch.no_grad():
        tensors = {"hidden": base(**inputs).last_hidden_state, "scores": scores(model)[0]}
    loss = scores(model)[1]
    loss.backward()
    tensors["loss"] = loss.detach()
    tensors |= {f"gradient.{key}": tensor.grad for key, tensor in model.named_parameters() if tensor.grad is not None}
    for holder in list(model.modules()):
        for key, part in list(holder.named_children()):
            if isinstance(part, torch.nn.LayerNorm):
                setattr(holder, key, RoundsEachStep(part))
    with torch.no_grad():
        tensors["hidden_of_wrong_norms"] = base(**inputs).last_hidden_state
    assert all(tensor.dtype == torch.bfloat16 for tensor in tensors.values())
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "bf16.safetensors")


def generate(seed, name):
    kind, config, labels = VARIANTS[name]
    config._attn_implementation = "eager"
    model = kind(config).float().train()
    randomize(model, seed)
    folder = HERE / "encoders" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder / "model")

    generator = torch.Generator().manual_seed(seed)
    width = max(LENGTHS)
    ids = torch.full((len(LENGTHS), width), config.pad_token_id)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        ids[row, :length] = torch.randint(3, config.vocab_size, (length,), generator=generator)
        mask[row, :length] = 1
        if config.type_vocab_size > 1:
            types[row, length // 2:length] = 1
    inputs = dict(input_ids=ids, attention_mask=mask, token_type_ids=types)
    base = model if kind is BertModel else getattr(model, model.base_model_prefix)
    tensors = {"ids": ids, "types": types, "mask": mask, "hidden": base(**inputs).last_hidden_state.detach()}
    values = {"versions": versions(), "generator": "tests/golden/encoders.py", "lengths": LENGTHS, "labels": labels, "loss": {}}

    def scores(model):
        if isinstance(labels[0], tuple):
            # Each row by itself: in a padded batch transformers' loss lets padding take part.
            rows = []
            for row, (length, (start, end)) in enumerate(zip(LENGTHS, labels)):
                alone = {key: tensor[row:row + 1, :length] for key, tensor in inputs.items()}
                rows.append(model(**alone, start_positions=torch.tensor([start]), end_positions=torch.tensor([end])).loss)
            out = model(**inputs)
            return torch.stack([out.start_logits, out.end_logits], -1), torch.stack(rows).mean()
        out = model(**inputs, labels=torch.tensor(labels, dtype=next(model.parameters()).dtype if config.num_labels == 1 else None))
        return out.logits, out.loss

    if labels:
        found, loss = scores(model)
        loss.backward()
        tensors["scores"], values["loss"]["full"] = found.detach(), loss.item()
        for key, tensor in model.named_parameters():
            if tensor.grad is not None:
                tensors[f"full.gradient.{key}"] = tensor.grad.clone()
        model.zero_grad()
    if name in ("roberta_classifier", "bert_answers"):
        task = "SEQ_CLS" if name == "roberta_classifier" else "QUESTION_ANS"
        adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=7.5, lora_dropout=0.0, task_type=task,
                                                   target_modules=["query", "value", "intermediate.dense"]))
        randomize_adapter(adapted, seed + 100)
        adapted.train()
        # The model itself: around it, PEFT's class for answers forgets the token types.
        found, loss = scores(adapted.base_model)
        loss.backward()
        tensors["lora.scores"], values["loss"]["lora"] = found.detach(), loss.item()
        for key, tensor in adapted.named_parameters():
            if tensor.requires_grad:
                key = key.removeprefix("base_model.model.").replace(".modules_to_save", "").replace(".default", "")
                tensors[f"lora.gradient.{key}"] = tensor.grad
        save_adapter(adapted, folder / "lora")
        # The same as PEFT wrote it in earlier years.
        adapted.save_pretrained(folder / "older", safe_serialization=False)
        (folder / "older" / "adapter_model.bin").rename(folder / "adapter_model.bin")
        shutil.rmtree(folder / "older")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "values.safetensors")
    write_json(folder / "values.json", values)
    if labels:
        in_bf16(kind, folder, inputs, scores)


for seed, name in enumerate(VARIANTS, start=50):
    generate(seed, name)
