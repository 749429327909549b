"""Functions and docstrings from source: no imports, no names given away, nothing twice."""

from __future__ import annotations

import ast
import platform
import sys
import textwrap
from pathlib import Path

import pytest

from twofold.data import Rows, read, split
from twofold.data import standard_library as library
from twofold.data.prose import name_words
from twofold.data.python_source import docstring_rows, every_function, function_rows, parse, question_and_rest
from twofold.errors import UserError

SOURCE = textwrap.dedent(
    '''
    """A module of examples. It has more to say than its first sentence, a little more."""
    import os

    @decorated
    def load_table(path):
        """Load the table from a file, e.g. A csv file. It must exist.

        More about load_table.
        """
        # a comment stays
        data = open(path).read()
        return data.split()

    class Box:
        def open_lid(self):
            """Lift the é lid of it carefully."""; return 1

        def shut(self):
            """Close everything that was opened before."""
            self.text = """
    left margin
            """
            return self.text

        async def wait(self):
            """Wait until somebody opens the box again."""

            await self.something

    if os.name:
        def soon(self):
            """To be written by those who inherit."""
            raise NotImplementedError

        def later():
            """Count how many there are of them."""
            def inner():
                """Something inside that does not count here."""
                return 1
            return inner

    def short():
        """Too short."""
        return 1
    '''
)


def tree_of(source: str) -> ast.Module:
    tree = parse(source)
    assert tree is not None
    return tree


@pytest.fixture(scope="module")
def pycode() -> Rows:
    return read("pycode")


def test_functions_of_a_module() -> None:
    rows = function_rows(tree_of(SOURCE), SOURCE, "pkg.mod")
    assert [row["name"] for row in rows] == [
        "pkg.mod.load_table",
        "pkg.mod.Box.shut",
        "pkg.mod.Box.wait",
        "pkg.mod.later",
    ]
    first, shut, wait, later = rows
    assert first["query"] == "the from a file, e.g. A csv file."
    assert first["group"] == "pkg.mod"
    assert first["document"] == (
        "@decorated\ndef load_table(path):\n    # a comment stays\n"
        "    data = open(path).read()\n    return data.split()\n"
    )
    assert '"""Load the table' in first["text"]
    assert first["text"].startswith('@decorated\ndef load_table(path):\n    """')
    assert shut["document"] == 'def shut(self):\n    self.text = """\nleft margin\n    """\n    return self.text\n'
    assert wait["document"] == "async def wait(self):\n    await self.something\n"
    assert "Something inside" in later["document"]
    for row in rows:
        ast.parse(row["document"])
        ast.parse(row["text"])


def test_every_function_of_a_module() -> None:
    rows = every_function(tree_of(SOURCE), SOURCE, "pkg/mod.py", "pkg.mod")
    assert [row["name"] for row in rows] == [
        f"pkg/mod.py:{name}"
        for name in ("load_table", "Box.open_lid", "Box.shut", "Box.wait", "soon", "later", "short")
    ]
    told = {row["name"].partition(":")[2]: row for row in function_rows(tree_of(SOURCE), SOURCE, "")}
    for row in rows:
        ast.parse(row["text"])
        if (same := told.get("." + row["name"].partition(":")[2])) is not None:
            assert {key: row[key] for key in ("query", "document", "text")} == {
                key: same[key] for key in ("query", "document", "text")
            }
    alone = {row["name"].partition(":")[2]: row["document"] for row in rows if not row["query"]}
    assert alone["soon"] == "def soon(self):\n    raise NotImplementedError\n"
    assert alone["short"] == "def short():\n    return 1\n"
    assert alone["Box.open_lid"].endswith('"""Lift the é lid of it carefully."""; return 1\n')  # one line holds both
    assert set(alone) == {"soon", "short", "Box.open_lid"}


def test_a_source_that_does_not_parse_gives_none() -> None:
    for broken in ("def f(:", "x = '\0'", "(" * 500):
        assert parse(broken) is None


def test_docstrings_of_a_module() -> None:
    rows = docstring_rows(tree_of(SOURCE), "pkg.mod")
    assert rows[0]["name"] == "pkg.mod"
    assert rows[0]["query"] == "A module of examples."
    assert rows[0]["document"] == "It has more to say than its first sentence, a little more."
    assert rows[1]["text"].endswith("More about load_table.")
    assert (rows[1]["query"], rows[1]["document"]) == ("", "")


def test_the_rest_repeats_neither_question_nor_name() -> None:
    text = "Sort the list.\n\nSort the\n  list. But sort_it with care, since sort_it() may take a very long while."
    query, rest = question_and_rest(text, "sort_it")
    assert query == "Sort the list."
    assert rest == "But with care, since may take a very long while."


def test_pycode_has_what_it_promises(pycode: Rows) -> None:
    assert 4_000 < len(pycode) < 6_000
    assert list(pycode.columns) == ["id", "query", "document", "text", "group", "name"]
    assert pycode.fingerprint.startswith(f"python-{platform.python_version()}-")
    assert len(set(pycode.columns["id"])) == len(pycode)
    assert len({" ".join(document.split()) for document in pycode.columns["document"]}) == len(pycode)
    for query, name, group in zip(*pycode.require("query", "name", "group"), strict=True):
        own = name.rpartition(".")[2]
        words = {word.casefold() for word in "".join(c if c.isalnum() or c == "_" else " " for c in query).split()}
        assert not words & name_words(own), (name, query)
        assert name.startswith(group + ".")
        assert len(query.split()) >= 2
    assert "textwrap.fill" in pycode.columns["name"]


def test_pycode_documents_parse_and_hold_no_docstring(pycode: Rows) -> None:
    for document in pycode.columns["document"][::20]:
        function = ast.parse(document).body[0]
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(function) is None


def test_splits_are_of_a_useful_size(pycode: Rows) -> None:
    rows = split(pycode)
    assert rows.splits is not None
    shares = [rows.splits.count(part) / len(rows) for part in ("train", "validation", "test")]
    assert 0.6 < shares[0] < 0.9
    assert min(shares[1:]) > 0.03


def test_pydoc_and_its_texts(pycode: Rows) -> None:
    pairs, texts = read("pydoc"), read("pydoc:texts")
    assert 2_000 < len(pairs) < len(texts)
    for query, document in zip(*pairs.require("query", "document"), strict=True):
        assert query
        assert document.strip()
        assert query not in document
    assert set(pairs.columns["text"]) <= set(texts.columns["text"])
    assert sum(map(len, texts.columns["text"])) > 1_500_000
    topics = [name for name in texts.columns["group"] if name.startswith("pydoc_data.topics.")]
    assert len(topics) == len(set(topics)) > 40
    assert split(pairs).part("train").fingerprint != pairs.fingerprint


def test_nothing_is_imported_and_nothing_outside_the_list_is_read() -> None:
    before = set(sys.modules)
    names = [module for module, _ in library.sources()]
    assert len(names) == len(set(names))
    assert set(sys.modules) == before
    assert {name.split(".")[0] for name in names} <= set(library.MODULES)
    assert not [name for name in names if {"test", "tests", "idlelib", "lib2to3"} & set(name.split("."))]
    assert set(library.MODULES) == {name.split(".")[0] for name in names}


def test_equal_from_the_cache_and_after_damage(pycode: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "lib"
    small.mkdir()
    (small / "textwrap.py").write_text(SOURCE, encoding="utf-8")
    (small / "json").mkdir()
    (small / "json" / "__init__.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(small))
    made = library.pycode()
    assert made.columns["group"] == ["json"] * 4  # the same functions in textwrap are merged
    kept = list((tmp_path / "cache").rglob("*.json"))
    assert len(kept) == 1
    assert library.pycode().fingerprint == made.fingerprint
    kept[0].write_bytes(kept[0].read_bytes()[:50])
    assert library.pycode().columns == made.columns
    (tmp_path / "blocked").write_text("a file where the cache would be")
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "blocked"))
    assert library.pycode().columns == made.columns


def test_a_python_without_sources_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="no library sources in"):
        library.pycode()
