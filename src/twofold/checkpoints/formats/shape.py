"""Comparing a network's spec with what a checkpoint format can say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One place where a network is not what the format's own networks are.

    Attributes:
        path: such as `stack.layers[3].channel.hidden`.
        found, wanted: the values there.
    """

    path: str
    found: Any
    wanted: Any

    @property
    def layer(self) -> int | None:
        """The block it lies in."""
        match = re.match(r"stack\.layers\[(\d+)\]", self.path)
        return int(match[1]) if match else None

    @property
    def leaf(self) -> str:
        """The last name of the path."""
        return self.path.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.path} is {_short(self.found)} where {_short(self.wanted)} is needed"


def expanded(spec: Mapping[str, Any]) -> Spec:
    """The spec with shared parts written out wherever they stand, and defaults that depend on others filled in.

    So two specs are equal exactly when their networks compute the same from the same weights.
    """
    named: dict[str, Mapping[str, Any]] = {}

    def collect(value: Any) -> None:
        if isinstance(value, Mapping):
            if isinstance(value.get("as"), str):
                named[value["as"]] = value
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    def expand(value: Any) -> Any:
        if isinstance(value, list):
            return [expand(inner) for inner in value]
        if not isinstance(value, Mapping):
            return value
        if "same" in value:
            value = named[value["same"]]
        part = {key: expand(inner) for key, inner in value.items() if key != "as"}
        if part.get("position", ...) is None:
            part["position"] = {"part": "NoPosition"}
        return _attention(part) if part.get("part") in ("Attention", "LocalAttention") else part

    collect(spec)
    out: Spec = expand(spec)
    return out


def _attention(part: Spec) -> Spec:
    part["kv_heads"] = part["kv_heads"] or part["heads"]
    part["head_dim"] = part["head_dim"] or part["dim"] // part["heads"]
    part["out_bias"] = part["bias"] if part["out_bias"] is None else part["out_bias"]
    if part["scale"] == part["head_dim"] ** -0.5:
        part["scale"] = None
    return part


def differences(found: Any, wanted: Any, path: str = "") -> Iterator[Difference]:
    """Where two expanded specs differ, outermost first; where a part is another one, only that is said."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping) and found.get("part") == wanted.get("part"):
        for key in [*wanted, *(k for k in found if k not in wanted)]:
            inner = f"{path}.{key}" if path else key
            if key not in found or key not in wanted:
                yield Difference(inner, found.get(key), wanted.get(key))
            else:
                yield from differences(found[key], wanted[key], inner)
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif found != wanted:
        yield Difference(path, found, wanted)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("part", ", ".join(map(str, value))))
    return "nothing" if value is None else str(value)[:60]
