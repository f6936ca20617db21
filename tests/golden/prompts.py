"""Golden values of prompt tuning and prefix tuning on every kind of family, by transformers and PEFT on tiny random models.

    python tests/golden/prompts.py

writes tests/golden/prompts/<case>/ and tests/golden/prefixes/<case>/: `adapter/` (saved by PEFT with values far from its first ones), `values.safetensors`
(padded texts, scores, gradients, and every trained tensor after 20 steps) and `values.json` (losses, continuations,
versions). The models are those of the other golden files; the T5 is of this one. BERT and RoBERTa have their virtual tokens
behind the first token, which PEFT cannot do: their values are computed here from transformers' `inputs_embeds`.

A step is AdamW's with a learning rate of 0.02 (T5: 0.003), a weight decay of 0.01, betas 0.9 and 0.999, eps 1e-8, without clipping, over
the same batch each time; the loss is the mean over its tokens (or rows, of classifiers).
"""

import json
import shutil

import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (BertForQuestionAnswering, BertForSequenceClassification, DynamicCache, Gemma3ForCausalLM, LlamaForCausalLM,
                          RobertaForSequenceClassification, T5Config, T5ForConditionalGeneration)

from common import HERE, masked_loss, prompts, save_adapter, versions, write_json

# PEFT 0.19 keeps a method that transformers has renamed; it is used in generation alone.
if not hasattr(T5ForConditionalGeneration, "_prepare_encoder_decoder_kwargs_for_generation"):
    T5ForConditionalGeneration._prepare_encoder_decoder_kwargs_for_generation = None

STEPS, RATE, DECAY = 20, 0.02, 0.01
TOKENS = 5
LENGTHS = [21, 9, 14]
NEW_TOKENS = 10
DECODERS = {"llama": (LlamaForCausalLM, "llama/untied_grouped/model"),
            # Of the layers three see seven positions, fewer than every text with its prompt has.
            "gemma3": (Gemma3ForCausalLM, "decoders/gemma3_text/model")}
ENCODERS = {"bert": (BertForSequenceClassification, "bert_classifier", [2, 0, 1]),
            "roberta": (RobertaForSequenceClassification, "roberta_classifier", [3, 1, 0]),
            "bert_answers": (BertForQuestionAnswering, "bert_answers", None)}
T5 = dict(vocab_size=40, d_model=16, d_kv=6, d_ff=20, num_heads=3, relative_attention_num_buckets=8, num_layers=2,
          relative_attention_max_distance=12, dropout_rate=0.0, decoder_start_token_id=5, pad_token_id=0, eos_token_id=1,
          feed_forward_proj="gated-gelu", tie_word_embeddings=False)
ANSWERS = [6, 17, 3]


def padded(rows, fill):
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def shaken(model, seed, prompt=0.4, others=0.2):
    """Values that are far from the first ones for what trains of an adapter."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "prompt_encoder" in name:
                tensor.normal_(0, prompt)
            elif "lora_" in name:
                tensor.normal_(0, others)


def steps(trained, loss_of, rate):
    """The loss before each step and after the last, and what was trained at the end."""
    optimizer = torch.optim.AdamW([tensor for _, tensor in trained], lr=rate, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=DECAY)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < losses[0], losses
    return losses, {f"final.{name}": tensor.detach().clone() for name, tensor in trained}


def own_name(name):
    if name.startswith("prompt_encoder."):
        return "prompt_embeddings"
    return name.removeprefix("base_model.").replace(".modules_to_save", "").replace(".default", "")


def learned(model, forward, tensors, values, rate=RATE, name_of=own_name):
    """Scores, loss and gradients of an adapted model, then steps of it."""
    trained = [(name_of(name), tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    scores, loss = forward()
    loss.backward()
    tensors["scores"], values["loss"] = scores.detach().clone(), loss.item()
    for name, tensor in trained:
        tensors[f"gradient.{name}"] = tensor.grad.clone()
    values["losses"], final = steps(trained, lambda: forward()[1], rate)
    values["learning_rate"] = rate
    tensors.update(final)


def continued(scores_of, ends, text):
    """Greedy tokens one by one over the whole text, without a cache; nothing at a near tie."""
    made = []
    for _ in range(NEW_TOKENS):
        scores = scores_of(made)
        best, second = scores.topk(2).values.tolist()
        if best - second < 3e-4:
            return None
        token = int(scores.argmax())
        if token in ends:
            break
        made.append(token)
    return {"prompt": text, "greedy": made}


def generation(scores_of, vocabulary, seed, lengths):
    found = []
    for length in lengths:
        for attempt in range(300):
            text = prompts(seed + 1000 * attempt + length, [length], vocabulary)[0]
            made = continued(lambda made: scores_of(text, made), [], text)
            if made is not None and len(set(made["greedy"])) > 2:
                found.append(made)
                break
        else:
            raise SystemExit(f"no prompt of length {length} without a near tie")
    return found


def save(folder, tensors, values):
    exact = lambda tensor: tensor.float() if tensor.is_floating_point() else tensor
    save_file({name: exact(tensor).contiguous() for name, tensor in tensors.items()}, folder / "values.safetensors")
    write_json(folder / "values.json", {"versions": versions(), "generator": "tests/golden/prompts.py", "steps": STEPS,
                                        "learning_rate": RATE, "weight_decay": DECAY, "tokens": TOKENS, **values})


def save_prompt(model, folder):
    """As `save_adapter`, for a method without targets."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = ""
    write_json(folder / "adapter_config.json", config)


def empty(case):
    folder = HERE / "prompts" / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def decoder(case, seed):
    kind, path = DECODERS[case]
    model = kind.from_pretrained(HERE / path, dtype=torch.float32, attn_implementation="eager")
    vocabulary = model.config.vocab_size
    adapted = get_peft_model(model, PromptTuningConfig(num_virtual_tokens=TOKENS, task_type="CAUSAL_LM"))
    shaken(adapted, seed)
    folder = empty(case)
    save_prompt(adapted, folder / "adapter")
    tokens = padded(prompts(seed, LENGTHS, vocabulary), 0)
    seen = torch.tensor([[int(at < length) for at in range(max(LENGTHS))] for length in LENGTHS])
    mask = torch.tensor([[int(3 <= at < length and at % 3 != 1) for at in range(max(LENGTHS))] for length in LENGTHS])

    def forward():
        # Without a cache: it would remember the training steps' graph.
        logits = adapted(input_ids=tokens, attention_mask=seen, use_cache=False).logits[:, TOKENS:]
        return logits, masked_loss(logits, tokens, mask)

    def scores_of(text, made):
        return adapted(input_ids=torch.tensor([text + made]), use_cache=False).logits[0, -1]

    tensors, values = {"tokens": tokens, "loss_mask": mask}, {"lengths": LENGTHS}
    with torch.no_grad():
        values["generation"] = generation(scores_of, vocabulary, seed, [1, 12, 5, 9, 17, 3])
        first = values["generation"][1]
        made = adapted.generate(input_ids=torch.tensor([first["prompt"]]), attention_mask=torch.ones(1, 12, dtype=torch.long),
                                do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=None, pad_token_id=0)
        assert made[0, 12:].tolist() == first["greedy"], (made, first)
    learned(adapted, forward, tensors, values)
    save(folder, tensors, values)


def t5_model(seed, folder):
    config = T5Config(**T5)
    config._attn_implementation = "eager"
    model = T5ForConditionalGeneration(config).float()
    model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            tensor.uniform_(0.5, 1.5) if key.endswith("layer_norm.weight") else tensor.normal_(0, 0.25 if key.endswith(("q.weight", "k.weight")) else 0.5)
            if key.endswith("relative_attention_bias.weight"):
                tensor.mul_(4)
    (folder / "model").mkdir(parents=True)
    kept = {key: tensor.detach().clone() for key, tensor in model.named_parameters()}
    save_file(kept, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "model" / "config.json", {**T5, "model_type": "t5", "architectures": ["T5ForConditionalGeneration"]})
    # Softmax of scores that are not divided by √width loses many bits in single precision.
    return model.double()


def t5(seed):
    """A prompt alone, and LoRA beside it, both on one T5; and the same prompt in a file with a second block, which PEFT
    writes unless it is told otherwise, and which it does not read."""
    folder = empty("t5")
    texts, answers = prompts(seed, LENGTHS, T5["vocab_size"]), prompts(seed + 1, ANSWERS, T5["vocab_size"])
    ids, labels = padded(texts, 0), padded(answers, -100)
    mask = padded([[1] * length for length in LENGTHS], 0)
    for case in ("prompt", "both"):
        model = t5_model(seed, folder) if case == "prompt" else T5ForConditionalGeneration(model.config).double()
        if case == "both":
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
            model.load_state_dict(weights)
            # Without a task: PEFT 0.19 looks for a method that transformers 5 has not.
            lora = get_peft_model(model, LoraConfig(r=2, lora_alpha=5, lora_dropout=0.0, target_modules=["q", "v"]))
            shaken(lora, seed + 2, others=0.1)
            save_adapter(lora.float(), folder / case / "lora")
            model = lora.double().base_model.model
        weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        adapted = get_peft_model(model, PromptTuningConfig(num_virtual_tokens=TOKENS, task_type="SEQ_2_SEQ_LM",
                                                           num_transformer_submodules=1))
        for name, tensor in adapted.named_parameters():
            tensor.requires_grad_("lora_" in name or "prompt_encoder" in name)
        shaken(torch.nn.ModuleDict({"prompt_encoder": adapted.prompt_encoder}), seed + 3, 0.8)
        save_prompt(adapted.float(), folder / case / "adapter" if case == "prompt" else folder / case / "prompt")
        adapted.double()

        def forward(model=adapted):
            out = model(input_ids=ids, attention_mask=mask, labels=labels)
            return out.logits, out.loss

        def scores_of(text, made, model=adapted):
            start = torch.tensor([[T5["decoder_start_token_id"]] + made])
            return model(input_ids=torch.tensor([text]), decoder_input_ids=start, use_cache=False).logits[0, -1]

        tensors, values = {"ids": ids, "mask": mask, "labels": labels}, {"lengths": LENGTHS, "answers": ANSWERS}
        with torch.no_grad():
            values["generation"] = generation(scores_of, T5["vocab_size"], seed, [4, 15, 8])
            if case == "prompt":
                expected, first = forward()[0], adapted.prompt_encoder.default.embedding.weight.clone()
        learned(adapted, forward, tensors, values, 0.003)
        if case == "both":
            write_json(folder / case / "adapters.json", ["lora", "prompt"])
        save(folder / case, tensors, values)
        if case == "prompt":
            model = adapted.base_model
            two = get_peft_model(T5ForConditionalGeneration(model.config).double(), PromptTuningConfig(
                num_virtual_tokens=TOKENS, task_type="SEQ_2_SEQ_LM"))
            two.base_model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
            two.base_model.load_state_dict(weights)
            shaken(two, seed + 4, 0.8)
            with torch.no_grad():
                two.prompt_encoder.default.embedding.weight[:TOKENS] = first
                found = forward(two)[0]
            assert (found - expected).abs().max() < 1e-6 * expected.abs().max()
            save_prompt(two.float(), folder / "two_blocks")
            assert json.loads((folder / "two_blocks" / "adapter_config.json").read_text())["num_transformer_submodules"] == 2


def encoder(case, seed):
    kind, name, labels = ENCODERS[case]
    model = kind.from_pretrained(HERE / "encoders" / name / "model", dtype=torch.float32, attn_implementation="eager").train()
    count, lengths = 3, [13, 8, 4]
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((3, max(lengths)), model.config.pad_token_id)
    types, seen = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, model.config.vocab_size, (length,), generator=generator)
        seen[row, :length] = 1
        if model.config.type_vocab_size > 1:
            types[row, length // 2:length] = 1
    torch.manual_seed(seed)
    prompt = torch.nn.Parameter(torch.empty(count, model.config.hidden_size).normal_(0, 0.4))
    base = getattr(model, model.base_model_prefix)
    trained = [("prompt_embeddings", prompt)]
    for key, tensor in model.named_parameters():
        head = key.split(".")[0] in ("classifier", "qa_outputs")
        tensor.requires_grad_(head)
        if head:
            trained.append((key, tensor))

    def behind_first(own, virtual):
        return torch.cat([own[:, :1], virtual, own[:, 1:]], 1)

    def forward():
        mask = behind_first(seen, torch.ones(3, count, dtype=torch.long))
        positions = torch.arange(mask.shape[1]).expand_as(mask)
        if case == "roberta":
            positions = mask.cumsum(1) * mask + model.config.pad_token_id
        hidden = base(
            inputs_embeds=behind_first(base.embeddings.word_embeddings(ids), prompt.expand(3, -1, -1)), attention_mask=mask,
            token_type_ids=behind_first(types, torch.zeros(3, count, dtype=torch.long)), position_ids=positions,
        ).last_hidden_state
        own = torch.cat([hidden[:, :1], hidden[:, 1 + count:]], 1)
        if labels is None:
            scores = model.qa_outputs(own)
            return scores, (scores * seen[..., None]).square().mean()
        scores = model.classifier(own) if case == "roberta" else model.classifier(base.pooler(own))
        return scores, torch.nn.functional.cross_entropy(scores, torch.tensor(labels))

    folder = empty(case)
    kept = {("base_model." if key != "prompt_embeddings" else "") + key: tensor.detach().clone() for key, tensor in trained}
    (folder / "adapter").mkdir()
    save_file(kept, folder / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.config
    write_json(folder / "adapter" / "adapter_config.json", {
        "peft_type": "PROMPT_TUNING", "task_type": "SEQ_CLS" if labels else "QUESTION_ANS", "num_virtual_tokens": count,
        "token_dim": config.hidden_size, "num_layers": config.num_hidden_layers, "virtual_tokens_after": 1,
        "num_attention_heads": config.num_attention_heads, "num_transformer_submodules": 1, "inference_mode": True,
        "modules_to_save": ["classifier" if labels else "qa_outputs"], "base_model_name_or_path": ""})
    tensors = {"ids": ids, "types": types, "mask": seen}
    values = {"lengths": lengths, "labels": labels, "model": f"encoders/{name}/model"}
    scores, loss = forward()
    loss.backward()
    tensors["scores"], values["loss"] = scores.detach(), loss.item()
    tensors.update({f"gradient.{key}": tensor.grad.clone() for key, tensor in trained})
    values["losses"], final = steps(trained, lambda: forward()[1], RATE)
    tensors.update(final)
    save(folder, tensors, values)


def saved_prefix(adapted, case, folder=None):
    folder = folder or HERE / "prefixes" / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_prompt(adapted, folder / "adapter")
    return folder


def prefix_name(name):
    if name.startswith("prompt_encoder."):
        part = name.removeprefix("prompt_encoder.default.")
        return "prefix_embeddings" if part == "embedding.weight" else part.replace("transform", "prefix_projection")
    return own_name(name)


def prefix_decoder(case, seed, projection=None):
    """PEFT's for a Llama. For a Gemma 3 of more than two layers PEFT 0.19 asks for layers that are not there: its cache is
    filled here, layer by layer, as PEFT fills that of other families."""
    kind, path = DECODERS[case]
    model = kind.from_pretrained(HERE / path, dtype=torch.float32, attn_implementation="eager")
    vocabulary, config = model.config.vocab_size, model.config
    settings = dict(prefix_projection=True, encoder_hidden_size=projection) if projection else {}
    adapted = get_peft_model(model, PrefixTuningConfig(num_virtual_tokens=TOKENS, task_type="CAUSAL_LM", **settings))
    shaken(adapted, seed, 0.7)
    folder = saved_prefix(adapted, case + ("_projected" if projection else ""))
    tokens = padded(prompts(seed, LENGTHS, vocabulary), 0)
    mask = torch.tensor([[int(3 <= at < length and at % 3 != 1) for at in range(max(LENGTHS))] for length in LENGTHS])
    encoder, width = adapted.prompt_encoder.default, config.head_dim * config.num_key_value_heads

    def scored(ids):
        if case == "llama":
            return adapted(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        numbers = encoder(torch.arange(TOKENS)).view(TOKENS, config.num_hidden_layers * 2, config.num_key_value_heads, config.head_dim)
        numbers = numbers.permute(1, 2, 0, 3)[:, None].expand(-1, len(ids), -1, -1, -1)
        cache = DynamicCache(config=config)
        for layer in range(config.num_hidden_layers):
            cache.update(numbers[2 * layer], numbers[2 * layer + 1], layer)
        return model(input_ids=ids, past_key_values=cache).logits

    def forward():
        logits = scored(tokens)
        return logits, masked_loss(logits, tokens, mask)

    tensors, values = {"tokens": tokens, "loss_mask": mask}, {"lengths": LENGTHS}
    with torch.no_grad():
        values["generation"] = generation(lambda text, made: scored(torch.tensor([text + made]))[0, -1], vocabulary, seed,
                                          [1, 12, 5, 9, 17, 3])
    if projection:
        tensors.update({f"first.{prefix_name(name)}": tensor.detach().clone()
                        for name, tensor in adapted.named_parameters() if tensor.requires_grad})
    learned(adapted, forward, tensors, values, name_of=prefix_name)
    save(folder, tensors, values)


def prefix_t5(seed):
    global T5
    kept, T5 = T5, dict(T5, num_layers=3)
    folder = HERE / "prefixes" / "t5"
    shutil.rmtree(folder, ignore_errors=True)
    model = t5_model(seed, folder)
    adapted = get_peft_model(model, PrefixTuningConfig(num_virtual_tokens=TOKENS, task_type="SEQ_2_SEQ_LM",
                                                       token_dim=18, num_attention_heads=3))
    shaken(adapted, seed + 1, 0.7)
    save_prompt(adapted.float(), folder / "adapter")
    adapted.double()
    texts, answers = prompts(seed, LENGTHS, T5["vocab_size"]), prompts(seed + 1, ANSWERS, T5["vocab_size"])
    ids, labels = padded(texts, 0), padded(answers, -100)
    mask = padded([[1] * length for length in LENGTHS], 0)

    def forward():
        out = adapted(input_ids=ids, attention_mask=mask, labels=labels)
        return out.logits, out.loss

    def scores_of(text, made):
        start = torch.tensor([[T5["decoder_start_token_id"]] + made])
        return adapted(input_ids=torch.tensor([text]), decoder_input_ids=start).logits[0, -1]

    tensors, values = {"ids": ids, "mask": mask, "labels": labels}, {"lengths": LENGTHS, "answers": ANSWERS}
    with torch.no_grad():
        values["generation"] = generation(scores_of, T5["vocab_size"], seed, [4, 15, 8])
    learned(adapted, forward, tensors, values, 0.003, name_of=prefix_name)
    save(folder, tensors, values)
    T5 = kept


def prefix_encoder(case, seed):
    """By PEFT, each row alone: for padded ones it makes a mask that is too short."""
    kind, name, labels = ENCODERS[case]
    model = kind.from_pretrained(HERE / "encoders" / name / "model", dtype=torch.float32, attn_implementation="eager")
    lengths = [13, 8, 4]
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, model.config.vocab_size, (1, length), generator=generator) for length in lengths]
    pairs = [torch.tensor([[int(model.config.type_vocab_size > 1 and at >= length // 2) for at in range(length)]]) for length in lengths]
    adapted = get_peft_model(model, PrefixTuningConfig(num_virtual_tokens=3, task_type="SEQ_CLS"))
    shaken(adapted, seed, 0.7)
    folder = saved_prefix(adapted, case)

    def forward():
        scores = torch.cat([adapted(input_ids=ids, token_type_ids=types, attention_mask=torch.ones_like(ids)).logits
                            for ids, types in zip(rows, pairs)])
        return scores, torch.nn.functional.cross_entropy(scores, torch.tensor(labels))

    fill = lambda rows, value: padded([row[0].tolist() for row in rows], value)
    tensors = {"ids": fill(rows, model.config.pad_token_id), "types": fill(pairs, 0)}
    values = {"lengths": lengths, "labels": labels, "model": f"encoders/{name}/model"}
    learned(adapted, forward, tensors, values, name_of=prefix_name)
    save(folder, tensors, values)


if __name__ == "__main__":
    for seed, case in enumerate(DECODERS, start=400):
        decoder(case, seed)
    t5(410)
    for seed, case in enumerate(ENCODERS, start=420):
        encoder(case, seed)
    for seed, case in enumerate(DECODERS, start=430):
        prefix_decoder(case, seed)
    prefix_decoder("llama", 435, projection=7)
    prefix_t5(440)
    for seed, case in enumerate(("bert", "roberta"), start=450):
        prefix_encoder(case, seed)
