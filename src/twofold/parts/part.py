"""`Part`: a network component that can say how to make it again.

Networks are data: `part.spec()` gives the name and arguments of a part and of everything inside it as plain JSON, and
`build(spec)` makes the same structure with fresh weights, also on the meta device. Specs come from files that a stranger
may have written, so `build` refuses whatever does not fit, by part and argument, and executes nothing but registered parts.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from twofold.errors import UserError, did_you_mean, unknown

_REGISTER: dict[str, type[Part]] = {}
_DEEPEST = 32  # nested parts in one spec
_MOST = 20_000  # parts in one spec

# Keys of a spec that are not arguments.
_PART, _NAME, _SAME, _REPLACED = "part", "as", "same", "replaced"
_RESERVED = frozenset({_PART, _NAME, _SAME, _REPLACED})


class _Recording(type):
    """Keeps the arguments of every constructor call, so that no part has to."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        part = super().__call__(*args, **kwargs)
        bound = _signature(cls).bind(*args, **kwargs)
        bound.apply_defaults()
        object.__setattr__(part, "_arguments", {name: _plain(value) for name, value in bound.arguments.items()})
        object.__setattr__(part, "_made", {name: child.spec() for name, child in part._own_children()})
        return part


class Part(nn.Module, metaclass=_Recording):
    """A network component with a recorded spec.

    Subclasses register under their class name. A part (or list of parts) that is given as an argument is kept under the
    attribute of the same name (lists as `nn.ModuleList`), so replacing the attribute changes the spec. Parts that a part
    makes for itself (a projection, say) enter the spec only once they have been replaced by something else.

    Raises:
        TypeError: at class definition, when another class already has the name.
    """

    _arguments: dict[str, Any]
    _made: dict[str, dict[str, Any]]
    _registered: typing.ClassVar[str] = "Part"

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if abstract or cls.__module__.startswith("torch."):  # torch makes subclasses of its own when it shards
            return
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in _parameters(cls).values()):
            raise TypeError(f"part {cls.__name__} must name every argument of its constructor; they are its spec")
        known = _REGISTER.get(cls.__name__)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"two parts are called {cls.__name__}: in {known.__module__} and in {cls.__module__}; rename one"
            )
        _REGISTER[cls.__name__] = cls
        cls._registered = cls.__name__

    def spec(self) -> dict[str, Any]:
        """Name and arguments, nested, as plain JSON values. A part that occurs twice is written once and then referred to."""
        return self._spec({})

    def rebuilt(self, **changes: Any) -> Self:
        """A new part of the same class with some plain arguments changed and fresh weights; children are copied.

        Raises:
            UserError: unknown argument or a value that does not fit.
        """
        spec = self.spec()
        names = _parameters(type(self))
        for name in changes:
            if name not in names:
                raise _unknown_argument(self._registered, name, names)
        for name, value in changes.items():
            spec[name] = value.spec() if isinstance(value, Part) else _plain(value)
        new = build(spec)
        return typing.cast(Self, new)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by name; a shared tensor stands once, under its first name."""
        kept = self.state_dict(keep_vars=True)
        seen: set[int] = set()
        return {name: t for name, t in kept.items() if not (id(t) in seen or seen.add(id(t)))}  # type: ignore[func-returns-value]

    def assign(self, tensors: Mapping[str, Tensor]) -> Self:
        """Takes the tensors as its own, without copying (so a part built on the meta device becomes real).

        Raises:
            UserError: names or shapes that do not agree with this part.
        """
        own = self.tensors()
        missing, surplus = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        if missing or surplus:
            raise UserError(
                "the tensors do not belong to this network: "
                + "; ".join(
                    f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
                    for what, names in (("missing", missing), ("unknown", surplus))
                    if names
                )
            )
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise UserError(
                    f"tensor {name!r} has shape {list(tensors[name].shape)}, the network needs {list(tensor.shape)}"
                )
        shared: dict[int, Tensor] = {id(t): tensors[name] for name, t in own.items()}
        full = {name: shared[id(t)] for name, t in self.state_dict(keep_vars=True).items()}
        self.load_state_dict(full, strict=True, assign=True)
        return self

    # -- how a spec is made

    def _own_children(self) -> Iterator[tuple[str, Part]]:
        """Child parts that are not constructor arguments."""
        return ((n, m) for n, m in self._modules.items() if isinstance(m, Part) and not self._is_argument(n))

    def _is_argument(self, name: str) -> bool:
        """Whether the child of that name is what an argument gave (or has come in place of a None)."""
        return name in self._arguments and (self._arguments[name] is None or isinstance(self._arguments[name], _Child))

    def _spec(self, seen: dict[int, dict[str, Any]]) -> dict[str, Any]:
        if id(self) in seen:
            first = seen[id(self)]
            name = first.setdefault(_NAME, f"shared-{sum(_NAME in s for s in seen.values())}")
            return {_SAME: name}
        spec: dict[str, Any] = {_PART: self._registered}
        seen[id(self)] = spec
        for name, recorded in self._arguments.items():
            child = self._modules.get(name, _ABSENT) if self._is_argument(name) else _ABSENT
            if child is None or isinstance(child, Part):
                spec[name] = None if child is None else child._spec(seen)
            elif isinstance(child, nn.ModuleList):
                spec[name] = [typing.cast(Part, c)._spec(seen) for c in child]
            elif isinstance(recorded, _Child):
                raise TypeError(f"{self._registered} was given a part as {name!r} but does not keep it under that name")
            else:
                spec[name] = copy.deepcopy(recorded)
        replaced = {n: s for n, c in self._own_children() if (s := c._spec(seen)) != self._made.get(n)}
        if replaced:
            spec[_REPLACED] = replaced
        return spec


class _Child:
    """Stands in the recorded arguments where a part was given; the part itself is the attribute."""


_ABSENT = object()


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return _Child()
    if isinstance(value, nn.ModuleList | list | tuple):
        values = [_plain(v) for v in value]
        return _Child() if any(isinstance(v, _Child) for v in values) else values
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a part's arguments are parts and plain values, not {type(value).__name__}")


@functools.cache
def _signature(cls: type) -> inspect.Signature:
    signature = inspect.signature(cls.__init__)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _parameters(cls: type[Part]) -> Mapping[str, inspect.Parameter]:
    return _signature(cls).parameters


@functools.cache
def _hints(cls: type[Part]) -> dict[str, Any]:
    scope = vars(sys.modules[cls.__module__])
    found = {}
    for name, hint in inspect.get_annotations(inspect.unwrap(cls.__init__)).items():
        try:
            found[name] = eval(hint, dict(scope)) if isinstance(hint, str) else hint
        except Exception:  # a name that only the type checker sees: this argument is not checked
            continue
    return found


def registered(kind: type[Part] = Part) -> dict[str, type[Part]]:
    """Every registered part that is a `kind`, by name."""
    return {name: cls for name, cls in _REGISTER.items() if issubclass(cls, kind)}


def build(spec: Mapping[str, Any]) -> Part:
    """Makes the part that a spec describes, with fresh weights (under `torch.device("meta")`: without storage).

    Args:
        spec: as `Part.spec` gives it.

    Raises:
        UserError: an unknown part, a missing, unknown or unfit argument, a spec that contains itself or nests too deeply.
    """
    return _Builder(spec).part(spec, 0)


class _Builder:
    def __init__(self, spec: Any) -> None:
        self.named: dict[str, Mapping[str, Any]] = {}
        self.built: dict[str, Part | None] = {}
        self.count = 0
        self._collect(spec, 0)

    def _collect(self, value: Any, depth: int) -> None:
        """Finds the named specs first, so that a reference may stand before what it names; bounds depth and size."""
        if depth > 3 * _DEEPEST:
            raise UserError(f"the network spec nests more than {_DEEPEST} parts; it is damaged or contains itself")
        if isinstance(value, Mapping):
            self.count += 1
            if self.count > _MOST:
                raise UserError(f"the network spec has more than {_MOST} parts; it is damaged")
            name = value.get(_NAME)
            if isinstance(name, str) and _PART in value:
                if name in self.named:
                    raise UserError(f"the network spec names two parts {name!r}; it is damaged")
                self.named[name] = value
            for inner in value.values():
                self._collect(inner, depth + 1)
        elif isinstance(value, list | tuple):
            for inner in value:
                if isinstance(inner, Mapping | list | tuple):
                    self._collect(inner, depth + 1)

    def part(self, spec: Any, depth: int) -> Part:
        if not isinstance(spec, Mapping):
            raise UserError(f"a part's spec is a mapping with the key 'part', not {type(spec).__name__}")
        if depth > _DEEPEST:
            raise UserError(f"the network spec nests more than {_DEEPEST} parts; it is damaged or contains itself")
        if _SAME in spec:
            return self._same(spec[_SAME], depth)
        name = spec.get(_NAME)
        if not isinstance(name, str):
            return self._make(spec, depth)
        return self._same(name, depth)

    def _same(self, name: Any, depth: int) -> Part:
        if not isinstance(name, str) or name not in self.named:
            raise UserError(f"the network spec refers to a part named {name!r} that it does not contain")
        if name not in self.built:
            self.built[name] = None
            self.built[name] = self._make(self.named[name], depth)
        part = self.built[name]
        if part is None:
            raise UserError(f"the part named {name!r} in the network spec contains itself")
        return part

    def _make(self, spec: Mapping[str, Any], depth: int) -> Part:
        kind = spec.get(_PART)
        if not isinstance(kind, str):
            raise UserError("a part's spec needs the key 'part' with the name of the part")
        if kind not in _REGISTER:
            raise unknown("part", kind, _REGISTER)
        cls = _REGISTER[kind]
        parameters, hints = _parameters(cls), _hints(cls)
        arguments: dict[str, Any] = {}
        for name, value in spec.items():
            if name in _RESERVED:
                continue
            if name not in parameters:
                raise _unknown_argument(kind, str(name), parameters)
            arguments[name] = self._value(value, depth)
            if name in hints and not _fits(arguments[name], hints[name]):
                raise UserError(f"{kind}: argument {name!r} cannot be {_short(value)}")
        missing = [n for n, p in parameters.items() if p.default is p.empty and n not in arguments]
        if missing:
            raise UserError(f"{kind}: argument {missing[0]!r} is missing")
        try:
            part = cls(**arguments)
        except UserError:
            raise
        except Exception as error:
            given = ", ".join(f"{n}={_short(spec[n])}" for n in arguments if not isinstance(arguments[n], Part))
            raise UserError(f"{kind}({given}) cannot be built: {_first_line(error)}") from error
        self._replace(part, spec.get(_REPLACED), depth)
        return part

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping) and (_PART in value or _SAME in value):
            return self.part(value, depth + 1)
        if isinstance(value, list | tuple):
            return [self._value(v, depth) for v in value]
        return value

    def _replace(self, part: Part, replaced: Any, depth: int) -> None:
        if replaced is None:
            return
        own = dict(part._own_children())
        if not isinstance(replaced, Mapping):
            raise UserError(f"{part._registered}: 'replaced' is a mapping from names to parts")
        for name, spec in replaced.items():
            if name not in own:
                raise UserError(f"{part._registered}: has no part {name!r} to replace.{did_you_mean(str(name), own)}")
            setattr(part, name, self.part(spec, depth + 1))


def _unknown_argument(part: str, name: str, known: Mapping[str, Any]) -> UserError:
    return UserError(
        f"{part}: unknown argument {name!r}.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}"
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value agrees with a plain annotation; annotations this does not know are not checked."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, h) for h in typing.get_args(hint))
    origin = typing.get_origin(hint)
    if origin is not None:
        if inspect.isclass(origin) and issubclass(origin, Sequence):
            (item,) = typing.get_args(hint)[:1]
            return isinstance(value, list | tuple) and all(_fits(v, item) for v in value)
        return value in typing.get_args(hint) if origin is typing.Literal else True
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if inspect.isclass(hint) and (hint is str or issubclass(hint, nn.Module)):
        return isinstance(value, hint)
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def at_least_one(part: str, **values: int | None) -> None:
    """Refuses sizes below one, by part and argument."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise UserError(f"{part}: {name} is {value}; it must be at least 1")
