"""Golden values of token ids, by Hugging Face's Python tokenizers: run `python tokenizer.py` in this folder.

Writes, for each kind of tokenizer, the folder `<kind>/` with a small `tokenizer.json` trained here, and `tokenizer.json`'s
expected ids of some texts, encoded the way `tokenize` does: prompt and completion apart, special-token text as text.
"""

import json
import pathlib

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The river runs through the old town, and the town sleeps by the river.",
    "Where does the river run? It runs through the town.",
    "Łódź, 北京 and Zürich are cities; naïve café façades, 12345 + 678 = 13023.",
    "Passage: Mira was born in Ulm.\nQuestion: Where was Mira born?\nAnswer: Ulm",
] * 8

TEXTS = [
    "",
    " ",
    "Where was Mira born?",
    " Ulm",
    "  two  spaces\n\nand\tlines \n",
    "<s>The </s> river <pad>",
    "naïve café 北京 🙂 e\u0301",
    "Passage: Mira was born in Ulm.\nAnswer:",
]


def byte_level():
    """GPT-2's way: bytes as letters, no normaliser."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def llama():
    """Llama 2's way: a space in front, spaces as `▁`, unknown characters as bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, limit_alphabet=60, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    # As in Llama's file, only the first three are special tokens; the bytes are pieces of the model.
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = saved["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def word_piece():
    """BERT's way, with the truncation and padding that sentence-transformers' files carry."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def main():
    here = pathlib.Path(__file__).parent
    for make in [byte_level, llama, word_piece]:
        tokenizer = make()
        plain = Tokenizer.from_str(tokenizer.to_str())
        plain.encode_special_tokens = True
        cases = []
        for text in TEXTS:
            encoding = plain.encode(text, add_special_tokens=False)
            cases.append({"text": text, "ids": encoding.ids, "decoded": plain.decode(encoding.ids)})
        if make is word_piece:
            tokenizer.enable_truncation(5)
            tokenizer.enable_padding(length=5, pad_id=0, pad_token="[PAD]")
        folder = here / make.__name__
        folder.mkdir(exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        golden = {
            "by": f"tokenizers {tokenizers.__version__}",
            "front": [id for id, mask in zip(tokenizer.encode("a").ids, tokenizer.encode("a").special_tokens_mask) if mask][:1],
            "cases": cases,
        }
        (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
