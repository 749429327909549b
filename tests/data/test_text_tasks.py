"""Made text tasks: labels against reference semantics, balance, parts that share nothing they should not."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from twofold.data import PARTS, read
from twofold.data.made.doc_topics import AREAS, doc_topics
from twofold.data.made.factworld import RELATIONS, TEMPLATES, factworld, world
from twofold.data.made.intents import FRAMES, INTENTS, intents
from twofold.data.made.kinds import kinds
from twofold.data.made.mini_nli import EXCLUSIVE, PARENT, QUANTIFIERS, Statement, consistent, meaning, mini_nli
from twofold.data.made.pyfacts import facts, pyfacts
from twofold.data.made.reviews import NEGATIVE, POSITIVE, reviews
from twofold.data.made.text_tasks import TEXT_TASKS
from twofold.data.made.utterances import utterances
from twofold.data.rows import Rows

SMALL = {
    "mini-nli": lambda seed: mini_nli(90, 30, 60, seed),
    "intents": lambda seed: intents(240, 80, 120, seed=seed),
    "factworld": lambda seed: factworld(6, seed=seed),
    "kinds": lambda seed: kinds(80, 16, 32, seed),
    "reviews": lambda seed: reviews(80, 20, 40, seed=seed),
    "utterances": lambda seed: utterances(80, 20, 40, seed),
}


@pytest.mark.parametrize("name", SMALL)
def test_seeds_decide_everything(name: str) -> None:
    first, again, other = (SMALL[name](seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.columns == again.columns


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_every_task_reads_by_name(name: str) -> None:
    rows = read(name)
    assert rows.name == name
    assert rows.splits is not None
    assert set(rows.splits) == set(PARTS)
    texts, labels = rows.require("text", "label")
    assert all(text.strip() for text in texts)
    if name not in ("doc-topics", "pyfacts"):
        assert not any("{" in text or "}" in text for text in texts)
    known = set(rows.part("train").columns["label"])
    assert set(labels) <= known
    if "choices" in rows.columns:
        assert all(label in choices for label, choices in zip(labels, rows.columns["choices"], strict=True))


# -- mini-nli


def holds(statement: Statement, world: tuple[frozenset[str], ...]) -> bool:
    """The statement in a world of individuals, each the set of words true of it."""
    subjects = [one for one in world if set(statement.subject) <= one]
    doing = [statement.verb in one for one in subjects]
    return {"every": all(doing), "some": any(doing), "no": not any(doing), "not every": not all(doing)}[
        statement.quantifier
    ]


def individuals(words: list[str]) -> list[frozenset[str]]:
    """Every individual that can exist, by trying all sets of words."""
    found = []
    for truth in product((False, True), repeat=len(words)):
        one = {word for word, true in zip(words, truth, strict=True) if true}
        if all(PARENT.get(w) is None or PARENT[w] in one for w in one) and all(len(one & {*g}) < 2 for g in EXCLUSIVE):
            found.append(frozenset(one))
    return found


def test_meaning_by_trying_every_small_world() -> None:
    # Two premises and a denied hypothesis ask for at most six individuals; three are enough where words are few.
    random = np.random.default_rng(0)
    every = individuals(["animal", "dog", "cat", "small", "move", "run"])
    worlds = [w for size in (1, 2, 3) for w in combinations_with_replacement(every, size)]
    seen: Counter[str | None] = Counter()
    for _ in range(40):
        made = [
            Statement(
                QUANTIFIERS[random.integers(4)],
                (None, "small")[random.integers(2)],
                ("animal", "dog", "cat")[random.integers(3)],
                ("move", "run")[random.integers(2)],
            )
            for _ in range(2)
        ]
        premise, hypothesis = made
        fitting = [
            w
            for w in worlds
            if holds(premise, w) and all(any(set(s.subject) <= one for one in w) for s in made)
        ]  # fmt: skip
        outcomes = {holds(hypothesis, w) for w in fitting}
        names = {(True,): "entailment", (False,): "contradiction", (False, True): "neutral"}
        expected = names.get(tuple(sorted(outcomes)))
        assert meaning([premise], hypothesis) == expected, (premise, hypothesis)
        seen[expected] += 1
    assert {"entailment", "contradiction", "neutral"} <= set(seen)


def test_meaning_of_known_cases() -> None:
    dogs_run, poodles_move = Statement("every", None, "dog", "run"), Statement("every", None, "poodle", "move")
    assert meaning([dogs_run], poodles_move) == "entailment"
    assert meaning([poodles_move], dogs_run) == "neutral"
    assert meaning([Statement("no", "small", "animal", "move")], Statement("some", "small", "cat", "run")) == (
        "contradiction"
    )
    assert meaning([dogs_run, Statement("no", None, "dog", "move")], poodles_move) is None
    assert not consistent([(dogs_run, True), (Statement("some", None, "beagle", "sleep"), True)])


def test_a_hypothesis_alone_says_nothing() -> None:
    rows = read("mini-nli")
    for part in PARTS:
        here = rows.part(part)
        pairs = zip(here.columns["hypothesis"], here.columns["label"], strict=True)
        labels: dict[str, Counter[str]] = {}
        for hypothesis, label in pairs:
            labels.setdefault(hypothesis, Counter())[label] += 1
        best = sum(counts.most_common(1)[0][1] for counts in labels.values())
        assert best / len(here) <= 0.4
    sizes = {part: rows.part(part).columns["statements"] for part in PARTS}
    assert np.mean(sizes["test"]) > np.mean(sizes["train"]) + 0.5


# -- the others


def test_intents_meet_new_frames_only_in_the_test() -> None:
    assert len(INTENTS) == 40
    assert all(len(paraphrases) == 4 for paraphrases in INTENTS.values())
    rows = SMALL["intents"](0)
    frames = {part: set(rows.part(part).columns["frame"]) for part in PARTS}
    for part in PARTS:
        assert frames[part] <= set(FRAMES[part])
        counts = Counter(rows.part(part).columns["label"])
        assert len(counts) == 40
        assert max(counts.values()) - min(counts.values()) <= 1
    assert not frames["test"] & frames["train"]
    assert not frames["validation"] & frames["train"]
    clean = intents(200, 40, 40, typos=0.0)
    typed = intents(200, 40, 40, typos=1.0)
    known = {word for text in clean.columns["text"] for word in text.split()}
    strange = [np.mean([w not in known for w in text.split()]) for text in typed.columns["text"]]
    assert np.mean(strange) > 0.4


def test_the_world_says_its_facts_as_often_as_told() -> None:
    made = world(6, (1, 3), seed=4)
    assert len(made.facts) == 60
    assert len({(f.subject, f.relation) for f in made.facts}) == 60
    assert Counter(f.frequency for f in made.facts) == {1: 30, 3: 30}
    assert set(RELATIONS) == set(TEMPLATES) == set(made.objects)
    assert all(len(set(t)) == 20 and all("{s}" in x and "{o}" in x for x in t) for t in TEMPLATES.values())
    assert all(len(objects) == 10 for objects in made.objects.values())
    rows = factworld(6, (1, 3), seed=4)
    said = Counter(zip(*rows.part("train").require("subject", "relation"), strict=True))
    truth = {(f.subject, f.relation): f for f in made.facts}
    assert all(said[key] == fact.frequency for key, fact in truth.items())
    for text, label, subject, relation, statement in zip(
        *rows.require("text", "label", "subject", "relation", "statement"), strict=True
    ):
        assert truth[subject, relation].object == label
        assert text.casefold().replace("…", label.casefold()) == statement.casefold()
        assert label not in text
    seen = {part: set(zip(*rows.part(part).require("relation", "template"), strict=True)) for part in PARTS}
    assert not seen["test"] & seen["train"]


def test_python_facts_are_true() -> None:
    import builtins
    import importlib

    for subject, relation, object, objects in facts():
        assert object in objects
        if relation == "base":
            assert getattr(builtins, subject).__base__.__name__ == object
        elif relation == "class":
            assert subject in vars(getattr(builtins, object))
        elif relation == "module" and object in ("os", "random", "textwrap", "bisect"):
            assert subject in vars(importlib.import_module(object))
        elif relation == "type" and subject.split(".")[0] in ("string", "io", "pickle", "ipaddress"):
            module, _, name = subject.partition(".")
            assert type(getattr(importlib.import_module(module), name)).__name__ == object
    rows = read("pyfacts")
    seen = {part: set(rows.part(part).columns["template"]) for part in PARTS}
    assert not seen["test"] & (seen["train"] | seen["validation"])
    assert pyfacts(2).part("train").columns["template"].count(0) < len(facts())


def test_topics_hide_names_and_repeat_nothing() -> None:
    rows = doc_topics()
    assert set(rows.columns["label"]) == set(AREAS)
    assert len(AREAS) == 16
    modules = [m for names in AREAS.values() for m in names]
    assert len(modules) == len(set(modules))
    groups = {part: set(rows.part(part).columns["group"]) for part in PARTS}
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & groups["test"]
    shingled = []
    for text, name in zip(*rows.require("text", "group"), strict=True):
        words = re.findall(r"\w+", text.casefold())
        assert not {p.casefold() for p in name.split(".") if len(p) > 2} & set(words)
        shingled.append(frozenset(zip(words, words[1:], words[2:], strict=False)))
    assert len(set(shingled)) == len(shingled)


def test_reviews_are_what_their_clauses_say() -> None:
    rows = reviews(200, 20, 200, negated=0.5, seed=3)
    negations = ("is not", "would not", "no ", "never")
    for text, label, count in zip(*rows.require("text", "label", "clauses"), strict=True):
        body = re.split(r"(?:spring:|this \w+:|verdict on the \w+:|twice\.|again\.)", text)[1]
        clauses = body.split(", ")
        assert len(clauses) == count
        total = 0
        for clause in clauses:
            words = set(re.findall(r"\w+", clause))
            assert len(words & {*POSITIVE, *NEGATIVE}) == 1
            sign = 1 if words & {*POSITIVE} else -1
            total += -sign if any(n in f" {clause}" for n in negations) else sign
        assert label == ("positive" if total > 0 else "negative")
    assert Counter(rows.part("test").columns["label"]) == {"positive": 100, "negative": 100}


def test_kinds_and_utterances_are_balanced() -> None:
    for rows, classes in ((kinds(), 8), (utterances(), 5)):
        for part in PARTS:
            counts = Counter(rows.part(part).columns["label"])
            assert len(counts) == classes
            assert max(counts.values()) - min(counts.values()) <= 1
    rows = kinds()
    assert all(word in text for text, word in zip(*rows.require("text", "word"), strict=True))


def test_families_share_no_template() -> None:
    """Held-out families are only held out if no run of five words of theirs stands in another family."""

    def runs(rows: Rows) -> set[tuple[str, ...]]:
        found = set()
        for text in rows.columns["text"]:
            words = re.findall(r"\w+", text.casefold())
            found |= set(zip(*(words[i:] for i in range(5)), strict=False))
        return found

    every = {name: runs(read(name)) for name in TEXT_TASKS}
    for held in ("reviews", "utterances"):
        for name, others in every.items():
            if name != held:
                assert not every[held] & others, name
