"""Golden values of tokens that stand beside a `tokenizer.json`, by Hugging Face's transformers: run `python beside.py` in this
folder.

Writes `beside/<folder>/` with the files of a tokenizer and `golden.json`: ids of texts as transformers gives them, and with
special tokens as text, what the ids decode to, how many tokens there are, and the added tokens.
"""

import json
import pathlib
import shutil

import transformers

HERE = pathlib.Path(__file__).parent

TEXTS = [
    "",
    "Where was Mira born?",
    "<s>The river<|tool|> runs <|tool|>  through</s>",
    "a [gap]  b[gap]c  [GAP] word words word",
    "<image>  <mask> x <|end|><pad>",
    "naïve [PAD][PAD] 北京 <|a|>b <extra>",
]


def token(content, **settings):
    base = dict(lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
    return {"content": content, **base, **settings}


def size(kind):
    known = json.loads((HERE / kind / "tokenizer.json").read_text())
    return max([*known["model"]["vocab"].values(), *(token["id"] for token in known["added_tokens"])]) + 1


FOLDERS = {
    # As transformers 4 wrote it: all added tokens with their ids, some of them new, one with other settings.
    "numbered": ("byte_level", lambda first: {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
            "mask_token": "<mask>", "image_token": "<image>", "additional_special_tokens": ["<|end|>", "<|tool|>"],
            "added_tokens_decoder": {
                "0": token("<pad>"), "1": token("<s>", lstrip=True, rstrip=True), "2": token("</s>"),
                str(first): token("<|tool|>", rstrip=True), str(first + 1): token("[gap]", special=False, normalized=True),
                str(first + 2): token("word", special=False, single_word=True),
                str(first + 3): token("<mask>", special=False, lstrip=True)}},
        # Not read beside the above.
        "added_tokens.json": {"<|a|>": first}, "special_tokens_map.json": {"pad_token": "[PAD]"}}),
    # Older still: a file of special tokens, and one of added tokens, which are joined in their order.
    "named": ("llama", lambda first: {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<pad>"},
        "special_tokens_map.json": {
            "bos_token": "<s>", "eos_token": token("</s>"), "pad_token": token("[PAD]", rstrip=True),
            "additional_special_tokens": ["<extra>"]},
        "added_tokens.json": {"<|a|>": first, "word": first + 1}}),
    # Nothing that the tokenizer lacks.
    "complete": ("word_piece", lambda first: {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}}),
}

for name, (kind, files) in FOLDERS.items():
    folder = HERE / "beside" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HERE / kind / "tokenizer.json", folder)
    for file, value in files(size(kind)).items():
        (folder / file).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer).__name__ in ("PreTrainedTokenizerFast", "TokenizersBackend"), type(tokenizer)
    cases = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        plain = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        cases.append({"text": text, "ids": ids, "plain": plain, "decoded": tokenizer.backend_tokenizer.decode(ids)})
    added = json.loads(tokenizer.backend_tokenizer.to_str())["added_tokens"]
    golden = {"by": f"transformers {transformers.__version__}", "size": max(tokenizer.get_vocab().values()) + 1,
              "added": added, "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")
