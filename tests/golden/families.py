"""A tiny random model of each of three families with a batch and its loss, for methods that stand beside any family.

The encoder has two labels and padding, T5 answers of unlike length, so that masks count.
"""

import torch
from safetensors.torch import save_file
from transformers import RobertaConfig, RobertaForSequenceClassification, T5Config, T5ForConditionalGeneration

from common import llama, prompts, write_json

LENGTHS, ANSWERS = [9, 6], [5, 3]


def padded(rows, fill):
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def make_llama(folder):
    model = llama(5, vocab_size=23, hidden_size=12, intermediate_size=20, num_attention_heads=2, num_key_value_heads=1,
                  attention_bias=True, tie_word_embeddings=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    rows = prompts(5, LENGTHS, 23)
    mask = [[int(2 <= at < length) for at in range(max(LENGTHS))] for length in LENGTHS]
    return model, {"ids": padded(rows, 0), "mask": torch.tensor(mask)}


def make_roberta(folder):
    config = RobertaConfig(vocab_size=23, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
                           max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                           type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, num_labels=3)
    config._attn_implementation = "eager"
    torch.manual_seed(6)
    model = RobertaForSequenceClassification(config).float().train()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.uniform_(0.5, 1.5) if "LayerNorm.weight" in name else tensor.normal_(0, 0.3)
    model.save_pretrained(folder)
    mask = [[int(at < length) for at in range(max(LENGTHS))] for length in LENGTHS]
    return model, {"ids": padded(prompts(6, LENGTHS, 23), 1), "mask": torch.tensor(mask), "labels": torch.tensor([2, 0])}


def make_t5(folder):
    settings = dict(vocab_size=23, d_model=12, d_kv=5, d_ff=16, num_heads=2, num_layers=2, num_decoder_layers=2,
                    relative_attention_num_buckets=8, relative_attention_max_distance=12, dropout_rate=0.0,
                    decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, feed_forward_proj="relu")
    config = T5Config(**settings)
    config._attn_implementation = "eager"
    torch.manual_seed(7)
    model = T5ForConditionalGeneration(config).float().train()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.uniform_(0.5, 1.5) if name.endswith("layer_norm.weight") else tensor.normal_(0, 0.3)
    kept = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    folder.mkdir(parents=True)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {**settings, "model_type": "t5", "architectures": ["T5ForConditionalGeneration"]})
    mask = [[int(at < length) for at in range(max(LENGTHS))] for length in LENGTHS]
    return model, {"ids": padded(prompts(7, LENGTHS, 23), 0), "mask": torch.tensor(mask),
                   "labels": padded(prompts(8, ANSWERS, 23), -100)}


FAMILIES = {"llama": make_llama, "roberta": make_roberta, "t5": make_t5}


def learn(name, model, batch):
    """Outputs and the mean loss."""
    if name == "llama":
        # The mask marks targets.
        logits = model(batch["ids"]).logits
        scores = torch.log_softmax(logits[:, :-1].float(), -1).gather(-1, batch["ids"][:, 1:, None])[..., 0]
        chosen = batch["mask"][:, 1:].float()
        return logits, -(scores * chosen).sum() / chosen.sum()
    out = model(input_ids=batch["ids"], attention_mask=batch["mask"], labels=batch["labels"])
    return out.logits, out.loss


def outputs(name, model, batch):
    return learn(name, model, batch)[0].detach()


def steps(name, model, batch, parameters, count=20):
    """The loss before each of so many steps of AdamW, clipped at a norm of 1, with a constant rate."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses = []
    for _ in range(count):
        loss = learn(name, model, batch)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
