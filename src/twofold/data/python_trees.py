"""Python source as a tree whose leaves, from left to right, are its tokens; and such trees as flat sequences.

Guo et al. 2022, "UniXcoder", https://arxiv.org/abs/2203.03850, section 3.1, algorithm 1.
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from twofold.data.python_names import line_starts, tokens
from twofold.data.python_source import column, parse
from twofold.errors import UserError

LEFT, RIGHT = "::left", "::right"
_LAYOUT = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER}
_OTHERS = (ast.arguments, ast.arg, ast.keyword, ast.alias, ast.comprehension, ast.withitem, ast.ExceptHandler)
KINDS = ("Module", *sorted(k.__name__ for k in (*ast.stmt.__subclasses__(), *ast.expr.__subclasses__(), *_OTHERS)))
"""Kinds of node that trees have; patterns of match statements stand as leaves of their statement."""
MARKS = tuple(kind + side for kind in KINDS for side in (LEFT, RIGHT))
"""What flattening puts around the children of a node."""


@dataclass(frozen=True)
class Node:
    """A node: its kind, and its children from left to right; a leaf is a token's text."""

    kind: str
    children: tuple[Node | str, ...]


def tree_of(source: str) -> Node | None:
    """The syntax tree of `source`; None where this Python cannot read it. Layout and comments are no part of it."""
    tree = parse(source)
    if tree is None:
        return None
    lines, starts = source.splitlines(keepends=True), line_starts(source)

    def place(line: int, offset: int) -> int:
        return starts[line - 1] + column(lines[line - 1], offset)

    spans: list[tuple[int, int, str]] = []
    _spans(tree, place, spans)
    # Of nodes with one beginning the longer holds the shorter; of equal ones, the one that was met first.
    waiting = sorted(spans, key=lambda span: (span[0], -span[1]))[::-1]
    children: list[list[Node | str]] = [[]]
    around: list[tuple[int, str]] = []

    def close() -> None:
        inner = tuple(children.pop())
        children[-1].append(Node(around.pop()[1], inner))

    for token in tokens(source):
        if token.type in _LAYOUT:
            continue
        start = starts[token.start[0] - 1] + token.start[1]
        while around and around[-1][0] <= start:
            close()
        while waiting and waiting[-1][0] <= start:
            _, end, kind = waiting.pop()
            if end > start:
                around.append((min(end, around[-1][0]) if around else end, kind))
                children.append([])
        children[-1].append(token.string)
    while around:
        close()
    return Node("Module", tuple(children[0]))


def flatten(tree: Node | str) -> list[str]:
    """The tree as one sequence: a leaf is its text; a node is `kind::left`, its children, `kind::right`."""
    if isinstance(tree, str):
        return [tree]
    return [tree.kind + LEFT, *(item for child in tree.children for item in flatten(child)), tree.kind + RIGHT]


def unflatten(sequence: Iterable[str]) -> Node:
    """The tree that `flatten` made the sequence of.

    Raises:
        UserError: it is no such sequence.
    """
    opened: list[tuple[str, list[Node | str]]] = [("", [])]
    for item in sequence:
        if item.endswith(LEFT):
            opened.append((item.removesuffix(LEFT), []))
        elif item.endswith(RIGHT) and opened[-1][0] == item.removesuffix(RIGHT):
            kind, children = opened.pop()
            opened[-1][1].append(Node(kind, tuple(children)))
        else:
            opened[-1][1].append(item)
    found = opened[0][1]
    if len(opened) != 1 or len(found) != 1 or not isinstance(found[0], Node):
        raise UserError("this is no flattened tree: its marks do not pair; flatten a tree to make one")
    return found[0]


def leaves(tree: Node | str) -> Iterator[str]:
    """The tokens, from left to right."""
    if isinstance(tree, str):
        yield tree
    else:
        for child in tree.children:
            yield from leaves(child)


def pruned(tree: Node, room: int, cost: Callable[[str], int] = lambda leaf: 1) -> Node:
    """The tree without what comes too late: whole subtrees are cut until its flat sequence costs at most `room`.

    Args:
        room: at least 2, which the marks of the root take; each mark costs 1.
        cost: of a leaf.

    Raises:
        UserError: there is no room for the root.
    """
    if room < 2:
        raise UserError(f"a flattened tree takes at least 2 items, and {room} are allowed; allow more")
    kept: list[Node | str] = []
    left = room - 2
    for child in tree.children:
        price = _price(child, cost)
        if price <= left:
            kept.append(child)
            left -= price
            continue
        if isinstance(child, Node) and left > 2:
            kept.append(pruned(child, left, cost))
        break
    return Node(tree.kind, tuple(kept))


def _price(tree: Node | str, cost: Callable[[str], int]) -> int:
    return cost(tree) if isinstance(tree, str) else 2 + sum(_price(child, cost) for child in tree.children)


def _spans(node: ast.AST, place: Callable[[int, int], int], found: list[tuple[int, int, str]]) -> Sequence[int]:
    """Adds the span of each node that has one, a parent before its children; gives (start, end), or nothing."""
    at = len(found)
    ends: list[int] = []
    if not isinstance(node, ast.JoinedStr):  # what stands in an f-string has no place of its own before Python 3.12
        for child in ast.iter_child_nodes(node):
            ends += _spans(child, place, found)
    if isinstance(node, _PLACED):
        ends += [place(node.lineno, node.col_offset), place(node.end_lineno or 0, node.end_col_offset or 0)]
    if not ends:
        return ()
    span = min(ends), max(ends)
    if type(node).__name__ in _KNOWN:
        found.insert(at, (*span, type(node).__name__))
    return span


_PLACED = (ast.stmt, ast.expr, ast.arg, ast.keyword, ast.alias, ast.ExceptHandler)
_KNOWN = frozenset(KINDS) - {"Module"}
