"""Golden values of T5, v1.0 and v1.1, and of LoRA on it, by transformers and PEFT on tiny random models.

    python tests/golden/t5.py

writes tests/golden/t5/<variant>/: `model/` (a Hugging Face folder), `lora/` (saved by PEFT), `values.safetensors` (padded
texts and answers, encoder states, scores, gradients), `values.json` (losses, answers, versions) and `bf16.safetensors`
(encoder states, scores, losses and gradients of the same model in bfloat16).
"""

import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import T5Config, T5ForConditionalGeneration
from transformers.activations import NewGELUActivation
from transformers.models.t5.modeling_t5 import T5LayerNorm

from common import HERE, prompts, randomize_adapter, save_adapter, versions, write_json

SIZES = dict(vocab_size=40, d_model=16, d_kv=6, d_ff=20, num_heads=3, relative_attention_num_buckets=8,
             relative_attention_max_distance=12, dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
VARIANTS = {
    "v1_0": dict(num_layers=2, num_decoder_layers=2, feed_forward_proj="relu"),
    "v1_1": dict(num_layers=2, num_decoder_layers=3, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                 decoder_start_token_id=5),
}
LENGTHS, ANSWERS = [21, 9, 14], [6, 17, 3]


def padded(rows, fill):
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def written(model, prompt, ends, limit):
    """Greedy answers token by token, encoder and decoder anew each time."""
    text, made = [model.config.decoder_start_token_id], []
    for _ in range(limit):
        scores = model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
        best, second = scores.topk(2).values.tolist()
        # A near tie makes an answer that proves nothing.
        token = int(scores.argmax()) if best - second > 1e-3 else None
        if token is None:
            return {"tokens": made + [None], "end": None}
        if token in ends:
            return {"tokens": made, "end": token}
        made.append(token)
        text.append(token)
    return {"tokens": made, "end": None}


def ended_answers(model, texts):
    """Greedy answers that end early and late, and their ends; nothing where the model says the same again and again."""
    free = [written(model, prompt, [], 20)["tokens"] for prompt in texts]
    if any(None in row for row in free):
        return None
    for ends in ([one, other] for one in free[0] for other in free[1]):
        cut = [next((at for at, token in enumerate(row) if token in ends), 20) for row in free]
        if len(set(cut)) == 3 and min(cut) > 1 and max(cut) == 20:
            return ends, [written(model, prompt, ends, 20) for prompt in texts]
    return None


class Norm(torch.nn.Module):
    """T5's norm without the step in between: transformers rounds before it multiplies by the weight, and after it again.
    Or as it must not be computed: each step in bfloat16."""

    def __init__(self, norm, each_step):
        super().__init__()
        self.weight, self.epsilon, self.each_step = norm.weight, norm.variance_epsilon, each_step

    def forward(self, x):
        y, weight = (x, self.weight) if self.each_step else (x.float(), self.weight.float())
        return (y * torch.rsqrt((y * y).mean(-1, keepdim=True) + self.epsilon) * weight).to(x.dtype)


def in_bf16(folder, inputs):
    """The model in bfloat16 with the kernels of attention that transformers takes by itself: as it is (`stock`), with norms
    and gates that round once (`once`), and with norms that round each step (`wrong`)."""
    tensors = {}
    for way in ("stock", "once", "wrong"):
        model = T5ForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.bfloat16, attn_implementation="sdpa")
        for holder in list(model.modules()) if way != "stock" else []:
            for name, part in list(holder.named_children()):
                if isinstance(part, T5LayerNorm):
                    setattr(holder, name, Norm(part, way == "wrong"))
                elif isinstance(part, NewGELUActivation):
                    setattr(holder, name, torch.nn.GELU(approximate="tanh"))
        with torch.no_grad():
            out = model.train()(**inputs)
        found = {"encoded": out.encoder_last_hidden_state, "scores": out.logits, "loss": out.loss}
        if way == "stock":
            model(**inputs).loss.backward()
            found |= {f"gradient.{key}": tensor.grad for key, tensor in model.named_parameters()}
        assert all(tensor.dtype == torch.bfloat16 for tensor in found.values())
        tensors |= {f"{way}.{key}": tensor.contiguous() for key, tensor in found.items()}
    save_file(tensors, folder / "bf16.safetensors")


def generate(seed, name):
    settings = {**SIZES, **VARIANTS[name]}
    config = T5Config(**settings)
    config._attn_implementation = "eager"
    model = T5ForConditionalGeneration(config).float().train()
    untied = settings.get("tie_word_embeddings") is False
    if untied:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            tensor.uniform_(0.5, 1.5) if key.endswith("layer_norm.weight") else tensor.normal_(0, 0.25 if key.endswith(("q.weight", "k.weight")) else 0.5)
            if key.endswith("relative_attention_bias.weight"):
                tensor.mul_(4)
        model.shared.weight.mul_(1 if untied else 1.5)
    assert (model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()) == untied
    folder = HERE / "t5" / name
    shutil.rmtree(folder, ignore_errors=True)
    # As the published checkpoints have it: transformers 5 would write other keys for the head.
    kept = {key: tensor.detach().clone() for key, tensor in model.named_parameters()}
    (folder / "model").mkdir(parents=True)
    save_file(kept, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "model" / "config.json", {**settings, "model_type": "t5", "architectures": ["T5ForConditionalGeneration"]})

    # Computed in double precision: softmax of scores that are not divided by √width loses many bits in single precision.
    model.double()
    texts, answers = prompts(seed, LENGTHS, config.vocab_size), prompts(seed + 1, ANSWERS, config.vocab_size)
    ids, labels = padded(texts, 0), padded(answers, -100)
    mask = padded([[1] * length for length in LENGTHS], 0)
    tensors = {"ids": ids, "mask": mask, "labels": labels,
               "encoded": model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.detach()}
    values = {"versions": versions(), "generator": "tests/golden/t5.py", "lengths": LENGTHS, "answers": ANSWERS, "loss": {}}
    out = model(input_ids=ids, attention_mask=mask, labels=labels)
    out.loss.backward()
    tensors["scores"], values["loss"]["full"] = out.logits.detach(), out.loss.item()
    for key, tensor in model.named_parameters():
        tensors[f"full.gradient.{key}"] = tensor.grad.clone()
    model.zero_grad()

    with torch.no_grad():
        found = ended_answers(model, texts)
        if found is None:
            return False
        ends, greedy = found
        values["generation"] = {"prompts": texts, "end_ids": ends, "max_new_tokens": 20, "greedy": greedy}
        model.config.eos_token_id = model.generation_config.eos_token_id = ends
        made = model.generate(input_ids=ids, attention_mask=mask, num_beams=1, do_sample=False, max_new_tokens=20,
                              # Its cache has as many layers as the encoder.
                              use_cache=config.num_layers == config.num_decoder_layers)
        for row, expected in zip(made.tolist(), greedy):
            wanted = [config.decoder_start_token_id] + expected["tokens"] + ([expected["end"]] if expected["end"] is not None else [])
            assert row[:len(wanted)] == wanted, (row, wanted)

    # Without a task: PEFT 0.19 looks for a method that transformers 5 has not.
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=5, lora_dropout=0.0, target_modules=["q", "v", "wo"]))
    randomize_adapter(adapted, seed + 2, 0.1)
    adapted.float().double()
    adapted.train()
    out = adapted(input_ids=ids, attention_mask=mask, labels=labels)
    out.loss.backward()
    tensors["lora.scores"], values["loss"]["lora"] = out.logits.detach(), out.loss.item()
    for key, tensor in adapted.named_parameters():
        if tensor.requires_grad:
            tensors[f"lora.gradient.{key.removeprefix('base_model.model.').replace('.default', '')}"] = tensor.grad
    save_adapter(adapted.float(), folder / "lora")
    save_file({key: (tensor.float() if tensor.is_floating_point() else tensor).contiguous() for key, tensor in tensors.items()}, folder / "values.safetensors")
    write_json(folder / "values.json", values)
    in_bf16(folder, dict(input_ids=ids, attention_mask=mask, labels=labels))
    return True


for name in VARIANTS:
    next(seed for seed in range(70, 1000) if generate(seed, name))
