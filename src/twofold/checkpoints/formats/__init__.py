"""Checkpoint formats: one object each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twofold.checkpoints.formats.base import Format, Refused
from twofold.checkpoints.formats.bert import bert
from twofold.checkpoints.formats.fill import fill_up
from twofold.checkpoints.formats.llama import llama
from twofold.checkpoints.formats.modernbert import modernbert
from twofold.errors import UserError

FORMATS: tuple[Format, ...] = (bert, llama, modernbert)
"""Every format that can be read and written."""


def of_config(config: Mapping[str, Any], where: str) -> Format:
    """The format that a configuration belongs to.

    Raises:
        UserError: none; names what it says and what there is.
    """
    for each in FORMATS:
        if each.matches(config):
            return each
    known = ", ".join(each.name for each in FORMATS)
    raise UserError(
        f"{where} says model_type {str(config.get('model_type'))[:40]!r}, which cannot be read; known are {known}"
    )


def of_network(spec: Mapping[str, Any], fill: bool = False) -> tuple[Format, dict[str, Any]]:
    """The format that can hold a network, and the configuration that says it.

    Args:
        spec: of a `SequenceModel`.
        fill: whether `fill_up` may be used; the configuration is then the filled network's.

    Raises:
        Refused: none can; says why of the nearest.
    """
    refusals: list[Refused] = []
    for each in FORMATS:
        try:
            return each, each.to_config(fill_up(spec, {}, each)[0] if fill else spec)
        except Refused as refusal:
            refusals.append(refusal)
    raise min(refusals, key=lambda refusal: refusal.faults)


__all__ = ["FORMATS", "Format", "Refused", "bert", "fill_up", "llama", "modernbert", "of_config", "of_network"]
