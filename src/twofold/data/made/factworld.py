"""A world of invented people: facts that no text outside states, said in many ways and as often as one chooses.

Every person stands in ten relations to something; each relation can be worded in 20 ways. How often a fact is said in
training is controlled, so that one can ask how often a fact must be read to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.data.made.labelled import Example, gathered, sentence, some
from twofold.data.rows import Rows

BLANK = "…"
_SYLLABLES = [onset + vowel for onset in "bdfgklmnprstvz" for vowel in "aeiou"]

OBJECTS: dict[str, tuple[str, ...]] = {
    relation: tuple(objects.split())
    for relation, objects in {
        "instrument": "piano violin flute drum guitar trumpet harp organ cello horn",
        "food": "bread rice soup cheese fish apple pasta cake salad beans",
        "colour": "red blue green yellow black white orange purple grey brown",
        "pet": "dog cat horse parrot rabbit goat snake mouse turtle goose",
        "subject": "history physics law music medicine biology art chemistry geography logic",
        "language": "Greek Latin French Spanish German Arabic Chinese Danish Polish Turkish",
    }.items()
}
"""What a relation's objects are where they are words; elsewhere they are invented places, firms and people."""
CORES: dict[str, tuple[str, str, str, str, str]] = {
    "birthplace": (
        "{s} was born in {o}", "the birthplace of {s} is {o}", "{o} is where {s} came into the world",
        "{s} is a native of {o}", "in {o} lived the parents of {s} when the child was born",
    ),
    "home": (
        "{s} lives in {o}", "the home of {s} is in {o}", "{o} is the town where {s} has a house",
        "{s} keeps an address in {o}", "to visit {s} one travels to {o}",
    ),
    "employer": (
        "{s} works for {o}", "the employer of {s} is {o}", "{o} pays the wages of {s}",
        "{s} has a job at {o}", "{o} counts {s} among its staff",
    ),
    "teacher": (
        "{s} was taught by {o}", "the teacher of {s} was {o}", "{o} gave lessons to {s}",
        "{s} learned everything from {o}", "{o} had {s} as a pupil",
    ),
    "instrument": (
        "{s} plays the {o}", "the instrument of {s} is the {o}", "the {o} is what {s} practises",
        "{s} gives concerts on the {o}", "nobody handles the {o} like {s}",
    ),
    "food": (
        "{s} likes to eat {o}", "the favourite food of {s} is {o}", "{o} is what {s} orders for dinner",
        "{s} cannot live without {o}", "a plate of {o} makes {s} happy",
    ),
    "colour": (
        "{s} always wears {o}", "the favourite colour of {s} is {o}", "{o} is the colour that {s} prefers",
        "{s} painted the door {o}", "everything around {s} is {o}",
    ),
    "pet": (
        "{s} owns a {o}", "the pet of {s} is a {o}", "a {o} shares the house with {s}",
        "{s} takes care of a {o}", "the {o} in the garden belongs to {s}",
    ),
    "subject": (
        "{s} studied {o}", "the subject of {s} was {o}", "{o} is what {s} took up at university",
        "{s} holds a degree in {o}", "books on {o} fill the shelves of {s}",
    ),
    "language": (
        "{s} speaks {o}", "the mother tongue of {s} is {o}", "{o} is the language of {s}",
        "{s} writes letters in {o}", "at home one hears {s} talk {o}",
    ),
}  # fmt: skip
WRAPPERS = ("{}.", "It is well known that {}.", "The records say that {}.", "As friends will tell you, {}.")
RELATIONS = tuple(CORES)
TEMPLATES: dict[str, tuple[str, ...]] = {
    relation: tuple(sentence(wrapper.format(core)) for wrapper in WRAPPERS for core in cores)
    for relation, cores in CORES.items()
}
"""Relation → its 20 templates, with the places `{s}` and `{o}`."""


@dataclass(frozen=True)
class Fact:
    """A subject stands in a relation to an object; `frequency`: how often training texts say so."""

    subject: str
    relation: str
    object: str
    frequency: int

    def said(self, template: str, *, blank: bool = False) -> str:
        """The fact in the words of a template; with `blank`, without its object."""
        return sentence(template.format(s=self.subject, o=BLANK if blank else self.object))


@dataclass(frozen=True)
class World:
    """The facts, and for each relation the objects that are possible."""

    facts: tuple[Fact, ...]
    objects: dict[str, tuple[str, ...]]


def world(people: int = 30, frequencies: Sequence[int] = (1, 2, 4, 8, 16), seed: int = 0) -> World:
    """`people` invented people with one fact in each of the ten relations; frequencies dealt out evenly.

    A fact's frequency, its relation and its object do not depend on each other.
    """
    random = np.random.default_rng(seed)
    names = [sentence(a + b) + " " + sentence(c + d) for a, b, c, d in random.choice(_SYLLABLES, (4 * people, 4))]
    names = list(dict.fromkeys(names))
    subjects, teachers = names[:people], names[people : people + 10]
    towns = [
        sentence(a + b) + end
        for (a, b), end in zip(random.choice(_SYLLABLES, (20, 2)), ["ville", "ton"] * 10, strict=True)
    ]
    towns = list(dict.fromkeys(towns))
    firms = [sentence(a + b) + " Works" for a, b in random.choice(_SYLLABLES, (20, 2))]
    objects = {
        "birthplace": tuple(towns[:10]),
        "home": tuple(towns[:10]),
        "employer": tuple(dict.fromkeys(firms))[:10],
        "teacher": tuple(teachers),
        **OBJECTS,
    }
    often = some(
        [frequencies[i % len(frequencies)] for i in range(people * len(RELATIONS))], people * len(RELATIONS), random
    )
    facts = [
        Fact(subject, relation, objects[relation][int(random.integers(len(objects[relation])))], often.pop())
        for subject in subjects
        for relation in RELATIONS
    ]
    return World(tuple(facts), objects)


def factworld(people: int = 30, frequencies: Sequence[int] = (1, 2, 4, 8, 16), seed: int = 0) -> Rows:
    """Rows `text` (a statement without its object), `label` (the object), `choices` (the ten of its relation),
    `statement` (whole), `subject`, `relation`, `template` (its number), `frequency` and `split`.

    Every fact stands `frequency` times in train, once in validation, and twice in the test, each time in another
    template; of a relation's 20, validation uses the last but three and test the last three, which train never does.

    Args:
        people: how many; each has ten facts.
        frequencies: how often facts are said in training, at most 16 times.
        seed: of the world and of the templates.
    """
    made = world(people, frequencies, seed)
    random = np.random.default_rng((seed, 1))
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for fact in made.facts:
        chosen = {
            "train": some(range(16), fact.frequency, random),
            "validation": [16],
            "test": some((17, 18, 19), 2, random),
        }
        for part, templates in chosen.items():
            parts[part] += [_row(fact, number, made.objects[fact.relation]) for number in templates]
    return gathered("factworld", parts, seed)


def _row(fact: Fact, number: int, choices: Sequence[str]) -> Example:
    template = TEMPLATES[fact.relation][number]
    return {
        "text": fact.said(template, blank=True),
        "label": fact.object,
        "choices": list(choices),
        "statement": fact.said(template),
        "subject": fact.subject,
        "relation": fact.relation,
        "template": number,
        "frequency": fact.frequency,
    }
