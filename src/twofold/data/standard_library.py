"""`pydoc` and `pycode`: prose and documented functions that every Python already has on disk.

Read with `ast` from the source files of a fixed list of modules, never by importing them. The list holds what
Python 3.11 to 3.14 share; what those files say still differs from version to version, so the fingerprint
names the version. Modules that some installations leave out (`tkinter`, `turtle`, `venv`, `ensurepip`) are not in it.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from twofold import progress
from twofold.data import prose, python_source
from twofold.data.cache import cached_json, digest
from twofold.data.python_source import Row, docstring_rows, function_rows, parse
from twofold.data.rows import Rows
from twofold.errors import UserError

MODULES = tuple(
    """
    __future__ _aix_support _collections_abc _compat_pickle _markupbase _osx_support _py_abc _pydecimal _pyio
    _sitebuiltins _strptime _threading_local _weakrefset abc argparse ast asyncio base64 bdb bisect bz2 cProfile
    calendar cmd code codecs codeop collections colorsys compileall concurrent configparser contextlib
    contextvars copy copyreg csv ctypes curses dataclasses datetime dbm decimal difflib dis doctest email
    encodings enum filecmp fileinput fnmatch fractions ftplib functools genericpath getopt getpass
    gettext glob graphlib gzip hashlib heapq hmac html http imaplib importlib inspect io ipaddress json keyword
    linecache locale logging lzma mailbox mimetypes modulefinder multiprocessing netrc ntpath numbers opcode
    operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posixpath pprint profile
    pstats pty py_compile pyclbr pydoc pydoc_data queue quopri random re reprlib rlcompleter runpy sched secrets
    selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl stat statistics string
    stringprep struct subprocess symtable sysconfig tabnanny tarfile tempfile textwrap threading timeit
    token tokenize tomllib trace traceback tracemalloc tty types typing unittest urllib uuid
    warnings wave weakref webbrowser wsgiref xml xmlrpc zipapp zipfile zipimport zoneinfo
    """.split()  # noqa: SIM905
)
_NOT_READ = {"test", "tests", "idle_test", "idlelib", "lib2to3", "__pycache__"}
_TOPICS = "pydoc_data.topics"


def pycode() -> Rows:
    """About 4,300 functions of the standard library. Columns id, query, document, text, group and name.

    query: the docstring's first sentence without the words of the function's own name; document: the function
    without its docstring; text: the function with it; group: its module; name: `module.Class.method`.
    Of functions with equal documents the first is kept. Raises UserError where Python has no sources on disk.
    """
    return _rows("pycode", "functions", _merge(_extracted()["functions"], "document"))


def pydoc() -> Rows:
    """About 3,000 docstrings of the standard library that have something to say after their first sentence.

    query: that sentence; document: the rest, without the sentence and the object's own name; text: all of the
    docstring; id, group (module) and name as in `pycode`. Raises UserError where Python has no sources on disk.
    """
    pairs = [row for row in _extracted()["docstrings"] if row["query"]]
    return _rows("pydoc", "docstrings", _merge(pairs, "document"))


def texts() -> Rows:
    """All documentation strings and the language reference's topics, for language work: about 1.8 MB of prose.

    Columns id, text, group and name. Docstrings are grouped by module. A paragraph that stands in two topics is
    kept in the longer one, so that each topic can be a group of its own (`pydoc_data.topics.<name>`).
    """
    extracted = _extracted()
    every = [{key: row[key] for key in ("id", "text", "group", "name")} for row in extracted["docstrings"]]
    return _rows("pydoc:texts", "docstrings and topics", _merge(every + extracted["topics"], "text"))


def sources(root: Path | None = None) -> Iterator[tuple[str, Path]]:
    """(module name, file) of every module on the list, in the order of the names. `root`: the library's folder."""
    root = root or Path(sysconfig.get_path("stdlib"))
    for name in sorted(MODULES):
        if (root / f"{name}.py").is_file():
            yield name, root / f"{name}.py"
        found = []
        for folder, inner, files in os.walk(root / name):
            inner[:] = [each for each in inner if each not in _NOT_READ and each.isidentifier()]
            found += [Path(folder, file) for file in files if file.endswith(".py")]
        for path in sorted(found, key=lambda path: path.parts):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            yield module.removesuffix(".__init__"), path


def _rows(name: str, what: str, records: list[Row]) -> Rows:
    version = platform.python_version()
    columns = {column: [record[column] for record in records] for column in records[0]}
    source = f"{what} of Python's standard library, Python {version}"
    return Rows.of(columns, name=name, source=source, prefix=f"python-{version}")


def _extracted() -> dict[str, list[Row]]:
    """The functions, docstrings and topics of the library, read once and kept in the cache."""
    stdlib = sysconfig.get_path("stdlib")
    code = [Path(module).read_bytes() for module in (__file__, python_source.__file__, prose.__file__)]
    key = f"{platform.python_version()}-{digest(str(stdlib), *code)[:16]}"
    extracted = cached_json("standard-library", key, _extract)
    if not extracted["functions"] or not extracted["docstrings"]:
        raise UserError(
            f"no library sources in {stdlib}; use a Python that is installed with its source files, or give a data file"
        )
    return extracted


def _extract() -> dict[str, list[Row]]:
    files = list(sources())
    functions: list[Row] = []
    docstrings: list[Row] = []
    topics: list[Row] = []
    with progress.stage("read the standard library", total=len(files)) as stage:
        for module, path in files:
            stage.advance()
            try:
                source = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            tree = parse(source)
            if tree is not None:
                functions += function_rows(tree, source, module)
                docstrings += docstring_rows(tree, module)
                topics += _topics(tree) if module == _TOPICS else []
    return {"functions": functions, "docstrings": docstrings, "topics": topics}


def _topics(tree: ast.Module) -> list[Row]:
    topics: dict[str, str] = {}
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict):
            topics = ast.literal_eval(value)
    seen: set[str] = set()
    rows = []
    for topic in sorted(topics, key=lambda topic: (-len(topics[topic]), topic)):
        kept = []
        for paragraph in re.split(r"\n[ \t]*\n", topics[topic].strip("\n")):
            words = " ".join(paragraph.split())
            if words not in seen:
                seen.add(words)
                kept.append(paragraph)
        if kept:
            name = f"{_TOPICS}.{topic}"
            rows.append({"id": name, "text": "\n\n".join(kept), "group": name, "name": name})
    return rows


def _merge(rows: list[Row], column: str) -> list[Row]:
    """Rows without those whose `column` was there before, and with ids that are all different."""
    seen: set[str] = set()
    times: dict[str, int] = {}
    kept = []
    for row in rows:
        words = " ".join(row[column].split())
        if words in seen:
            continue
        seen.add(words)
        times[row["id"]] = times.get(row["id"], 0) + 1
        number = times[row["id"]]
        kept.append(row if number == 1 else {**row, "id": f"{row['id']}#{number}"})
    return kept
