"""Golden values of the decoder families beside Llama 1 to 3, by transformers on tiny random models.

    python tests/golden/decoders.py [VARIANT…]

writes tests/golden/decoders/<variant>/: `model/` (a Hugging Face folder), `values.safetensors` (tokens, hidden states,
logits, gradients of every tensor, and the same forward pass in bfloat16) and `values.json` (losses, continuations,
versions). Sliding windows are shorter than the texts, so that a wrong window shows.
"""

import json
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import (Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig, LlamaConfig,
                          LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

from common import HERE, masked_loss, prompts, versions, write_json

SHAPE = dict(vocab_size=43, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
             rms_norm_eps=1e-5)
GEMMA = dict(SHAPE, num_hidden_layers=4, head_dim=8, query_pre_attn_scalar=11, sliding_window=7, sliding_window_pattern=3)
GEMMA_ROPE = {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
              "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}}
VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)


def rope(**settings):
    return {"rope_type": "default", "rope_theta": 2000.0, **settings}


VARIANTS = {
    "gemma3_text": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA, rope_parameters=GEMMA_ROPE, final_logit_softcapping=1.5)),
    "gemma3_nested": lambda: Gemma3ForConditionalGeneration(Gemma3Config(
        text_config=dict(GEMMA, rope_parameters=GEMMA_ROPE, num_hidden_layers=3, attention_bias=True),
        vision_config=VISION, mm_tokens_per_image=4, image_token_index=42, boi_token_index=40, eoi_token_index=41)),
    "llama_linear": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=rope(rope_type="linear", factor=4.0))),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, head_dim=8, sliding_window=7, rope_parameters=rope())),
    "mistral_no_window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None, rope_parameters=rope())),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=7, max_window_layers=1,
                                                  tie_word_embeddings=True, rope_parameters=rope())),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8, use_sliding_window=True, sliding_window=7,
                                                  layer_types=["sliding_attention", "full_attention"],
                                                  rope_parameters=rope())),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SHAPE, head_dim=8, sliding_window=7, rope_parameters=rope())),
    "phi3_partial": lambda: Phi3ForCausalLM(Phi3Config(**{**SHAPE, "num_key_value_heads": 1, "hidden_size": 32},
                                                       tie_word_embeddings=True,
                                                       rope_parameters=rope(partial_rotary_factor=0.5))),
}
LENGTHS = [29, 13]
NEW_TOKENS = 14


def randomize(model, seed):
    """Gives every tensor values that are far from one and zero."""
    torch.manual_seed(seed)
    shifted = "Gemma" in type(model).__name__
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "norm" in name and name.endswith(".weight"):
                tensor.uniform_(-0.5, 0.5)
                if not shifted:
                    tensor.add_(1.0)
            elif name.endswith(".bias"):
                tensor.normal_(0, 0.3)
            else:
                # Scaled embeddings stay small beside what the layers add, or a text would only repeat its last token.
                tensor.normal_(0, 0.05 if shifted and "embed_tokens" in name else 0.25)
    model.tie_weights()


def continuation(model, prompt):
    """Greedy tokens one by one over the whole text, without a cache."""
    text = list(prompt)
    for _ in range(NEW_TOKENS):
        scores = model(input_ids=torch.tensor([text])).logits[0, -1]
        best, second = scores.topk(2).values.tolist()
        if best - second < 3e-4:
            return None
        text.append(int(scores.argmax()))
    return text[len(prompt):]


def generation(model, seed, vocabulary):
    """Prompts shorter and longer than the windows, none of which meets a near tie: that would prove nothing."""
    found = []
    for length in (1, 12, 5, 9, 17, 3):
        for attempt in range(300):
            prompt = prompts(seed + 1000 * attempt + length, [length], vocabulary)[0]
            made = continuation(model, prompt)
            if made is not None and len(set(made)) > 2:
                found.append({"prompt": prompt, "greedy": made})
                break
        else:
            raise SystemExit(f"no prompt of length {length} without a near tie")
    return found


def forward(model, tokens, mask):
    output = model(input_ids=tokens, output_hidden_states=True)
    return output.hidden_states[-1], output.logits, masked_loss(output.logits, tokens, mask)


def old_gemma_keys(folder):
    """Writes the configuration once more as the files of 2025 have it."""
    config = json.loads((folder / "model" / "config.json").read_text())
    config = config.get("text_config", config)
    full = config.pop("rope_parameters")["full_attention"]
    config.pop("layer_types")
    config.update(rope_theta=full.pop("rope_theta"), rope_local_base_freq=300.0, rope_scaling=full,
                  sliding_window_pattern=3)
    write_json(folder / "config_old_keys.json", config)


def generate(name, seed):
    torch.manual_seed(seed)
    model = VARIANTS[name]().float().eval()
    model.set_attn_implementation("eager")
    randomize(model, seed)
    folder = HERE / "decoders" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder / "model")
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)

    rows = prompts(seed, LENGTHS, 40)
    tokens = torch.tensor([row + [0] * (max(LENGTHS) - len(row)) for row in rows])
    mask = torch.tensor([[3 <= at < length and at % 3 != 1 for at in range(max(LENGTHS))] for length in LENGTHS])
    hidden, logits, loss = forward(model, tokens, mask)
    loss.backward()
    tensors = {"tokens": tokens, "loss_mask": mask.to(torch.uint8), "hidden": hidden.detach(), "logits": logits.detach()}
    for parameter, tensor in model.named_parameters():
        if tensor.grad is not None:
            tensors[f"gradient.{parameter}"] = tensor.grad
    with torch.no_grad():
        values = {"versions": versions(), "generator": "tests/golden/decoders.py", "loss": loss.item(),
                  "lengths": LENGTHS, "generation": generation(model, seed, 40)}
    # Loaded anew: bfloat16() has rounded the rotary frequencies too, which no file holds.
    half = type(model).from_pretrained(folder / "model", dtype=torch.bfloat16, attn_implementation="eager").eval()
    hidden, logits, loss = forward(half, tokens, mask)
    loss.backward()
    tensors.update({"bf16.hidden": hidden.detach(), "bf16.logits": logits.detach()})
    values["bf16_loss"] = loss.item()
    pairs = [(exact.grad, rounded.grad.float()) for exact, rounded in zip(model.parameters(), half.parameters())
             if exact.grad is not None]
    off = sum((rounded - exact).square().sum() for exact, rounded in pairs) / sum(exact.square().sum() for exact, _ in pairs)
    values["bf16_gradients_off"] = off.sqrt().item()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "values.safetensors")
    write_json(folder / "values.json", values)
    if name == "gemma3_text":
        old_gemma_keys(folder)


for seed, name in enumerate(VARIANTS, start=60):
    if name in (sys.argv[1:] or VARIANTS):
        generate(name, seed)
