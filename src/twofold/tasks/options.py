"""Types of options that several systems have, checked when a system is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from twofold.errors import UserError
from twofold.parts import Pattern
from twofold.parts.linear import kinds


def _linear_kinds(value: Any) -> Any:
    if not isinstance(value, str | Mapping):
        raise UserError(f"linear is {value!r}; give a kind, such as lowrank(0.25), or {{ffn: lowrank(0.25)}}")
    kinds(value)
    return value


LinearKinds = Annotated[str | dict[str, str], BeforeValidator(_linear_kinds)]
"""Kinds of linear map: `lowrank(0.25)` for all, or `{ffn: lowrank(0.25)}` with the rest dense."""


def _backbone(value: Any) -> Any:
    if isinstance(value, str):
        return value
    Pattern.read(value)
    return value


Backbone = Annotated[str | list[dict[str, Any]] | dict[str, Any], BeforeValidator(_backbone)]
"""A backbone: a preset and size, a reference model, a checkpoint or a folder, by name; or layers as data."""


def _names(value: Any) -> Any:
    return tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Several names: a list, or a text with commas between, as it is typed on a command line."""
