#!/usr/bin/env python3
"""Writes the small data sets of the studies: each in the columns that its large namesake on the Hub has.

    python3 datasets/generate.py            write the files beside this program
    python3 datasets/generate.py --check    verify that they are what it writes

Needs Python 3.8 or later and nothing else. The same bytes on every version and machine: all randomness comes
from the generator below. Texts are invented by the grammars here; every task can be learned in principle,
from the words alone. The quickstart's set, in `quickstart/`, is the one of questions and answers.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEED = 7

# ---------------------------------------------------------------------------- randomness


class Random:
    """SplitMix64 (Steele, Lea, Flood 2014), seeded by a number and the name of its use."""

    MASK = (1 << 64) - 1

    def __init__(self, use):
        self.state = SEED
        for byte in use.encode():
            self.state = (self.state * 257 + byte + 1) & self.MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def pick(self, items):
        return items[self.below(len(items))]

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items

    def some(self, items, count):
        return self.shuffled(items)[:count]


# ---------------------------------------------------------------------------- the world

PEOPLE = "Alda Bram Cleo Doran Edda Falk Greta Hugo Ines Jory Kaya Lars Mira Nils Oona Pell".split()
PLACES = ["market", "harbour", "mill", "garden", "chapel", "bridge", "station", "library", "orchard", "bakery"]
THINGS = ["lantern", "basket", "kite", "drum", "ladder", "blanket", "kettle", "saddle", "mirror", "wagon"]
ANIMALS = ["goat", "otter", "falcon", "donkey", "rabbit", "ferret", "badger", "parrot"]
COLOURS = ["red", "green", "blue", "yellow", "white", "brown", "grey", "purple"]
# Pairs that mean the same: a verb in the past, its infinitive, and those of the other word.
VERBS = [
    ("bought", "buy", "purchased", "purchase"),
    ("fixed", "fix", "repaired", "repair"),
    ("found", "find", "discovered", "discover"),
    ("took", "take", "carried off", "carry off"),
    ("sold", "sell", "put up for sale", "put up for sale"),
    ("hid", "hide", "concealed", "conceal"),
    ("cleaned", "clean", "scrubbed", "scrub"),
    ("built", "build", "constructed", "construct"),
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


class Event:
    """Somebody did something with a thing somewhere, one day."""

    def __init__(self, rng):
        self.who, self.verb, self.thing = rng.pick(PEOPLE), rng.pick(VERBS), rng.pick(THINGS)
        self.colour, self.place, self.day = rng.pick(COLOURS), rng.pick(PLACES), rng.pick(DAYS)

    def told(self):
        return f"{self.who} {self.verb[0]} a {self.colour} {self.thing} at the {self.place} on {self.day}."

    def retold(self):
        return f"On {self.day}, {self.who} {self.verb[2]} a {self.thing} that was {self.colour}, at the {self.place}."

    def other(self, rng):
        """The same with another doer, or another thing and colour."""
        changed = Event(rng)
        changed.__dict__.update({k: v for k, v in self.__dict__.items()})
        if rng.below(2):
            changed.who = rng.pick([p for p in PEOPLE if p != self.who])
        else:
            changed.thing = rng.pick([t for t in THINGS if t != self.thing])
            changed.colour = rng.pick([c for c in COLOURS if c != self.colour])
        return changed


# ---------------------------------------------------------------------------- GLUE's forms


def mrpc(rng):
    event, same = Event(rng), rng.below(3) > 0
    second = event.retold() if same else event.other(rng).retold()
    return {"sentence1": event.told(), "sentence2": second, "label": int(same)}


def qqp(rng):
    event, same = Event(rng), rng.below(8) < 3
    other = event if same else event.other(rng)
    return {
        "question1": f"Did {event.who} {event.verb[1]} the {event.thing} at the {event.place}?",
        "question2": f"Was it the {other.thing} that {other.who} {other.verb[2]} at the {other.place}?",
        "label": int(same),
    }


def rte(rng):
    event, holds = Event(rng), rng.below(2) == 0
    other = event if holds else event.other(rng)
    return {
        "sentence1": event.told() + f" It rained the whole {event.day}.",
        "sentence2": f"{other.who} {other.verb[2]} a {other.thing}.",
        "label": int(not holds),
    }


def qnli(rng):
    event, holds = Event(rng), rng.below(2) == 0
    asked = event if holds else event.other(rng)
    question = f"Where did {asked.who} {asked.verb[1]} a {asked.thing}?"
    return {"question": question, "sentence": event.told(), "label": int(not holds)}


def inference(rng):
    """Entailment 0, neutral 1, contradiction 2."""
    event, label = Event(rng), rng.below(3)
    if label == 0:
        text = rng.pick([f"{event.who} {event.verb[2]} a {event.thing}.", f"{event.who} was at the {event.place}."])
    elif label == 1:
        owner = rng.pick([p for p in PEOPLE if p != event.who])
        text = rng.pick([f"The {event.thing} belonged to {owner}.", f"The {event.thing} was a gift for {owner}."])
    else:
        text = rng.pick([f"{event.who} never {event.verb[0]} a {event.thing}.", f"Nobody was at the {event.place}."])
    return {"premise": event.told(), "hypothesis": text, "label": label}


def cola(rng):
    """A sentence, and whether English has it: a form, an agreement or an order of words may be broken."""
    event, good = Event(rng), rng.below(10) < 7
    one = rng.below(2)
    subject = f"The {rng.pick(ANIMALS)}" + ("" if one else "s")
    words = [subject, "near", "the", event.place, "was" if one else "were", "seen", "by", event.who + "."]
    if not good:
        broken = rng.below(4)
        if broken < 2:
            words[5] = "saw"
        elif broken == 2:
            words[4] = "were" if one else "was"
        else:
            words[4], words[5] = words[5], words[4]
    return {"sentence": " ".join(words), "label": int(good)}


def sst2(rng):
    good = rng.below(2)
    praise = ["charming", "clever", "warm", "moving", "graceful", "a delight", "witty"]
    blame = ["dull", "clumsy", "hollow", "tiresome", "a mess", "lifeless", "overlong"]
    about = rng.pick(["the plot", "the acting", "the music", "this story", "the whole film", "its ending"])
    first, second = rng.some(praise if good else blame, 2)
    return {"sentence": rng.pick([f"{about} is {first} and {second}", f"{about} , {first} , never less than {second}"]), "label": good}


def stsb(rng):
    """How alike two sentences are, from 0 to 5: by the parts that they share."""
    event = Event(rng)
    other, shared = Event(rng), 0
    for part in ("who", "verb", "thing", "colour", "place"):
        if rng.below(2):
            setattr(other, part, getattr(event, part))
        shared += getattr(other, part) == getattr(event, part)
    other.day = event.day
    return {"sentence1": event.told(), "sentence2": other.retold(), "label": f"{shared:.3f}"}


# ---------------------------------------------------------------------------- topics


TOPICS = [
    (["Ministers", "Envoys", "Voters", "Protesters"], ["met over the treaty", "left the talks", "crossed the border", "voted in the capital"]),
    (["The captain", "The goalkeeper", "The team", "The coach"], ["won the final", "scored twice", "lost the cup tie", "trained for the season"]),
    (["The bank", "Shares", "The exchange", "Oil prices"], ["fell by a tenth", "rose on profits", "closed higher", "paid a dividend"]),
    (["Engineers", "The probe", "A new chip", "Software"], ["reached orbit", "doubled its speed", "found a bug", "sent data from space"]),
]


def ag_news(rng):
    label = rng.below(4)
    who, what = TOPICS[label]
    head = f"{rng.pick(who)} {rng.pick(what)}"
    return {"text": f"{head} - {rng.pick(who)} {rng.pick(what)} on {rng.pick(DAYS)}, {rng.pick(PEOPLE)} reported from the {rng.pick(PLACES)}.", "label": label}


# ---------------------------------------------------------------------------- choices


def boolq(rng):
    event, right = Event(rng), rng.below(10) < 6
    asked = event if right else event.other(rng)
    return {
        "question": f"did {asked.who.lower()} {asked.verb[1]} a {asked.thing} at the {asked.place}",
        "answer": bool(right),
        "passage": event.told() + f" It rained the whole {event.day}.",
    }


PURPOSES = {
    "lantern": ("see in the dark", "light it", "dark"),
    "basket": ("carry apples home", "fill it with apples", "harvest"),
    "kite": ("play in the wind", "let it fly", "wind"),
    "drum": ("make a loud beat", "strike it", "noise"),
    "ladder": ("reach the roof", "climb it", "height"),
    "blanket": ("stay warm at night", "wrap it around yourself", "cold"),
    "kettle": ("boil water", "put it on the stove", "thirst"),
    "saddle": ("ride a pony", "strap it on the pony", "journey"),
    "mirror": ("look at your face", "hold it before you", "face"),
    "wagon": ("move a heavy load", "harness a donkey to it", "load"),
}


def options(rng, count):
    """So many things, and which of them is the right one."""
    return rng.some(THINGS, count), rng.below(count)


def hellaswag(rng, number):
    things, right = options(rng, 4)
    who = rng.pick(PEOPLE)
    purpose = PURPOSES[things[right]][0]
    first, second = f"{who} wants to {purpose} and takes a {things[right]}.", "then"
    return {
        "ind": number, "activity_label": "Using things", "ctx_a": first, "ctx_b": second, "ctx": f"{first} {second}",
        "endings": [f"{who} goes on: {PURPOSES[thing][1]}." for thing in things], "source_id": f"made~{number}",
        "split": "train", "split_type": "indomain", "label": str(right),
    }


def winogrande(rng):
    a, b = rng.some(PEOPLE, 2)
    right = rng.below(2)
    thing = rng.pick(THINGS)
    text = rng.pick([
        (f"{a} gave a {thing} to {b} because _ wanted to have it.", 1),
        (f"{a} gave a {thing} to {b} because _ wanted to be kind.", 0),
        (f"{a} asked {b} for a {thing} because _ had lost one.", 0),
        (f"{a} asked {b} for a {thing} because _ had many of them.", 1),
    ])
    names = [a, b] if right == text[1] else [b, a]
    return {"sentence": text[0], "option1": names[0], "option2": names[1], "answer": str(right + 1)}


def piqa(rng):
    things, right = options(rng, 2)
    purpose = PURPOSES[things[right]][0]
    lines = [f"Take a {t} and {PURPOSES[t][1]}." for t in things]
    return {"goal": f"How do you {purpose}?", "sol1": lines[0], "sol2": lines[1], "label": right}


def social_iqa(rng):
    things, right = options(rng, 3)
    who = rng.pick(PEOPLE)
    answers = [f"to {PURPOSES[t][0]}" for t in things]
    return {
        "context": f"{who} went to the {rng.pick(PLACES)} and asked for a {things[right]}.",
        "question": f"Why did {who} do this?", "answerA": answers[0], "answerB": answers[1], "answerC": answers[2],
        "label": str(right + 1),
    }


def arc(rng, number, hard):
    things, right = options(rng, 4)
    meaning = PURPOSES[things[right]]
    letters = ["A", "B", "C", "D"] if rng.below(4) else ["1", "2", "3", "4"]
    question = f"What helps against {meaning[2]}?" if hard else f"Which of these is best to {meaning[0]}?"
    if hard and meaning[2] in ("harvest", "wind", "noise", "height", "journey", "face", "load"):
        question = f"What goes with {meaning[2]}?"
    return {
        "id": f"made_{'hard' if hard else 'easy'}_{number}", "question": question,
        "choices": {"text": [f"a {t}" for t in things], "label": letters}, "answerKey": letters[right],
    }


def openbookqa(rng, number):
    row = arc(rng, number, False)
    return {
        "id": f"made-{number}", "question_stem": row["question"].rstrip("?").replace("Which of these is best to", "to") + ", take",
        "choices": {"text": row["choices"]["text"], "label": ["A", "B", "C", "D"]},
        "answerKey": "ABCD"[row["choices"]["label"].index(row["answerKey"])],
    }


# The eight tasks in the rows of LLM-Adapters (arXiv 2304.01933): instruction, input, output, answer.


def instruction(head, lines, names, right):
    return {
        "instruction": f"{head}\n\n{lines}Answer format: {'/'.join(names)}", "input": "",
        "output": f"the correct answer is {names[right]}", "answer": names[right],
    }


def numbered(word, texts, glue="\n\n"):
    names = [f"{word}{i + 1}" for i in range(len(texts))]
    return " ".join(f"{n.capitalize()}: {t}" for n, t in zip(names, texts)) + glue, names


def instructed(task, row):
    if task == "boolq":
        head = f"Please answer the following question with true or false, question: {row['question']}?"
        return instruction(head, "", ["true", "false"], 0 if row["answer"] else 1)
    if task == "hellaswag":
        head = f"Please choose the correct ending to complete the given sentence: {row['activity_label']}: {row['ctx']}"
        lines, names = numbered("ending", row["endings"])
        return instruction(head, lines, names, int(row["label"]))
    if task == "winogrande":
        head = "Please choose the correct answer to fill in the blank to complete the given sentence: " + row["sentence"]
        lines, names = numbered("option", [row["option1"], row["option2"]], " ")
        return instruction(head, lines, names, int(row["answer"]) - 1)
    if task == "piqa":
        head = f"Please choose the correct solution to the question: {row['goal']}"
        lines, names = numbered("solution", [row["sol1"], row["sol2"]])
        return instruction(head, lines, names, row["label"])
    head = "Please choose the correct answer to the question: "
    if task == "social_i_qa":
        lines, names = numbered("answer", [row["answerA"], row["answerB"], row["answerC"]])
        return instruction(f"{head}{row['context']} {row['question']}", lines, names, int(row["label"]) - 1)
    lines, names = numbered("answer", row["choices"]["text"])
    right = row["choices"]["label"].index(row["answerKey"])
    return instruction(head + row.get("question", row.get("question_stem")), lines, names, right)


# ---------------------------------------------------------------------------- Russian instructions

RU_ANIMALS = {"кот": "мяукает", "пёс": "лает", "петух": "кукарекает", "волк": "воет", "лягушонок": "квакает", "конь": "ржёт"}
RU_NUMBERS = "один два три четыре пять шесть семь восемь девять десять".split()
RU_COLOURS = {"трава": "зелёная", "небо": "голубое", "снег": "белый", "уголь": "чёрный", "лимон": "жёлтый", "мак": "красный"}
RU_OPPOSITES = {"большой": "маленький", "тёплый": "холодный", "светлый": "тёмный", "быстрый": "медленный", "старый": "новый", "громкий": "тихий"}
RU_NAMES = ["Анна", "Борис", "Вера", "Глеб", "Дарья", "Егор", "Зоя", "Иван"]
RU_PLACES = ["в саду", "на рынке", "у реки", "в лесу", "на мосту", "в школе"]


def ru_instruct(rng):
    kind = rng.below(5)
    if kind == 0:
        animal, sound = rng.pick(list(RU_ANIMALS.items()))
        asked, given, answer = rng.pick(["Что делает это животное?", "Какой звук издаёт животное?"]), animal, f"{animal.capitalize()} {sound}."
    elif kind == 1:
        a = rng.below(9)
        b = rng.below(10 - a - 1) if a < 8 else 0
        asked, given = "Сложи два числа.", f"{RU_NUMBERS[a]} и {RU_NUMBERS[b]}"
        answer = f"Ответ: {RU_NUMBERS[a + b + 1]}." if a + b + 2 <= 10 else "Ответ: больше десяти."
    elif kind == 2:
        thing, colour = rng.pick(list(RU_COLOURS.items()))
        asked, given, answer = f"Скажи, какого цвета {thing}.", "", f"{thing.capitalize()} — {colour}."
    elif kind == 3:
        word, opposite = rng.pick(list(RU_OPPOSITES.items()))
        asked, given, answer = "Назови слово, противоположное по смыслу.", word, f"Противоположное слово — {opposite}."
    else:
        who, where = rng.pick(RU_NAMES), rng.pick(RU_PLACES)
        asked, given = "Ответь на вопрос по тексту: кто и где был?", f"{who} весь день {rng.pick(['гулял', 'работал', 'читал'])} {where}." if who in ("Борис", "Глеб", "Егор", "Иван") else f"{who} весь день {rng.pick(['гуляла', 'работала', 'читала'])} {where}."
        answer = f"{'Был' if who in ('Борис', 'Глеб', 'Егор', 'Иван') else 'Была'} {where} {who}."
    number = rng.pick(["", " Ответь одним предложением.", " Отвечай кратко."])
    whole = f"{asked}{number}"
    return {"instruction": whole, "input": given, "output": answer, "full_output": answer}


# ---------------------------------------------------------------------------- files


def rows_of(name, make, splits):
    """The rows of each split; none stands twice, in two splits neither."""
    seen, found = set(), {}
    for split, count in splits.items():
        rng, rows, tries = Random(f"{name} {split}"), [], 0
        while len(rows) < count:
            tries += 1
            if tries > 200 * count:
                raise SystemExit(f"{name}/{split}: only {len(rows)} different rows of {count}")
            row = make(rng, len(rows)) if make.__code__.co_argcount > 1 else make(rng)
            text = json.dumps({k: v for k, v in row.items() if k not in ("ind", "id", "source_id")}, sort_keys=True)
            if text not in seen:
                seen.add(text)
                rows.append(row)
        found[split] = rows
    return found


def tsv(rows):
    names = list(rows[0])
    lines = ["\t".join(["idx"] + names)]
    for number, row in enumerate(rows):
        fields = [str(number)] + [str(row[name]) for name in names]
        if any("\t" in f or "\n" in f or '"' in f for f in fields):
            raise SystemExit("a field of a TSV holds a tab, a line break or a quote")
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def array(rows):
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


TWO = {"train": 160, "validation": 60}
GLUE = {"mrpc": mrpc, "qqp": qqp, "rte": rte, "qnli": qnli, "cola": cola, "sst2": sst2, "stsb": stsb}
CHOICES = {
    "boolq": boolq,
    "hellaswag": lambda rng, number: hellaswag(rng, number),
    "winogrande": winogrande,
    "piqa": piqa,
    "social_i_qa": social_iqa,
    "ARC-Easy": lambda rng, number: arc(rng, number, False),
    "ARC-Challenge": lambda rng, number: arc(rng, number, True),
    "openbookqa": lambda rng, number: openbookqa(rng, number),
}


def build():
    """Every file by its path, as its exact text."""
    files = {}

    def put(folder, made, write, ending):
        for split, rows in made.items():
            files[f"{folder}/{split}.{ending}"] = write(rows)

    for task, make in GLUE.items():
        put(f"glue/{task}", rows_of(task, make, TWO), tsv, "tsv")
    put("glue/mnli", rows_of("mnli", inference, {"train": 200, "validation_matched": 60, "validation_mismatched": 60}), tsv, "tsv")
    put("snli", rows_of("snli", inference, {"train": 200, "validation": 60, "test": 60}), tsv, "tsv")
    put("ag_news", rows_of("ag_news", ag_news, {"train": 200, "test": 80}), jsonl, "jsonl")
    mixed = []
    for task, make in CHOICES.items():
        made = rows_of(task, make, {"train": 100, "validation": 40})
        put(f"commonsense/{task}", made, jsonl, "jsonl")
        mixed += [instructed(task, row) for row in made["train"][:60]]
        files[f"llm_adapters/{task}/test.json"] = array([instructed(task, row) for row in made["validation"]])
    files["llm_adapters/train.json"] = array(Random("llm_adapters").shuffled(mixed))
    put("ru_instruct", rows_of("ru_instruct", ru_instruct, {"train": 220}), jsonl, "jsonl")
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="verify the files instead of writing them")
    arguments = parser.parse_args()
    files, found = build(), []
    for name, text in files.items():
        path = HERE / name
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        elif not path.is_file():
            found.append(f"{path} is missing: run this program without --check")
        elif path.read_bytes() != text.encode():
            found.append(f"{path} is not what this program writes: run it without --check")
    print(f"{len(files)} files, {sum(len(text.encode()) for text in files.values())} bytes")
    for problem in found:
        print("error: " + problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
