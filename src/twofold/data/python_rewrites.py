"""Python functions written another way: with other names, with other statements that do the same, or in part."""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Iterable, Iterator

from twofold.data.python_names import line_starts, places, renamed, words
from twofold.data.python_source import column, parse

_NAMES = tuple(
    """
    value item result data entry node index count total text line name key pair first second left right source target
    current given found kept left_over part piece group number size limit start stop step place mark flag state mode
    kind level depth width base parent child owner holder reader writer buffer record field table
    """.split()  # noqa: SIM905
)
_NOT_MOVED = (ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr, ast.Lambda)


def with_other_names(source: str, seed: int) -> str:
    """Every name that belongs to `source` (see `places`) exchanged for a common one that it does not use."""
    own = list(dict.fromkeys(place.name for place in places(source)))
    taken, random_ = words(source) if own else frozenset(), random.Random(seed)
    free = [name for name in random_.sample(_NAMES, len(_NAMES)) if name not in taken]
    numbered = (f"{name}_{n}" for n in range(2, len(own) + 3) for name in _NAMES)
    fresh = iter([*free, *(name for name in numbered if name not in taken)])
    return renamed(source, {name: next(fresh) for name in own})


def with_other_statements(source: str) -> str:
    """The same behaviour in other words: keyword arguments in reverse order, loops that fill a list as comprehensions
    and the other way round; without docstring and comments. Source that this Python cannot read stays as it is.

    Keyword arguments move where their values are plain; loops are exchanged where their variables serve nothing else.
    """
    tree = parse(source)
    if tree is None:
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and all(word.arg and _is_plain(word.value) for word in node.keywords):
            node.keywords.reverse()
    nodes = list(ast.walk(tree))
    # Who catches an error may look at a list that is half full; who declares names may mean another's list.
    if not any(isinstance(node, ast.Try | ast.Global | ast.Nonlocal | ast.ClassDef) for node in nodes):
        uses = Counter(node.id for node in nodes if isinstance(node, ast.Name))
        for node in nodes:
            for field in ("body", "orelse", "finalbody"):
                block = getattr(node, field, None)
                if isinstance(block, list) and not isinstance(node, ast.Module):
                    setattr(node, field, list(_exchanged(block, uses)))
    return _without_docstring(tree)


def body_alone(source: str) -> str:
    """A function's statements at the left margin, without its signature and its return statements.

    It can still be parsed. Where that leaves nothing, and for source that is no single function, `source` as it is.
    """
    tree = parse(source)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return source
    function = tree.body[0]
    lines, starts = source.splitlines(keepends=True), line_starts(source)

    def span(node: ast.stmt) -> tuple[int, int]:
        ends = node.end_lineno or node.lineno
        begin = starts[node.lineno - 1] + column(lines[node.lineno - 1], node.col_offset)
        return begin, starts[ends - 1] + column(lines[ends - 1], node.end_col_offset or 0)

    first, last = span(function.body[0])[0], span(function.body[-1])[1]
    text = source
    for node, needed in sorted(_returns(function), key=lambda found: -found[0].lineno):
        begin, end = span(node)
        text = text[:begin] + ("pass" if needed else "") + text[end:]
        last -= end - begin - (4 if needed else 0)
    margin = source[source.rfind("\n", 0, first) + 1 : first]
    margin = margin if not margin.strip() else ""
    kept = "".join(line.removeprefix(margin) for line in text[first:last].splitlines(keepends=True))
    kept = "\n".join(line for line in kept.split("\n") if line.strip()) + "\n"
    read = parse(kept)
    return kept if read is not None and any(not isinstance(s, ast.Pass) for s in read.body) else source


def skeleton(source: str) -> str:
    """What stays of `source` when names, layout, comments and docstring are taken away: equal for near-duplicates."""
    own = list(dict.fromkeys(place.name for place in places(source)))
    tree = parse(renamed(source, {name: f"v{n}_" for n, name in enumerate(own)}))
    return source if tree is None else _without_docstring(tree)


def _without_docstring(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _is_plain(value: ast.expr) -> bool:
    """Whether it does not matter when it is evaluated."""
    return isinstance(value, ast.Constant | ast.Name)


def _exchanged(block: list[ast.stmt], uses: Counter[str]) -> Iterator[ast.stmt]:
    waiting = iter([*block, None])
    statement = next(waiting)
    while statement is not None:
        following = next(waiting)
        gathered = _gathered(statement, following, uses)
        if gathered is not None:
            yield gathered
            following = next(waiting)
        else:
            yield from _spelled_out(statement, uses)
        statement = following


def _gathered(empty: ast.stmt, loop: ast.stmt | None, uses: Counter[str]) -> ast.stmt | None:
    """`x = []` and `for t in i: x.append(e)` as `x = [e for t in i]`, with an `if` where the loop has one."""
    name = _list_name(empty)
    if name is None or not isinstance(empty, ast.Assign) or not _is_empty_list(empty.value):
        return None
    if not isinstance(loop, ast.For) or loop.orelse or len(loop.body) != 1:
        return None
    inner = loop.body[0]
    tests: list[ast.expr] = []
    if isinstance(inner, ast.If) and not inner.orelse and len(inner.body) == 1:
        tests = [inner.test]
        inner = inner.body[0]
    match inner:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(id=filled), "append"), [element], [])) if filled == name:
            pass
        case _:
            return None
    if isinstance(element, ast.Starred) or not _can_move(loop, loop.target, [element, loop.iter, *tests], name, uses):
        return None
    made = ast.comprehension(loop.target, loop.iter, tests, 0)
    return ast.Assign(empty.targets, ast.ListComp(element, [made]), lineno=empty.lineno)


def _spelled_out(statement: ast.stmt, uses: Counter[str]) -> Iterable[ast.stmt]:
    """`x = [e for t in i if c]` as `x = []` and a loop that appends; other statements as they are."""
    name = _list_name(statement)
    match statement:
        case ast.Assign(value=ast.ListComp(element, [ast.comprehension(target, source, tests, 0)])) if name is not None:
            if not _can_move(statement, target, [element, source, *tests], name, uses):
                return [statement]
        case _:
            return [statement]
    method = ast.Attribute(ast.Name(name, ast.Load()), "append", ast.Load())
    inner: ast.stmt = ast.Expr(ast.Call(method, [element], []))
    for test in reversed(tests):
        inner = ast.If(test, [inner], [])
    empty = ast.Assign(statement.targets, ast.List([], ast.Load()), lineno=statement.lineno)
    return [empty, ast.For(target, source, [inner], [], lineno=statement.lineno)]


def _list_name(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Assign([ast.Name(id=name)], _):
            return name
    return None


def _is_empty_list(value: ast.expr) -> bool:
    return isinstance(value, ast.List) and not value.elts


def _can_move(whole: ast.stmt, target: ast.expr, inside: list[ast.expr], name: str, uses: Counter[str]) -> bool:
    """Whether a loop's variables serve nothing else, its list is not read in it, and nothing ties it to its place."""
    if not all(isinstance(node, ast.Name | ast.Tuple | ast.Store) for node in ast.walk(target)):
        return False
    nodes = [node for expression in inside for node in ast.walk(expression)]
    if any(isinstance(node, _NOT_MOVED) or (isinstance(node, ast.Name) and node.id == name) for node in nodes):
        return False
    variables = {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
    here = Counter(node.id for node in ast.walk(whole) if isinstance(node, ast.Name))
    return name not in variables and all(here[v] == uses[v] for v in variables)


def _returns(function: ast.AST) -> Iterator[tuple[ast.Return, bool]]:
    """Every return statement, and whether something must stand in its place."""
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            found = getattr(node, field, None)
            block: list[ast.stmt] = found if isinstance(found, list) else []
            for place, statement in enumerate(block):
                if isinstance(statement, ast.Return):
                    alone = all(isinstance(other, ast.Return) for other in block) and place == 0
                    shares = any(other.lineno == statement.lineno for other in block if other is not statement)
                    yield statement, alone or shares or statement.lineno == getattr(node, "lineno", 0)
