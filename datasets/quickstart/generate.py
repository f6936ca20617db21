#!/usr/bin/env python3
"""Writes the quickstart's data set: short invented texts with questions, in SQuAD 2.0's JSON.

    python3 datasets/quickstart/generate.py            write the files beside this program
    python3 datasets/quickstart/generate.py --check    verify that they are what it writes

Needs Python 3.8 or later and nothing else. The same bytes on every version and machine: all
randomness comes from the generator below, not from the `random` module, whose `shuffle` and
`sample` may change between versions.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEED = 2026

# ---------------------------------------------------------------------------- randomness


class Random:
    """SplitMix64 (Steele, Lea, Flood 2014), seeded by a number and the name of its use."""

    MASK = (1 << 64) - 1

    def __init__(self, seed, use):
        self.state = seed
        for byte in use.encode():
            self.state = (self.state * 257 + byte + 1) & self.MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def below(self, n):
        """A whole number in 0..n; the bias of the remainder, n / 2^64, does not matter here."""
        return self.next() % n

    def chance(self, percent):
        return self.below(100) < percent

    def pick(self, items):
        return items[self.below(len(items))]

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items


# ---------------------------------------------------------------------------- the world

# Kinds of named entity. A name is one word of each pool; what two splits may not share is the
# name, not its words: a model that meets a new name knows its words and has to copy them.
NAMES = {
    "person": (
        "Alda Bram Cleo Doran Edda Falk Greta Hugo Ines Jory Kaya Lars Mira Nils Oona Pell",
        "Abbel Borrow Caskin Dunmore Elkin Farrow Gable Hollin Ivers Jessop Kettle Lorne Marlow Norwick Orrin Quill",
    ),
    "place": (
        "Amber Birch Clover Dusk Ember Fern Hazel Iron Jasper Linden Maple Olive Raven Willow",
        "Bay Bridge Cross Dale Ferry Gate Harbour Hill Landing Moor Point Ridge Springs Vale",
    ),
    "society": (
        "Lantern Compass Thistle Anchor Feather Hammer Mirror Needle Pepper Quarry Ribbon Saddle",
        "Guild Circle League Society Club Union Order Lodge",
    ),
    "fair": (
        "Harvest Kite Candle Bonfire Snow Lilac Tulip Puppet Barrel Honey Cherry Button",
        "Fair Festival Market Feast Parade Regatta Contest Pageant",
    ),
}

# Common values, the same in every split.
VALUES = {
    "job": "baker carpenter clerk cobbler doctor gardener lawyer mason miller painter pilot printer sailor tailor",
    "animal": "badger camel donkey falcon ferret goat goose horse lizard otter parrot pony rabbit spider",
    "instrument": "banjo bassoon cello clarinet drum fiddle flute guitar harp lute oboe organ piano trumpet",
    "year": "1802 1807 1813 1816 1821 1824 1830 1835 1839 1842 1848 1851 1857 1860",
    "colour": "black blue brown crimson green grey orange pink purple red silver violet white yellow",
    "month": "January February March April May June July August September October November December",
    "food": "bread cake cheese fish ham jam nuts pears pie plums porridge pudding soup stew",
}

# Pairs of sibling relations: the same kind of subject, the same kind of value. The first of a pair
# is asked in pretrain.json, the second in train.json and validation.json; both are stated in all.
# Each has statements and questions; {s} is the subject, {v} the value.
PAIRS = [
    (
        "person",
        "place",
        (["{s} was born in {v}.", "{s} came from {v}."], ["Where was {s} born?", "Where did {s} come from?"]),
        (["{s} lived in {v}.", "{s} settled in {v}."], ["Where did {s} live?", "Where did {s} settle?"]),
    ),
    (
        "person",
        "job",
        (["{s} worked as a {v}.", "{s} earned a living as a {v}."], ["What did {s} work as?", "What was the job of {s}?"]),
        (["{s} trained as a {v}.", "{s} studied to be a {v}."], ["What did {s} train as?", "What did {s} study to be?"]),
    ),
    (
        "person",
        "animal",
        (["{s} kept a {v}.", "{s} owned a {v}."], ["Which animal did {s} keep?", "What pet did {s} own?"]),
        (["{s} feared every {v}.", "{s} was afraid of any {v}."], ["Which animal did {s} fear?", "What was {s} afraid of?"]),
    ),
    (
        "person",
        "instrument",
        (["{s} played the {v}.", "{s} performed on the {v}."], ["Which instrument did {s} play?", "What did {s} perform on?"]),
        (["{s} repaired a {v}.", "{s} mended a {v}."], ["Which instrument did {s} repair?", "What did {s} mend?"]),
    ),
    (
        "society",
        "year",
        (["The {s} was formed in {v}.", "The {s} was set up in {v}."], ["When was the {s} formed?", "In which year was the {s} set up?"]),
        (
            ["The {s} was dissolved in {v}.", "The {s} was shut down in {v}."],
            ["When was the {s} dissolved?", "In which year was the {s} shut down?"],
        ),
    ),
    (
        "society",
        "colour",
        (
            ["The {s} wore {v}.", "Members of the {s} dressed in {v}."],
            ["Which colour did the {s} wear?", "In which colour did members of the {s} dress?"],
        ),
        (
            ["The {s} banned {v}.", "Members of the {s} avoided {v}."],
            ["Which colour did the {s} ban?", "Which colour did members of the {s} avoid?"],
        ),
    ),
    (
        "fair",
        "month",
        (["The {s} began in {v}.", "The {s} opened in {v}."], ["When did the {s} begin?", "In which month did the {s} open?"]),
        (["The {s} ended in {v}.", "The {s} finished in {v}."], ["When did the {s} end?", "In which month did the {s} finish?"]),
    ),
    (
        "fair",
        "food",
        (
            ["The {s} served {v}.", "Guests of the {s} enjoyed {v}."],
            ["What did the {s} serve?", "What did guests of the {s} enjoy?"],
        ),
        (
            ["The {s} ran out of {v}.", "Guests of the {s} disliked {v}."],
            ["What did the {s} run out of?", "What did guests of the {s} dislike?"],
        ),
    ),
]
ASKED_FIRST, ASKED_LATER = 0, 1


def name_pools():
    """Every name of every kind, divided: two thirds for the training files, one third for validation."""
    training, validation = {}, {}
    for kind, (first, second) in NAMES.items():
        names = [(a, b) for a in first.split() for b in second.split()]
        names = Random(SEED, "names " + kind).shuffled(names)
        cut = len(names) * 2 // 3
        training[kind], validation[kind] = names[:cut], names[cut:]
    return training, validation


class Text:
    """One text: facts about a few subjects, and which facts it leaves out."""

    def __init__(self, rng, names, states, topics):
        self.rng, self.names = rng, names
        self.used = {kind: set() for kind in list(NAMES) + list(VALUES)}
        pairs = rng.shuffled(PAIRS)[: rng.pick(topics)]
        told, latest = [], {}
        for pair in pairs:
            kind = pair[0]
            if kind not in latest or rng.chance(NEW_SUBJECT):
                latest[kind] = self.new(kind)
            told.append((latest[kind], pair))
        if rng.chance(SAME_TOPIC):
            pair = rng.pick(pairs)
            told.append((self.new(pair[0]), pair))
        stated, self.absent = [], []
        for subject, pair in told:
            which = rng.pick(states)
            for sibling in (ASKED_FIRST, ASKED_LATER):
                (stated if sibling in which else self.absent).append((subject, pair, sibling))
        self.context, self.facts = "", []
        for subject, pair, sibling in rng.shuffled(stated):
            value = self.new(pair[1])
            before, after = rng.pick(pair[2 + sibling][0]).format(s=subject, v="\0").split("\0")
            self.context += (" " if self.context else "") + before
            self.facts.append((subject, pair, sibling, value, len(self.context)))
            self.context += value + after

    def new(self, kind):
        """A name or value that shares no word with another one of its kind in this text."""
        while True:
            if kind in VALUES:
                words = (self.rng.pick(VALUES[kind].split()),)
            else:
                words = self.rng.pick(self.names[kind])
            if not self.used[kind].intersection(words):
                self.used[kind].update(words)
                return " ".join(words)

    def answerable(self, sibling):
        return [fact for fact in self.facts if fact[2] == sibling]

    def unanswerable(self, sibling):
        return [fact for fact in self.absent if fact[2] == sibling]


# ---------------------------------------------------------------------------- the files

# What a text says of one subject and one pair: both siblings, or one, or nothing. Which share of
# the texts' questions has no answer follows from it.
BOTH, FIRST, LATER, NOTHING = (0, 1), (0,), (1,), ()
STATES_PRETRAIN = [BOTH] * 6 + [FIRST] * 10 + [LATER] * 4
STATES_SHIFTED = [BOTH] * 10 + [FIRST] * 8 + [NOTHING] * 1 + [LATER] * 1
# How many pairs of relations a text is about, drawn from a list. pretrain.json has easy texts too, about one pair:
# from them a fresh model finds out sooner that the answer stands in the text.
TOPICS = [2, 3, 3, 4]
TOPICS_PRETRAIN = [1, 1, 2, 3, 4]
# How often (per cent) a further pair brings a new subject though there is one of its kind; how often a pair is told
# of two subjects, so that only the name tells their facts apart.
NEW_SUBJECT = 30
SAME_TOPIC = 10


def question(rng, identifier, fact):
    """One question on a stated fact (with its value and place) or on an absent one."""
    subject, pair, sibling = fact[:3]
    text = rng.pick(pair[2 + sibling][1]).format(s=subject)
    answers = [{"text": fact[3], "answer_start": fact[4]}] if len(fact) == 5 else []
    return {"id": identifier, "question": text, "answers": answers, "is_impossible": not answers}


def articles(split, names, count, topics, sibling, states, seen, most, no_answer):
    """`count` texts in articles of 25, each with up to `most` questions on the given sibling.

    Every stated fact may be asked, and `no_answer` per cent of those that are not stated.
    `seen` holds the texts of every split written so far: none is written twice.
    """
    rng = Random(SEED, split)
    data, number = [], 0
    while number < count:
        text = Text(rng, names, states, topics)
        asked = text.answerable(sibling) + [f for f in text.unanswerable(sibling) if rng.chance(no_answer)]
        if not asked or text.context in seen:
            continue
        seen.add(text.context)
        asked = rng.shuffled(asked)[:most]
        qas = [question(rng, "%s-%d-%d" % (split, number, i), fact) for i, fact in enumerate(asked)]
        if number % 25 == 0:
            data.append({"title": "%s, leaf %d" % (split, number // 25 + 1), "paragraphs": []})
        data[-1]["paragraphs"].append({"context": text.context, "qas": qas})
        number += 1
    return data


def build():
    """Every file by name, as its exact text."""
    training, validation = name_pools()
    seen = set()
    first = (ASKED_FIRST, STATES_PRETRAIN, seen)
    later = (ASKED_LATER, STATES_SHIFTED, seen)
    pretrain = articles("pretrain", training, 4000, TOPICS_PRETRAIN, *first, most=99, no_answer=30)
    train = articles("train", training, 1500, TOPICS, *later, most=2, no_answer=90)
    held_out = articles("pretrain_validation", validation, 150, TOPICS, *first, most=2, no_answer=30)
    shifted = articles("validation", validation, 250, TOPICS, *later, most=2, no_answer=90)
    return {
        "pretrain.json": squad(pretrain),
        "pretrain_validation.json": squad(held_out),
        "train.json": squad(train),
        "validation.json": squad(shifted),
    }


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def squad(data):
    """SQuAD 2.0's nested JSON, one text a line."""
    lines = []
    for article in data:
        paragraphs = ",\n".join(compact(p) for p in article["paragraphs"])
        lines.append('{"title":%s,"paragraphs":[\n%s\n]}' % (compact(article["title"]), paragraphs))
    return '{"version":"v2.0","data":[\n%s\n]}\n' % ",\n".join(lines)


# ---------------------------------------------------------------------------- checks


def parse(text):
    """(context, qa) of every question."""
    return [(p["context"], qa) for a in json.loads(text)["data"] for p in a["paragraphs"] for qa in p["qas"]]


def entities(text):
    """Every full name, of any kind, that stands anywhere in a file."""
    words = {kind: [set(pool.split()) for pool in pools] for kind, pools in NAMES.items()}
    found = set()
    for context, qa in parse(text):
        for part in (context, qa["question"]):
            tokens = part.replace(".", " .").replace("?", " ?").split()
            for a, b in zip(tokens, tokens[1:]):
                for kind, (first, second) in words.items():
                    if a in first and b in second:
                        found.add((kind, a, b))
    return found


def problems(files):
    """What is wrong with the files' contents, as sentences."""
    found, ids = [], set()
    for name, text in files.items():
        for context, qa in parse(text):
            if qa["id"] in ids:
                found.append("%s: the id %s stands twice" % (name, qa["id"]))
            ids.add(qa["id"])
            if qa["is_impossible"] == bool(qa["answers"]):
                found.append("%s: %s has answers and is impossible, or neither" % (name, qa["id"]))
            for answer in qa["answers"]:
                start = answer["answer_start"]
                if context[start : start + len(answer["text"])] != answer["text"]:
                    found.append("%s: answer_start of %s is wrong" % (name, qa["id"]))
    for held_out in ("validation.json", "pretrain_validation.json"):
        for training in ("pretrain.json", "train.json"):
            contexts = {c for c, _ in parse(files[held_out])} & {c for c, _ in parse(files[training])}
            shared = entities(files[held_out]) & entities(files[training])
            if contexts:
                found.append("%s and %s share %d texts" % (held_out, training, len(contexts)))
            if shared:
                found.append("%s and %s share %d names, such as %s" % (held_out, training, len(shared), min(shared)))
    return found


def summary(files):
    for name, text in files.items():
        rows = parse(text)
        impossible = sum(qa["is_impossible"] for _, qa in rows)
        print("%-25s %7d bytes %4d texts %4d questions %4.1f %% unanswerable %3d names" % (
            name, len(text.encode()), len({c for c, _ in rows}), len(rows), 100 * impossible / len(rows),
            len(entities(text))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="verify the files instead of writing them")
    arguments = parser.parse_args()
    files = build()
    found = problems(files)
    for name, text in files.items():
        path = HERE / name
        if not arguments.check:
            path.write_bytes(text.encode())
        elif not path.is_file():
            found.append("%s is missing: run this program without --check" % path)
        elif path.read_bytes() != text.encode():
            found.append("%s is not what this program writes: run it without --check" % path)
    summary(files)
    for problem in found:
        print("error: " + problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
