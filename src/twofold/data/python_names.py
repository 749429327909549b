"""The names that Python source gives to things of its own, where they stand, and the source with others in their place.

Nothing is imported or run.
"""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twofold.data.python_source import column, parse

_BUILT_IN = frozenset(dir(builtins)) | frozenset(keyword.kwlist)
_BY_CUSTOM = frozenset({"self", "cls", "_"})
_LOOK_UP = frozenset({"locals", "vars", "eval", "exec"})  # who calls these finds names by their spelling
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Place:
    """One occurrence of a name: characters `start` to `end` of the source."""

    start: int
    end: int
    name: str


def places(source: str) -> list[Place]:
    """Every occurrence of every name that belongs to `source`, in order: of functions, classes, parameters, variables.

    Not among them are keywords, built-ins, what is imported or read from outside, attributes, names of keyword
    arguments, `self` and `cls`, names with two underscores at both ends, and names of which some occurrence has no
    place of its own (inside an f-string, before Python 3.12). Source that looks names up by their spelling (`locals`,
    `eval`, …), or that this Python cannot read, has none.
    """
    tree = parse(source)
    own = frozenset() if tree is None else _own(tree)
    if tree is None or not own:
        return []
    lines = source.splitlines(keepends=True)
    named = {
        (node.lineno, column(lines[node.lineno - 1], node.col_offset))
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
    }
    found = []
    starts = line_starts(source)
    before = ""
    for token in tokens(source):
        if token.type == tokenize.NAME and token.string in own and before != "." and token.start not in named:
            start = starts[token.start[0] - 1] + token.start[1]
            found.append(Place(start, start + len(token.string), token.string))
        before = token.string
    counted, expected = Counter(place.name for place in found), Counter(_occurrences(tree))
    return [place for place in found if counted[place.name] == expected[place.name]]


def renamed(source: str, names: Mapping[str, str]) -> str:
    """`source` with its own names exchanged, as `names` says; it is for the caller to see that no two become one."""
    pieces, end = [], 0
    for place in places(source):
        if place.name in names:
            pieces += [source[end : place.start], names[place.name]]
            end = place.end
    return "".join([*pieces, source[end:]])


def words(source: str) -> frozenset[str]:
    """Every name, keyword and attribute that occurs."""
    return frozenset(token.string for token in tokens(source) if token.type == tokenize.NAME)


def tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    """Python's tokens of source that it can read."""
    return tokenize.generate_tokens(io.StringIO(source).readline)


def line_starts(source: str) -> list[int]:
    """Where each line begins, in characters, as Python's tokens count lines."""
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def _own(tree: ast.AST) -> frozenset[str]:
    found = _Names()
    found.visit(tree)
    if found.read & _LOOK_UP:
        return frozenset()
    own = found.bound - found.foreign
    # A parameter that own calls name cannot be told from the keyword arguments of others.
    for called, keywords in found.calls:
        own -= keywords if called in found.bound else set()
    for called, keywords in found.methods:
        own -= keywords if called in found.foreign else set()
    dunder = {name for name in own if name.startswith("__") and name.endswith("__")}
    return frozenset(own - dunder - _BUILT_IN - _BY_CUSTOM)


class _Names(ast.NodeVisitor):
    """Names that are bound in functions and modules, and those that belong to someone else."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.foreign: set[str] = set()  # imported, global, or an attribute of a class
        self.read: set[str] = set()
        self.calls: list[tuple[str, set[str]]] = []
        self.methods: list[tuple[str, set[str]]] = []
        self._here = self.bound  # where a definition's name goes

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._define(node, self.bound)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._define(node, self.bound)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._define(node, self.foreign)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inside(node, self.bound)

    def visit_ListComp(self, node: ast.AST) -> None:
        self._inside(node, self.bound)

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self._here).add(node.id)

    def visit_arg(self, node: ast.arg) -> None:
        self.bound.add(node.arg)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._here.update(filter(None, [node.name]))
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            (self._here if alias.asname else self.foreign).add(alias.asname or alias.name.partition(".")[0])

    visit_ImportFrom = visit_Import

    def visit_Global(self, node: ast.Global) -> None:
        self.foreign.update(node.names)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name):
            self.calls.append((node.func.id, {word.arg for word in node.keywords if word.arg}))
        elif isinstance(node.func, ast.Attribute):
            self.methods.append((node.func.attr, {word.arg for word in node.keywords if word.arg}))
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        for name in _pattern_names(node):
            self._here.add(name)
        super().generic_visit(node)

    def _define(self, node: _Function | ast.ClassDef, inside: set[str]) -> None:
        self._here.add(node.name)
        self._inside(node, inside)

    def _inside(self, node: ast.AST, here: set[str]) -> None:
        outer, self._here = self._here, here
        self.generic_visit(node)
        self._here = outer


def _occurrences(tree: ast.AST) -> Iterator[str]:
    """Every name of a thing that can be called by it, as often as the source spells it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, _Function | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ExceptHandler):
            yield from filter(None, [node.name])
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname
        elif isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
        else:
            yield from _pattern_names(node)


def _pattern_names(node: ast.AST) -> Iterator[str]:
    """What a pattern of a match statement binds."""
    if isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
