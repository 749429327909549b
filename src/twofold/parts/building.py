"""`build`: from a spec, which a stranger may have written, to a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twofold.errors import UserError, did_you_mean, unknown
from twofold.parts import arguments
from twofold.parts.part import NAME, PART, REPLACED, SAME, Part, registered

_DEEPEST = 32  # parts inside one another
_MOST = 100_000  # mappings and lists in one spec


def build(spec: Any) -> Part:
    """Makes the part that a spec describes, with fresh weights (under `torch.device("meta")`: without storage).

    Args:
        spec: a mapping, as `Part.spec` gives it.

    Raises:
        UserError: an unknown part; a missing, unknown or unfit argument; a spec that contains itself.
    """
    return _Builder(spec).part(spec, 0)


def rebuild(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> Part:
    """As `build`, with some arguments of the outermost part given as they are: plain values or parts."""
    return _Builder(spec).make(spec, 0, changes)


class _Builder:
    def __init__(self, spec: Any) -> None:
        self.known = registered()
        self.named: dict[str, Mapping[str, Any]] = {}
        self.built: dict[str, Part | None] = {}
        self.count = 0
        self._collect(spec, 0)

    def _collect(self, value: Any, depth: int) -> None:
        """Finds named specs, so that a reference may stand before what it names; bounds depth and size."""
        if not isinstance(value, Mapping | list | tuple):
            return
        self.count += 1
        if depth > 3 * _DEEPEST or self.count > _MOST:
            raise UserError("the network spec is too deep or too large; it is damaged or contains itself")
        if isinstance(value, Mapping) and PART in value and isinstance(value.get(NAME), str):
            if value[NAME] in self.named:
                raise UserError(f"the network spec names two parts {value[NAME]!r}; it is damaged")
            self.named[value[NAME]] = value
        for inner in value.values() if isinstance(value, Mapping) else value:
            self._collect(inner, depth + 1)

    def part(self, spec: Any, depth: int) -> Part:
        if not isinstance(spec, Mapping) or not (PART in spec or SAME in spec):
            raise UserError(f"a part's spec is a mapping with the key {PART!r}, not {arguments.shown(spec)}")
        if depth > _DEEPEST:
            raise UserError(f"the network spec has more than {_DEEPEST} parts inside one another; it is damaged")
        if SAME in spec or NAME in spec:
            return self._named(spec.get(SAME, spec.get(NAME)), depth)
        return self.make(spec, depth)

    def _named(self, name: Any, depth: int) -> Part:
        if not isinstance(name, str) or name not in self.named:
            raise UserError(f"the network spec refers to {arguments.shown(name)}, a part that it does not contain")
        if name not in self.built:
            self.built[name] = None
            self.built[name] = self.make(self.named[name], depth)
        part = self.built[name]
        if part is None:
            raise UserError(f"the part {name!r} of the network spec contains itself")
        return part

    def make(self, spec: Mapping[str, Any], depth: int, changes: Mapping[str, Any] | None = None) -> Part:
        kind = spec[PART]
        if not isinstance(kind, str) or kind not in self.known:
            raise unknown("part", str(kind)[:60], self.known)
        cls = self.known[kind]
        given = dict(changes or {})
        skip = (PART, NAME, SAME, REPLACED, *given)
        given |= {name: self._value(value, depth) for name, value in spec.items() if name not in skip}
        arguments.check(cls, given)
        try:
            part = cls(**given)
        except UserError:
            raise
        except Exception as error:
            listed = ", ".join(f"{n}={arguments.shown(v)}" for n, v in given.items())
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise UserError(f"{kind}({listed}) cannot be built: {why}") from error
        self._replace(part, spec.get(REPLACED, {}), depth)
        return part

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping) and (PART in value or SAME in value):
            return self.part(value, depth + 1)
        return [self._value(v, depth) for v in value] if isinstance(value, list | tuple) else value

    def _replace(self, part: Part, replaced: Any, depth: int) -> None:
        own = dict(part.own_children())
        if not isinstance(replaced, Mapping):
            raise UserError(f"{type(part).__name__}: {REPLACED!r} is a mapping from names to parts")
        for name, spec in replaced.items():
            if name not in own:
                meant = did_you_mean(str(name), own)
                raise UserError(f"{type(part).__name__}: has no part {arguments.shown(name)} to replace.{meant}")
            setattr(part, name, self.part(spec, depth + 1))
