"""`Part`: a network component that can say how to make it again.

Networks are data: `part.spec()` gives the name and arguments of a part and of everything inside it as plain JSON, and
`build(spec)` makes the same structure with fresh weights, also on the meta device.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar, cast

from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts import arguments

Own = TypeVar("Own", bound="Part")

# The keys of a spec that are not arguments.
PART, NAME, SAME, REPLACED = "part", "as", "same", "replaced"

_REGISTER: dict[str, type[Part]] = {}


class _Recording(type):
    """Keeps the arguments of every constructor call, so that no part has to."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        part = super().__call__(*args, **kwargs)
        bound = arguments.signature(cls).bind(*args, **kwargs)
        bound.apply_defaults()
        object.__setattr__(part, "_arguments", {name: _plain(value) for name, value in bound.arguments.items()})
        object.__setattr__(part, "_made", {name: child.spec() for name, child in part.own_children()})
        return part


class Part(nn.Module, metaclass=_Recording):
    """A network component with a recorded spec.

    Subclasses register under their class name. A part (or list of parts) that is given as an argument is kept under
    the attribute of the same name (lists as `nn.ModuleList`), so replacing the attribute changes the spec. Parts that
    a part makes for itself (a projection, say) enter the spec only once they have been replaced by something else.

    Raises:
        TypeError: at class definition, when another class already has the name.
    """

    _arguments: dict[str, Any]
    _made: dict[str, dict[str, Any]]
    _registered: ClassVar[str] = "Part"

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if abstract or cls.__module__.startswith("torch."):  # torch makes subclasses of its own when it shards
            return
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in arguments.parameters(cls).values()):
            raise TypeError(f"part {cls.__name__} must name every argument of its constructor; they are its spec")
        known = _REGISTER.get(cls.__name__)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"two parts are called {cls.__name__}: in {known.__module__} and in {cls.__module__}; rename one"
            )
        _REGISTER[cls.__name__] = cls
        cls._registered = cls.__name__

    def spec(self) -> dict[str, Any]:
        """Name and arguments, nested, as plain JSON. A part that occurs twice is written once and referred to."""
        parents = Counter(id(c) for m in self.modules() for c in m._modules.values() if isinstance(c, Part))
        shared = [part for part, count in parents.items() if count > 1]
        return self._spec({part: f"shared-{n}" for n, part in enumerate(shared)}, set())

    def rebuilt(self: Own, **changes: Any) -> Own:
        """A new part of the same class and spec, but for the arguments given. Weights are fresh; given parts stay.

        Raises:
            UserError: unknown argument or a value that does not fit.
        """
        from twofold.parts.building import rebuild

        return cast(Own, rebuild(self.spec(), changes))

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by name; a shared tensor stands once, under its first name."""
        first: dict[int, str] = {}
        kept = self.state_dict(keep_vars=True)
        return {name: tensor for name, tensor in kept.items() if first.setdefault(id(tensor), name) == name}

    def assign(self: Own, tensors: Mapping[str, Tensor]) -> Own:
        """Takes the tensors as its own, without copying (so a part built on the meta device becomes real).

        Raises:
            UserError: names or shapes that do not agree with this part.
        """
        own = self.tensors()
        for what, names in (("lack", own.keys() - tensors.keys()), ("have unknown", tensors.keys() - own.keys())):
            if names:
                some = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                raise UserError(f"the tensors do not belong to this network: they {what} {some}")
        new: dict[int, Tensor] = {}
        for name, tensor in own.items():
            given = tensors[name]
            if tensor.shape != given.shape or tensor.is_floating_point() != given.is_floating_point():
                told = [f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for t in (given, tensor)]
                raise UserError(f"tensor {name!r} is {told[0]}, and the network needs {told[1]}")
            is_parameter = isinstance(tensor, nn.Parameter)
            new[id(tensor)] = nn.Parameter(given, tensor.requires_grad) if is_parameter else given
        self.load_state_dict({n: new[id(t)] for n, t in self.state_dict(keep_vars=True).items()}, assign=True)
        return self

    def check_tensors(self) -> None:
        """Refuses own tensors that have the right shapes and still make no sense; called for what a file gave.

        Raises:
            UserError: says what is damaged.
        """

    # -- how a spec is made

    def own_children(self) -> Iterator[tuple[str, Part]]:
        """Child parts that are not constructor arguments."""
        return ((n, m) for n, m in self._modules.items() if isinstance(m, Part) and not self._is_argument(n))

    def _is_argument(self, name: str) -> bool:
        """Whether the child of that name is what an argument gave (or has come in place of a None)."""
        return name in self._arguments and (self._arguments[name] is None or isinstance(self._arguments[name], _Child))

    def _spec(self, shared: Mapping[int, str], written: set[str]) -> dict[str, Any]:
        """The spec of one part; `shared` names those that occur more than once, `written` those already met."""
        own_name = shared.get(id(self))
        if own_name in written:
            return {SAME: own_name}
        spec: dict[str, Any] = {PART: self._registered}
        if own_name is not None:
            spec[NAME] = own_name
            written.add(own_name)
        for name, recorded in self._arguments.items():
            child = self._modules.get(name, _ABSENT) if self._is_argument(name) else _ABSENT
            if child is None or isinstance(child, Part):
                spec[name] = None if child is None else child._spec(shared, written)
            elif isinstance(child, nn.ModuleList):
                spec[name] = [cast(Part, c)._spec(shared, written) for c in child]
            elif isinstance(recorded, _Child):
                raise TypeError(f"{self._registered} was given a part as {name!r} but does not keep it under that name")
            else:
                spec[name] = copy.deepcopy(recorded)
        replaced = {}
        for name, part in self.own_children():
            found = part._spec(shared, written)
            if found != self._made.get(name):
                replaced[name] = found
        return spec | {REPLACED: replaced} if replaced else spec


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


def registered(kind: type[Part] = Part) -> dict[str, type[Part]]:
    """Every registered part that is a `kind`, by name."""
    return {name: cls for name, cls in _REGISTER.items() if issubclass(cls, kind)}
