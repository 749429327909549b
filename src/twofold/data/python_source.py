"""Functions and docstrings read out of Python source text. Nothing is imported or run."""

from __future__ import annotations

import ast
import inspect
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from twofold.data.prose import count_words, first_sentence, name_words, without_words

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
Row = dict[str, str]

FEWEST_QUERY_WORDS = 3
FEWEST_DOCSTRING_WORDS = 4
FEWEST_REST_WORDS = 8


@dataclass(frozen=True)
class Documented:
    """A documented object: its node, dotted name (`module.Class.method`), own name and cleaned docstring."""

    node: Definition | ast.Module
    qualified: str
    name: str
    docstring: str


def parse(source: str) -> ast.Module | None:
    """The syntax tree of `source`, or None when this Python cannot read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks about the escapes and comparisons of other people's code
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def documented(tree: ast.Module, module: str) -> Iterator[Documented]:
    """Every module, class, function and method with a docstring, in source order.

    Definitions under `if` and `try` count; functions inside functions do not, they are part of the outer one.
    """
    docstring = ast.get_docstring(tree)
    if docstring:
        yield Documented(tree, module, module.rpartition(".")[2], docstring)
    for node, qualified in _inside(tree.body, f"{module}."):
        docstring = ast.get_docstring(node)
        if docstring:
            yield Documented(node, qualified, node.name, docstring)


def _inside(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[Definition, str]]:
    """Definitions, each with its qualified name behind `prefix`."""
    for node in body:
        if isinstance(node, Definition):
            qualified = f"{prefix}{node.name}"
            yield node, qualified
            if isinstance(node, ast.ClassDef):
                yield from _inside(node.body, f"{qualified}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for field in ("body", "handlers", "orelse", "finalbody"):
                for child in getattr(node, field, ()):
                    yield from _inside(child.body if isinstance(child, ast.ExceptHandler) else [child], prefix)


def function_rows(tree: ast.Module, source: str, module: str) -> list[Row]:
    """Search rows from one module: what a function is for (query) and how it is written (document).

    Keys: id, query, document, text, group, name. The query is the docstring's first sentence without the words
    of the function's own name; the document is the source, decorators included, without its docstring and at
    the left margin; the text is the source with it. Left out are functions with a docstring of fewer than 4
    words, a query of fewer than 3 words, or nothing after the docstring but a placeholder (`pass`, `...`,
    `raise NotImplementedError`).
    """
    lines = _lines(source)
    rows = []
    for item in documented(tree, module):
        if not isinstance(item.node, Function):
            continue
        pair = _pair(item.node, item.docstring, lines)
        if pair is not None:
            text = _function_source(item.node, lines, docstring=True)
            rows.append(_row(item, module, query=pair[0], document=pair[1], text=text or ""))
    return rows


def every_function(tree: ast.Module, source: str, file: str, module: str) -> list[Row]:
    """A row for each function and method of one module, those inside of functions aside. Keys as `function_rows`.

    What `function_rows` leaves out has an empty query, and its source as document, without its docstring where that has
    lines of its own. The id and name are `file:Class.method`.
    """
    lines = _lines(source)
    rows = []
    for node, qualified in _inside(tree.body, ""):
        if isinstance(node, ast.ClassDef):
            continue
        text = _function_source(node, lines, docstring=True) or ""
        docstring = ast.get_docstring(node) or ""
        bare = _function_source(node, lines, docstring=False) if docstring else None
        query, document = _pair(node, docstring, lines) or ("", bare or text)
        item = Documented(node, f"{file}:{qualified}", node.name, docstring)
        rows.append(_row(item, module, query=query, document=document, text=text))
    return rows


def _lines(source: str) -> list[str]:
    return [f"{line}\n" for line in source.replace("\r\n", "\n").split("\n")]


def _pair(node: Function, docstring: str, lines: list[str]) -> tuple[str, str] | None:
    """What a function is for and how it is written; None where it does not say."""
    if count_words(docstring) < FEWEST_DOCSTRING_WORDS or _is_placeholder(node):
        return None
    query = without_words(first_sentence(docstring), name_words(node.name))
    document = _function_source(node, lines, docstring=False)
    return None if document is None or count_words(query) < FEWEST_QUERY_WORDS else (query, document)


def without_docstring(source: str) -> str | None:
    """The source of one function without its docstring, at the left margin; None where this Python cannot read it."""
    source = textwrap.dedent(source).strip("\n")
    tree = parse(source)
    node = tree.body[0] if tree is not None and tree.body else None
    if not isinstance(node, Function):
        return None
    lines = [f"{line}\n" for line in source.split("\n")]
    return _function_source(node, lines, docstring=ast.get_docstring(node) is None)


def docstring_rows(tree: ast.Module, module: str) -> list[Row]:
    """One row for each docstring of a module, with its first sentence as query and the rest as document.

    The query's exact text and the object's own name are taken out of the document. Keys as `function_rows`;
    query and document are empty where the rest has fewer than 8 words.
    """
    rows = []
    for item in documented(tree, module):
        query, document = question_and_rest(item.docstring, item.name)
        rows.append(_row(item, module, query=query, document=document, text=item.docstring))
    return rows


def question_and_rest(text: str, name: str) -> tuple[str, str]:
    """A text's first sentence, and the rest without that sentence and without `name`; empty where unusable."""
    query = first_sentence(text)
    opening = text.strip()
    words = query.split()
    if len(words) < FEWEST_QUERY_WORDS:
        return "", ""
    rest = opening
    start = _find_words(opening, words)
    while start is not None:
        rest = rest[: start[0]] + " " + rest[start[1] :]
        start = _find_words(rest, words)
    rest = inspect.cleandoc(without_words(rest, frozenset({name.casefold()})))
    return (query, rest) if count_words(rest) >= FEWEST_REST_WORDS else ("", "")


def _find_words(text: str, words: list[str]) -> tuple[int, int] | None:
    """Where `words` stand one after the other in `text`, whatever the white space between them."""
    start = text.find(words[0])
    while start >= 0:
        end = start
        for word in words:
            while end < len(text) and text[end].isspace():
                end += 1
            if not text.startswith(word, end):
                break
            end += len(word)
        else:
            return start, end
        start = text.find(words[0], start + 1)
    return None


def _row(item: Documented, module: str, *, query: str, document: str, text: str) -> Row:
    return {
        "id": item.qualified,
        "query": query,
        "document": document,
        "text": text,
        "group": module,
        "name": item.qualified,
    }


def _is_placeholder(node: Function) -> bool:
    """Whether nothing follows the docstring but statements that say "to be written elsewhere"."""
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (isinstance(statement, ast.Raise) and "NotImplementedError" in ast.dump(statement))
        for statement in node.body[1:]
    )


def _function_source(node: Function, lines: list[str], *, docstring: bool) -> str | None:
    """A function's source at the left margin; None where its docstring shares a line with other code."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    last = node.end_lineno or node.lineno
    taken = lines[first:last]
    if not docstring:
        quote = node.body[0]
        begin, end = quote.lineno - 1 - first, (quote.end_lineno or quote.lineno) - first
        around = taken[begin][: column(taken[begin], quote.col_offset)]
        after = taken[end - 1][column(taken[end - 1], quote.end_col_offset or 0) :].strip()
        if around.strip() or (after and not after.startswith("#")):
            return None
        following = taken[end:]
        while following and not following[0].strip():
            following = following[1:]
        taken = taken[:begin] + following
    margin = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
    return "".join(line.removeprefix(margin) for line in taken).rstrip() + "\n"


def column(line: str, offset: int) -> int:
    """A syntax tree's column (UTF-8 bytes) as an index into the line's characters."""
    return offset if line.isascii() else len(line.encode()[:offset].decode(errors="ignore"))
