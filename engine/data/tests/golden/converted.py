"""Golden values of tokenizers that are made from older files, by Hugging Face's transformers (and, for SentencePiece models
of no family, by SentencePiece itself): run `python converted.py` in this folder, with transformers, sentencepiece and
protobuf installed.

Trains small models on words of eight languages and writes, in `converted/`:

- `texts.json`: 2,000 texts of eight scripts, emoji, control characters and runs of white space, and some that spell out
  special tokens;
- a folder for each kind with its files and `golden.json`: for each text the beginnings of two SHA-256 digests, of its ids
  and of what they decode to, and some in full.
"""

import collections
import hashlib
import io
import json
import pathlib
import random
import shutil

import sentencepiece
import transformers
from tokenizers import normalizers, pre_tokenizers

HERE = pathlib.Path(__file__).parent / "converted"

SENTENCES = {
    "latin": "the river runs through an old town and sleeps under the bridge while naïve travellers drink coffee in Zürich "
    "cafés then walk home because it's late don't worry we'll see them tomorrow morning 1234 567 years ago",
    "cyrillic": "река течёт через старый город и спит под мостом пока путники пьют кофе потом они идут домой потому что уже "
    "поздно завтра утром мы увидим их снова ёлка подъезд",
    "greek": "το ποτάμι περνά μέσα από την παλιά πόλη και κοιμάται κάτω από τη γέφυρα ενώ οι ταξιδιώτες πίνουν καφέ",
    "arabic": "يجري النهر عبر المدينة القديمة وينام تحت الجسر بينما يشرب المسافرون القهوة ثم يمشون إلى البيت",
    "devanagari": "नदी पुराने शहर से होकर बहती है और पुल के नीचे सोती है जबकि यात्री कॉफ़ी पीते हैं",
    "han": "河流 穿过 老城 在 桥下 安睡 旅人 喝着 咖啡 然后 走回家 因为 天色 已晚 明天 早上 我们 再见",
    "kana": "かわ は ふるい まち を ながれ カフェ で コーヒー を のむ たびびと は はし の した で ねむる",
    "hangul": "강은 오래된 도시를 지나 다리 아래에서 잠든다 여행자들은 커피를 마시고 집으로 걸어간다",
}

EMOJI = ["🙂", "🚀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "❤️", "🇩🇪", "🧑‍🚀", "☕", "1️⃣"]
CONTROL = ["\x00", "\x01", "\x07", "\x0b", "\x1b", "\x7f", "\x85", "\u200b", "\u200d", "\u2028", "\ufeff", "\ufffd", "\u0301"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", " \n ", "\r\n", "\u00a0", "\u3000", "\u2009", "        "]
MARKS = list(".,!?;:-–—…«»“”'\"()[]{}<>/\\|@#$%^&*_+=~`") + ["...", "¿", "।", "。", "、", "½", "ﬁ", "Ⅷ", "①", "㎏", "ａ", "ｱ"]

# Texts of symbols that some of the models below define; `\u2581` is how SentencePiece writes a space.
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<|tool|>", "[gap]", "<extra_id_7>", "[MASK]", "[SEP]", "<|endoftext|>", "<mask>", "<0x41>", "<sep>"]


def texts():
    """2,000 texts, the same each time."""
    rng = random.Random(7)
    scripts = {name: text.split() for name, text in SENTENCES.items()}
    found = ["", " ", "  ", "\n", "a", " a", "a ", "\u2581", "a\u2581b", " \u2581 ", "\x00", "é", "e\u0301"]
    while len(found) < 2000:
        kind = rng.randrange(6)
        words = []
        for _ in range(rng.randint(1, 7)):
            script = rng.choice(list(scripts))
            choice = rng.random()
            if kind == 0 or choice < 0.55:
                word = rng.choice(scripts[script])
                word = rng.choice([word, word, word.capitalize(), word.upper()])
            elif choice < 0.65:
                low, high = rng.choice([(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xD7F),
                                        (0x1E00, 0x20CF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
                                        (0xF900, 0xFFEF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF)])
                word = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4)))
            elif choice < 0.75:
                word = rng.choice(EMOJI)
            elif choice < 0.80:
                word = rng.choice(CONTROL)
            elif choice < 0.85:
                word = str(rng.randint(0, 10**rng.randint(1, 9)))
            else:
                word = rng.choice(MARKS)
            words.append(word)
        text = ""
        for word in words:
            text += word + (rng.choice(SPACES) if rng.random() < 0.5 else " " if rng.random() < 0.7 else "")
        found.append(text)
    spelled = []
    for _ in range(60):
        words = [rng.choice(rng.choice(list(scripts.values()))), rng.choice(SPECIAL), rng.choice(["x", "река", "河", ""])]
        spelled.append(rng.choice(["", " "]).join(words) + rng.choice(["", " ", rng.choice(SPECIAL)]))
    return found, spelled


def corpus():
    rng = random.Random(11)
    lines = []
    for _ in range(4000):
        words = rng.choice(list(SENTENCES.values())).split()
        chosen = [rng.choice(words) for _ in range(rng.randint(3, 9))]
        if rng.random() < 0.3:
            chosen[0] = chosen[0].capitalize()
        lines.append(" ".join(chosen) + rng.choice([".", "!", "?", ",", "", "  2024"]))
    return lines


def train_spm(folder, name, **options):
    folder.mkdir(parents=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=model, num_threads=1, minloglevel=2, **({"hard_vocab_limit": False} if options["model_type"] == "unigram" else {}), **options
    )
    (folder / name).write_bytes(model.getvalue())


def config(folder, **values):
    (folder / "tokenizer_config.json").write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n")


BYTES = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
         "character_coverage": 0.995, "vocab_size": 700, "split_digits": True, "allow_whitespace_only_pieces": True}


def t5(folder):
    train_spm(folder, "spiece.model", model_type="unigram", vocab_size=500, character_coverage=0.995, pad_id=0, eos_id=1,
              unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc")
    config(folder, tokenizer_class="T5Tokenizer", extra_ids=10, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    return transformers.T5Tokenizer.from_pretrained(folder)


def llama(folder):
    train_spm(folder, "tokenizer.model", **BYTES, user_defined_symbols=["[gap]"], control_symbols=["<|tool|>"])
    config(folder, tokenizer_class="LlamaTokenizer", add_bos_token=True, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    (folder / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}\n')
    return transformers.LlamaTokenizer.from_pretrained(folder)


def llama_legacy(folder):
    folder.mkdir(parents=True)
    shutil.copy(HERE / "llama" / "tokenizer.model", folder)
    added = {"content": "<pad>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": False}
    config(folder, tokenizer_class="LlamaTokenizer", legacy=True, add_bos_token=True, bos_token="<s>", eos_token="</s>",
           unk_token="<unk>", added_tokens_decoder={"700": added})
    return transformers.LlamaTokenizer.from_pretrained(folder)


def gemma(folder):
    train_spm(folder, "tokenizer.model", **BYTES, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
              user_defined_symbols=["[gap]", "\n\n", "  ", "    "], bos_piece="<bos>", eos_piece="<eos>")
    config(folder, tokenizer_class="GemmaTokenizer", add_bos_token=True, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
           pad_token="<pad>", mask_token=None)
    return transformers.GemmaTokenizer.from_pretrained(folder)


def xlm_roberta(folder):
    train_spm(folder, "sentencepiece.bpe.model", model_type="unigram", vocab_size=500, character_coverage=0.995,
              normalization_rule_name="identity")
    config(folder, tokenizer_class="XLMRobertaTokenizer")
    return transformers.XLMRobertaTokenizer.from_pretrained(folder)


def plain_unigram(folder):
    """No family: what SentencePiece itself gives, with a small table of characters and byte fallback."""
    rules = HERE / "rules.tsv"
    rules.write_text("41\t61\n0B\t20\nFB01\t66 69\n2126\t3A9\n")
    train_spm(folder, "tokenizer.model", model_type="unigram", vocab_size=700, character_coverage=0.99, byte_fallback=True,
              normalization_rule_tsv=str(rules), user_defined_symbols=["[gap]"])
    rules.unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def plain_bpe(folder):
    """No family: BPE without bytes, runs of spaces removed."""
    train_spm(folder, "tokenizer.model", model_type="bpe", vocab_size=500, character_coverage=0.99,
              normalization_rule_name="identity")
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def byte_level(folder, special):
    """The most frequent pair of letters is joined, among equals the first in the order of letters: the same each time."""
    tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = collections.Counter(word for line in corpus() for word, _ in tokenizer.pre_tokenize_str(line))
    words = {tuple(word): count for word, count in words.items()}
    pieces = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = []
    while len(pieces) < 600:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        if "".join(best) not in pieces:
            pieces.append("".join(best))
        joined = {}
        for word, count in words.items():
            new = []
            for letter in word:
                if new and (new[-1], letter) == best:
                    new[-1] += letter
                else:
                    new.append(letter)
            joined[tuple(new)] = joined.get(tuple(new), 0) + count
        words = joined
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(pieces)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges))


def gpt2(folder):
    byte_level(folder, ["<|endoftext|>"])
    (folder / "added_tokens.json").write_text('{"<sep>": 600, "[gap]": 601}\n')
    config(folder, tokenizer_class="GPT2Tokenizer", extra_special_tokens=["<sep>"])
    return transformers.GPT2Tokenizer.from_pretrained(folder)


def roberta(folder):
    byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    mask = {"content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
    (folder / "special_tokens_map.json").write_text(json.dumps({"mask_token": mask, "cls_token": "<s>"}) + "\n")
    config(folder, tokenizer_class="RobertaTokenizer")
    return transformers.RobertaTokenizer.from_pretrained(folder)


def word_piece(folder, normalizer):
    """Letters, endings and the most frequent words, in a fixed order."""
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = collections.Counter(
        word for line in corpus() for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(line))
    )
    letters = sorted({letter for word in counts for letter in word})
    endings = collections.Counter()
    for word, count in counts.items():
        for length in (2, 3):
            if len(word) > length:
                endings["##" + word[-length:]] += count
    frequent = lambda counter, most: sorted(counter, key=lambda text: (-counter[text], text))[:most]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + letter for letter in letters]
    pieces += [word for word in frequent(counts, 90) if len(word) > 1] + frequent(endings, 60)
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))


def bert(folder):
    word_piece(folder, normalizers.BertNormalizer(lowercase=True))
    return transformers.BertTokenizer.from_pretrained(folder)


def bert_cased(folder):
    word_piece(folder, normalizers.BertNormalizer(lowercase=False, handle_chinese_chars=False))
    config(folder, tokenizer_class="BertTokenizer", do_lower_case=False, tokenize_chinese_chars=False, strip_accents=True)
    return transformers.BertTokenizer.from_pretrained(folder)


def digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    plain, spelled = texts()
    (HERE / "texts.json").write_text(json.dumps({"texts": plain, "special": spelled}, ensure_ascii=True, indent=0) + "\n")
    for make in [t5, llama, llama_legacy, gemma, xlm_roberta, plain_unigram, plain_bpe, gpt2, roberta, bert, bert_cased]:
        folder = HERE / make.__name__
        tokenizer = make(folder)
        if isinstance(tokenizer, sentencepiece.SentencePieceProcessor):
            by = f"sentencepiece {sentencepiece.__version__}"
            unknown, encode, around = tokenizer.unk_id(), tokenizer.encode, []
            decode = tokenizer.decode
            chosen, pair = [], []
        else:
            by = f"transformers {transformers.__version__}"
            backend = tokenizer.backend_tokenizer
            unknown = tokenizer.unk_token_id if make not in (gpt2, roberta) else None
            encode = lambda text: backend.encode(text, add_special_tokens=False).ids
            around = backend.encode("a").ids
            pair = backend.encode("a", "b c")
            pair = [pair.ids, pair.type_ids]
            decode = lambda ids: backend.decode(ids, skip_special_tokens=False)
            chosen = spelled
        ids, decoded, full = "", "", []
        for number, text in enumerate(plain):
            found = encode(text)
            back = decode([id for id in found if id != unknown])
            ids += digest(",".join(map(str, found)))
            decoded += digest(back)
            if number % 250 == 17:
                full.append({"text": text, "ids": found, "decoded": back})
        golden = {
            "by": by,
            "around": around,
            "pair": pair,
            "full": full,
            "ids": ids,
            "decoded": decoded,
            "special": "".join(digest(",".join(map(str, encode(text)))) for text in chosen),
        }
        (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(make.__name__, size, around)


if __name__ == "__main__":
    main()
