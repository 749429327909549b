"""How a network knows where a token is."""

from __future__ import annotations

from collections.abc import Callable

from twofold.errors import UserError, unknown
from twofold.parts.positions.absolute import AxisPositions, Interpolated, Learned, Sinusoid
from twofold.parts.positions.base import NoPosition, Position, width_of_heads, without_queries
from twofold.parts.positions.relative import Alibi, Harmonic, T5Bias, alibi_slopes, harmonic
from twofold.parts.positions.rope import LinearStretch, Llama3Stretch, NtkStretch, Rope, Stretch
from twofold.parts.positions.scaled import LogScale, Reciprocal, Urpe

__all__ = [
    "Alibi",
    "AxisPositions",
    "Harmonic",
    "Interpolated",
    "Learned",
    "LinearStretch",
    "Llama3Stretch",
    "LogScale",
    "NoPosition",
    "NtkStretch",
    "Position",
    "Reciprocal",
    "Rope",
    "Sinusoid",
    "Stretch",
    "T5Bias",
    "Urpe",
    "alibi_slopes",
    "harmonic",
    "named",
    "width_of_heads",
    "without_queries",
]


def named(name: str, dim: int, heads: int, max_len: int | None = None, base: float = 10000.0) -> Position:
    """A position by the name that presets use: none, learned, sinusoid, rope, alibi, t5.

    Raises:
        UserError: unknown name, or `learned` without `max_len`.
    """
    if name == "learned" and max_len is None:
        raise UserError("position learned needs max_len, the longest input it will see")
    known: dict[str, Callable[[], Position]] = {
        "none": NoPosition,
        "learned": lambda: Learned(max_len or 1, dim),
        "sinusoid": Sinusoid,
        "rope": lambda: Rope(base),
        "alibi": lambda: Alibi(heads),
        "t5": lambda: T5Bias(heads),
    }
    if name not in known:
        raise unknown("position", name, known)
    return known[name]()
