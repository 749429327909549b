"""The register: how a class becomes a system, and how an id becomes a class. Light: standard library only.

A system is an options class: its annotated fields are its options, validated by pydantic when one is made.
Only `resolve` imports a system's module, and only that one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from twofold.catalog import index
from twofold.catalog.claims import Arm
from twofold.catalog.own_files import own_module
from twofold.errors import UserError, unknown

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Card:
    """What a system is, for a person who looks for one."""

    id: str
    title: str
    kind: str
    family: str
    tasks: tuple[str, ...]
    summary: str
    number: int | None = None
    source: str = ""
    year: int | None = None
    needs: tuple[str, ...] = ()
    simplified: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    """What else it can be used as: `study` where it offers its paper's analysis too, `transform` where a model's method
    can also be applied to a network that is there."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Everything it can be used as, its own kind first."""
        return self.kind, *self.also

    def as_dict(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if v not in (None, (), "")}


@dataclass
class _Registered:
    classes: dict[str, type] = field(default_factory=dict)


_registered = _Registered()


def system(
    id: str,
    *,
    number: int,
    title: str,
    tasks: Iterable[str],
    source: str,
    year: int,
    needs: Iterable[str] = (),
    simplified: Iterable[str] = (),
) -> Callable[[T], T]:
    """Registers a published system: makes the class a frozen, validated dataclass of its options, with a card.

    Args:
        id: the name on the command line.
        number: its number in the list of published systems.
        title: the paper's title.
        tasks: names of the tasks it serves, the main one first.
        source: address of the paper.
        year: of publication.
        needs: what a person would type to find it.
        simplified: where this is simpler than the paper, one sentence each.
    """
    return _registering(
        id,
        number=number,
        title=title,
        tasks=tuple(tasks),
        source=source,
        year=year,
        needs=tuple(needs),
        simplified=tuple(simplified),
    )


def baseline(
    id: str, *, title: str, tasks: Iterable[str], needs: Iterable[str] = (), source: str = ""
) -> Callable[[T], T]:
    """Registers a plain baseline: like a system, without number or claim."""
    return _registering(id, title=title, tasks=tuple(tasks), needs=tuple(needs), source=source)


def _registering(id: str, **card: Any) -> Callable[[T], T]:
    def register(cls: T) -> T:
        from pydantic import ConfigDict
        from pydantic.dataclasses import dataclass as options

        made: Any = options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)
        summary = (cls.__doc__ or sys.modules[cls.__module__].__doc__ or "").strip().splitlines()
        if not summary:
            raise ValueError(f"{id}: a system says what it is in the first line of its docstring")
        family = cls.__module__.split(".")[-2] if cls.__module__.startswith("twofold.systems.") else "own"
        kind: str = cls.kind  # type: ignore[attr-defined]
        ways = {"transform": "apply", "study": "run"}
        also = tuple(way for way, method in ways.items() if way != kind and hasattr(cls, method))
        made.card = Card(id=id, kind=kind, also=also, family=family, summary=summary[0].rstrip("."), **card)
        _registered.classes[id] = made
        return made

    return register


def resolve(id: str) -> type:
    """The class of a system or baseline: from this package, an installed plug-in, or `add_file`.

    Raises:
        UserError: no such id; names the nearest.
    """
    if id in _registered.classes:
        return _registered.classes[id]
    modules = {card["id"]: card["module"] for card in index.cards()}
    if id in modules:
        importlib.import_module(modules[id])
        return _registered.classes[id]
    for point in _plugins():
        if point.name == id:
            point.load()
            if id not in _registered.classes:
                raise UserError(f"the plug-in {point.value!r} is named {id!r} but registers no such system")
            return _registered.classes[id]
    raise unknown("system", id, {*modules, *_registered.classes, *(p.name for p in _plugins())})


def _plugins() -> Iterable[Any]:
    from importlib.metadata import entry_points

    return entry_points(group="twofold.systems")


def own() -> dict[str, type]:
    """Systems that are registered but stand in no index: a person's own, from files or plug-ins."""
    for point in _plugins():
        resolve(point.name)
    return {id: cls for id, cls in _registered.classes.items() if cls.card.family == "own"}  # type: ignore[attr-defined]


def add_file(reference: str) -> str:
    """Registers a person's own system from `./mine.py:Mine` and gives its id.

    Raises:
        UserError: no such file or class, or the class is not registered as a system.
    """
    module, name = own_module(reference, "systems", "ClassName")
    cls = getattr(module, name, None)
    card = getattr(cls, "card", None)
    if card is None:
        place = reference.rpartition(":")[0]
        raise UserError(f"{place} has no registered system {name!r}; decorate the class with @twofold.system")
    return card.id


def configure(arm: str | Arm, /, **options: Any) -> Any:
    """A system with its options set and checked.

    Raises:
        UserError: unknown system or option, or a value that is not allowed; names what is allowed.
    """
    id, given = (arm.id, arm.options) if isinstance(arm, Arm) else (arm, {})
    return checked(resolve(id), id, {**given, **options})


def checked(cls: type, name: str, options: Mapping[str, Any]) -> Any:
    """`cls(**options)`, with pydantic's errors as one line that names option, value and what is allowed."""
    from pydantic import ValidationError

    known = [option.name for option in fields(cls)]
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    try:
        return cls(**options)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"])) or "options"
        message = first["msg"][:1].lower() + first["msg"][1:]
        if first["type"] == "missing":
            raise UserError(f"{name}: option {option!r} is needed; give it with --set {option}=…") from None
        raise UserError(f"{name}: option {option!r} is {first['input']!r}: {message}") from None
