"""What kind of thing is named in a sentence: eight kinds of 14 words each, in sentences about everyday life."""

from __future__ import annotations

import numpy as np

from twofold.data.made.labelled import Example, dealt, gathered, pick
from twofold.data.rows import Rows

KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "animal": "goat camel otter rabbit tiger sheep donkey badger monkey whale lizard spider eagle hedgehog",
        "body": "elbow knee shoulder ankle finger chin wrist forehead heel thumb ear nose neck lip",
        "clothing": "scarf glove jacket sock skirt sweater hat shirt coat belt boot apron shawl cap",
        "fruit": "plum pear cherry peach lemon grape melon mango apricot fig banana lime strawberry quince",
        "furniture": "chair sofa table cupboard shelf bed stool desk wardrobe bench dresser armchair cradle bookcase",
        "tool": "hammer saw chisel drill wrench shovel rake axe pliers screwdriver file spade plane trowel",
        "vehicle": "bicycle tram lorry ferry wagon tractor canoe sledge bus scooter train yacht van kayak",
        "weather": "rain snow fog hail storm frost drizzle thunder breeze sleet blizzard mist gale sunshine",
    }.items()
}
FRAMES: dict[str, tuple[str, ...]] = {
    "train": (
        "At noon the talk turned to the {}.", "All she could think of was the {}.", "He drew a picture of the {}.",
        "My grandmother told a tale about the {}.", "There was a word about the {} in the letter.",
        "The child asked about the {}.", "Nobody had mentioned the {} before.", "We spoke about the {} for an hour.",
    ),
    "validation": ("The poem is about the {}.", "I dreamt of the {} again."),
    "test": ("Look, the {}!", "A song of two verses praises the {}.", "What surprised the guests was the {}."),
}  # fmt: skip


def kinds(train: int = 800, validation: int = 160, test: int = 320, seed: int = 0) -> Rows:
    """Rows `text`, `label` (one of eight kinds), `word` and `split`. The test's sentences never occur in training.

    Args:
        train, validation, test: how many rows; each kind equally often.
        seed: of all of them.
    """
    random = np.random.default_rng(seed)
    counts = {"train": train, "validation": validation, "test": test}
    return gathered(
        "kinds", {p: [_example(k, p, random) for k in dealt(list(KINDS), n, random)] for p, n in counts.items()}, seed
    )


def _example(kind: str, part: str, random: np.random.Generator) -> Example:
    word = pick(KINDS[kind], random)
    return {"text": pick(FRAMES[part], random).format(word), "label": kind, "word": word}
