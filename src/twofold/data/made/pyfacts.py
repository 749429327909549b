"""True facts of Python: what an exception derives from, where a function lives, whose a method is, a constant's type.

Exceptions and methods are read off the built-in types, functions and constants off the standard library's sources.
"""

from __future__ import annotations

import ast
import builtins
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from twofold.data import standard_library
from twofold.data.cache import cached_json, digest
from twofold.data.made.labelled import Example, gathered, some
from twofold.data.python_source import parse
from twofold.data.rows import Rows

BLANK = "…"
TEMPLATES: dict[str, tuple[str, ...]] = {
    "base": (
        "{s} derives from {o}.", "The base class of {s} is {o}.", "To catch {s}, catching {o} is enough.",
        "{o} is the parent of {s}.", "Each {s} is also a {o}.", "{s} is a special kind of {o}.",
        "An except clause for {o} handles {s} too.", "In the tree of errors, {s} stands under {o}.",
    ),
    "module": (
        "{s}() is defined in the module {o}.", "Import {s} from {o}.", "The function {s} belongs to {o}.",
        "The module {o} offers {s}().", "Call {o}.{s}().", "You find {s} in {o}.",
        "Without {o} there would be no {s}().", "Among the functions of {o} is {s}.",
    ),
    "class": (
        "{s}() is a method of {o}.", "Every {o} has a method {s}().", "The type {o} defines {s}().",
        "Call {s}() on a {o}.", "One calls {s}() on objects of type {o}.", "Objects of the type {o} know {s}().",
        "Whoever holds a {o} may use {s}().", "Among the methods of {o} is {s}.",
    ),
    "type": (
        "{s} is of type {o}.", "The constant {s} is a {o}.", "The value of {s} is a {o}.",
        "isinstance({s}, {o}) is true.",
        "type({s}) gives {o}.", "{s} holds a {o}.", "Use {s} where a {o} is wanted.", "Its author made {s} a {o}.",
    ),
}  # fmt: skip
"""Relation → eight templates, with the places `{s}` and `{o}`."""
_TYPES = ("str", "bytes", "list", "tuple", "dict", "set", "frozenset", "int", "float", "complex", "bytearray", "range")
_MODULES = tuple(
    """
    os shutil tempfile glob random statistics heapq bisect textwrap difflib inspect ast dis asyncio calendar functools
    operator json pickle base64 socket ssl email locale struct string types typing threading
    """.split()  # noqa: SIM905
)
_MOST_CHOICES = 12
_MOST_OF_A_TYPE = 40


def pyfacts(train: int = 5, seed: int = 0) -> Rows:
    """Rows `text` (a statement without its object), `label` (the object), `choices`, `statement`, `subject`,
    `relation` (base, module, class or type), `template` and `split`.

    About 700 facts. Each is said in `train` templates in training, in one in validation, and in the last two in the
    test, which are never used in training.

    Args:
        train: in how many of the first five templates each fact is said in training.
        seed: of the templates and choices.

    Raises UserError where Python has no sources on disk.
    """
    random = np.random.default_rng(seed)
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for subject, relation, object, choices in facts():
        wrong = [c for c in choices if c != object]
        offered = sorted([object, *some(wrong, _MOST_CHOICES - 1, random)])
        chosen = {"train": some(range(5), train, random), "validation": [5], "test": [6, 7]}
        for part, numbers in chosen.items():
            for number in numbers:
                template = TEMPLATES[relation][number]
                parts[part].append(
                    {
                        "text": template.format(s=subject, o=BLANK),
                        "label": object,
                        "choices": offered,
                        "statement": template.format(s=subject, o=object),
                        "subject": subject,
                        "relation": relation,
                        "template": number,
                    }
                )
    return gathered("pyfacts", parts, seed, f"facts of Python {platform.python_version()}, seed {seed}")


def facts() -> list[tuple[str, str, str, list[str]]]:
    """(subject, relation, object, the relation's objects) of every fact; a subject has one object in a relation."""
    key = f"{platform.python_version()}-{digest(Path(__file__).read_bytes(), str(standard_library.__file__))[:16]}"
    found: list[Sequence[str]] = cached_json("pyfacts", key, lambda: list(_found()))
    objects: dict[str, list[str]] = {}
    for _, relation, object in found:
        objects.setdefault(relation, []).append(object)
    every = {relation: sorted(set(names)) for relation, names in objects.items()}
    return [(subject, relation, object, every[relation]) for subject, relation, object in found]


def _found() -> Iterator[tuple[str, str, str]]:
    for name, value in sorted(vars(builtins).items()):
        if isinstance(value, type) and issubclass(value, BaseException) and value.__name__ == name:
            assert value.__base__ is not None
            if value.__base__ is not object:
                yield name, "base", value.__base__.__name__
    yield from _only(_methods(), "class")
    functions: list[tuple[str, str]] = []
    constants: list[tuple[str, str]] = []
    for module, path in standard_library.sources():
        if module.startswith("_") or "." in module:
            continue
        tree = parse(path.read_text(encoding="utf-8", errors="replace"))
        for node in tree.body if tree is not None else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                if module in _MODULES:
                    functions.append((node.name, module))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name, type_name = node.targets[0].id, _type(node.value)
                if not name.startswith("_") and name.isupper() and type_name is not None:
                    constants.append((f"{module}.{name}", type_name))
    yield from _only(functions, "module")
    seen: Counter[str] = Counter()
    for fact in _only(constants, "type"):
        seen[fact[2]] += 1
        if seen[fact[2]] <= _MOST_OF_A_TYPE:
            yield fact


def _methods() -> list[tuple[str, str]]:
    """Methods of built-in types that are their own, and not special."""
    return [
        (method, type_name)
        for type_name in _TYPES
        for method in sorted(vars(getattr(builtins, type_name)))
        if not method.startswith("_") and callable(getattr(getattr(builtins, type_name), method))
    ]


def _only(pairs: Sequence[tuple[str, str]], relation: str) -> Iterator[tuple[str, str, str]]:
    """The pairs whose subject has one object."""
    objects: dict[str, set[str]] = {}
    for subject, object in pairs:
        objects.setdefault(subject, set()).add(object)
    for subject, found in objects.items():
        if len(found) == 1:
            yield subject, relation, next(iter(found))


def _type(node: ast.expr) -> str | None:
    """The type of a literal."""
    if isinstance(node, ast.Constant) and node.value is not None and node.value is not Ellipsis:
        return type(node.value).__name__
    kinds: dict[type[ast.expr], str] = {ast.List: "list", ast.Tuple: "tuple", ast.Dict: "dict", ast.Set: "set"}
    return kinds.get(type(node))
