"""What somebody does in saying something: state, ask, command, promise or thank. Without punctuation that tells."""

from __future__ import annotations

import numpy as np

from twofold.data.made.labelled import Example, dealt, gathered, pick
from twofold.data.rows import Rows

_WHO = ("the neighbour", "her uncle", "the new pupil", "our guide", "the baker", "his team")
_THING = ("the gate", "the old boat", "this parcel", "the window", "the kitchen", "a spare key", "the map", "the tent")
_VERB = ("paint", "clean", "carry", "repair", "measure", "return", "check", "unpack", "borrow", "hide")
_WHEN = ("today", "before dawn", "next week", "after lunch", "on Sunday", "tonight")

FORMS: dict[str, tuple[str, ...]] = {
    "statement": (
        "{who} will {verb} {thing} {when}", "{when} {who} had to {verb} {thing}", "{who} did not {verb} {thing} {when}",
        "{when} {thing} stood where {who} left it", "{who} and a cousin {verb} {thing} {when}",
    ),
    "question": (
        "did {who} {verb} {thing} {when}", "why does {who} {verb} {thing} {when}", "has {who} seen {thing} {when}",
        "who is going to {verb} {thing} {when}", "will {who} {verb} {thing} {when}",
    ),
    "command": (
        "{verb} {thing} {when}", "{when} you {verb} {thing} and that is final", "do not {verb} {thing} {when}",
        "kindly {verb} {thing} {when} and tell {who}", "go and {verb} {thing} {when}",
    ),
    "promise": (
        "i give my word to {verb} {thing} {when}", "you have my word that i {verb} {thing} {when}",
        "trust me {when} i shall {verb} {thing}", "i swear to {who} that i {verb} {thing} {when}",
        "whatever happens i will {verb} {thing} {when}",
    ),
    "thanks": (
        "how kind of {who} to {verb} {thing} {when}", "many thanks that you {verb} {thing} {when}",
        "i am grateful that {who} could {verb} {thing} {when}", "bless {who} for having {verb} {thing} in mind {when}",
        "we owe {who} a lot who came to {verb} {thing} {when}",
    ),
}  # fmt: skip
LABELS = tuple(FORMS)


def utterances(train: int = 1200, validation: int = 200, test: int = 800, seed: int = 0) -> Rows:
    """Rows `text` (in small letters, without punctuation), `label` (one of five acts) and `split`.

    Args:
        train, validation, test: how many rows; each act equally often.
        seed: of all of them.
    """
    random = np.random.default_rng(seed)
    counts = {"train": train, "validation": validation, "test": test}
    return gathered(
        "utterances", {p: [_said(k, random) for k in dealt(LABELS, n, random)] for p, n in counts.items()}, seed
    )


def _said(act: str, random: np.random.Generator) -> Example:
    words = {"who": _WHO, "thing": _THING, "verb": _VERB, "when": _WHEN}
    form = pick(FORMS[act], random)
    return {
        "text": form.format(**{name: pick(values, random) for name, values in words.items()}).casefold(),
        "label": act,
    }
