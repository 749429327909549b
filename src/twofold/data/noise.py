"""Noise on the letters of a text: what a reader still makes out."""

from __future__ import annotations

import string
from collections.abc import Callable

import numpy as np

from twofold.errors import unknown

Noise = Callable[[str, np.random.Generator], str]


def _drop(text: str, random: np.random.Generator) -> str:
    return "".join(c for c, out in zip(text, random.random(len(text)) < 0.1, strict=True) if not out)


def _mutate(text: str, random: np.random.Generator) -> str:
    letters = string.ascii_lowercase
    made = []
    for c, kind in zip(text, random.choice(4, len(text), p=[0.9, 0.1 / 3, 0.1 / 3, 0.1 / 3]), strict=True):
        other = letters[random.integers(26)]
        made.append((c, "", c + other, other)[kind])
    return "".join(made)


def _repeat(text: str, random: np.random.Generator) -> str:
    more = (random.random(len(text)) < 0.2) * random.integers(1, 4, len(text))
    return "".join(c * (1 + int(n)) for c, n in zip(text, more, strict=True))


def _spaced(text: str, random: np.random.Generator) -> str:
    return " ".join(text.upper())


def _upper(text: str, random: np.random.Generator) -> str:
    return text.upper()


def _random_case(text: str, random: np.random.Generator) -> str:
    return "".join(c.upper() if up else c.lower() for c, up in zip(text, random.random(len(text)) < 0.5, strict=True))


NOISES: dict[str, Noise] = {
    "drop": _drop,
    "mutate": _mutate,
    "repeat": _repeat,
    "antspeak": _spaced,
    "upper": _upper,
    "random-case": _random_case,
}
"""ByT5's six, Xue et al. 2022, section 5.2, https://arxiv.org/abs/2105.13626: a tenth of characters dropped; a tenth
dropped, added to or replaced; a fifth repeated one to three times more; capitals with blanks between; capitals; either
case by chance."""


def noisy(text: str, kind: str, random: np.random.Generator) -> str:
    """The text with noise of a kind; never empty.

    Raises:
        UserError: no such kind.
    """
    if kind not in NOISES:
        raise unknown("noise", kind, NOISES)
    return NOISES[kind](text, random) or text
