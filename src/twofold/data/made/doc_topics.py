"""Which area of the standard library a sentence of its documentation speaks of.

The labels are 16 areas, told by the module. The names of modules, classes and functions are taken out, so that the
sentence has to be understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twofold.data import standard_library
from twofold.data.cache import cached_json, digest
from twofold.data.made.labelled import Example, gathered
from twofold.data.prose import count_words, first_paragraph, name_words
from twofold.data.rows import PARTS, Rows
from twofold.data.splits import place

AREAS: dict[str, tuple[str, ...]] = {
    name: tuple(modules.split())
    for name, modules in {
        "archives": "tarfile zipfile zipapp gzip bz2 lzma zipimport",
        "code": "ast dis opcode symtable tokenize token tabnanny pyclbr codeop code inspect keyword modulefinder",
        "commands": "argparse optparse getopt cmd curses getpass pty tty rlcompleter",
        "containers": "collections _collections_abc heapq bisect queue weakref _weakrefset graphlib",
        "dates": "datetime calendar zoneinfo _strptime sched timeit",
        "files": "pathlib os posixpath ntpath genericpath shutil tempfile glob fnmatch fileinput filecmp stat io _pyio",
        "imports": "importlib pkgutil runpy site sysconfig",
        "logs": "logging warnings traceback configparser",
        "mail": "email mailbox imaplib poplib smtplib mimetypes quopri",
        "network": "socket socketserver ssl ftplib ipaddress selectors asyncio",
        "numbers": "_pydecimal decimal fractions numbers random statistics operator",
        "processes": "multiprocessing subprocess threading concurrent signal _threading_local contextvars",
        "storage": "pickle pickletools shelve dbm sqlite3 json csv plistlib copyreg tomllib",
        "tests": "unittest doctest bdb pdb trace profile pstats cProfile tracemalloc",
        "text": "re string textwrap difflib encodings codecs locale gettext pprint shlex stringprep reprlib",
        "web": "http urllib html xml xmlrpc wsgiref webbrowser",
    }.items()
}
_AREA_OF = {module: area for area, modules in AREAS.items() for module in modules}
_SHARES = {"train": 0.7, "validation": 0.8, "test": 1.0}
_FEWEST_WORDS, _MOST_WORDS = 5, 40
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_IDENTIFIER = re.compile(r"[\w.]*\w\([^()]*\)|\w+(?:\.\w+)+|\w*_\w*|\b[A-Za-z]+[a-z][A-Z]\w*")
_WORD = re.compile(r"\w+")
_MARKUP = re.compile(r"[`*]+")
_BLANK = "…"
_SHINGLE, _SEEN = 3, 0.5


def doc_topics() -> Rows:
    """About 5,000 sentences: `text`, its `label` (one of 16 areas), `group` (the docstring's name) and `split`.

    A docstring's sentences stand in one part, told by a hash of its name. Of sentences that share half of their runs
    of three words with earlier ones only the first is kept, so that no part repeats another.

    Raises UserError where Python has no sources on disk.
    """
    library = standard_library.texts()
    key = digest(library.fingerprint, Path(__file__).read_bytes())[:16]
    examples = cached_json("doc-topics", key, lambda: list(_examples(library)))
    parts: dict[str, list[Example]] = {part: [] for part in PARTS}
    for example in examples:
        where = place(example["group"])
        parts[next(part for part, end in _SHARES.items() if where < end)].append(example)
    return gathered("doc-topics", parts, 0, f"sentences of {library.source}")


def _examples(library: Rows) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for text, module, name in zip(*library.require("text", "group", "name"), strict=True):
        area = _AREA_OF.get(module.split(".")[0])
        if area is None:
            continue
        words = (word for part in name.split(".") for word in name_words(part))
        hidden = frozenset(word for word in words if len(word) > 2)
        for sentence in _SENTENCE.split(first_paragraph(text)):
            blanked = _blanked(sentence, hidden)
            if not _FEWEST_WORDS <= count_words(blanked) <= _MOST_WORDS or _repeats(blanked, seen):
                continue
            yield {"text": blanked, "label": area, "group": name}


def _blanked(text: str, hidden: frozenset[str]) -> str:
    """The text with identifiers, and the words in `hidden`, replaced by a blank."""
    text = _IDENTIFIER.sub(_BLANK, _MARKUP.sub("", text))
    text = _WORD.sub(lambda found: _BLANK if found.group().casefold() in hidden else found.group(), text)
    return " ".join(text.split())


def _repeats(text: str, seen: set[str]) -> bool:
    """Whether half of the text's shingles were there before; if not, they are from now on."""
    words = re.findall(r"\w+", text.casefold())
    shingles = {" ".join(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1))}
    if len(shingles & seen) >= _SEEN * len(shingles):
        return True
    seen |= shingles
    return False
