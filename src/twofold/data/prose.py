"""What a docstring says first, and a text without the words that would give the answer away.

A search set made from documented code asks "which function does this sentence describe?". That is only a
question while the sentence does not carry the function's name, so names are taken out here, once, for
every source that needs it.
"""

from __future__ import annotations

import re

# A full stop after one of these does not end a sentence. Lower case, without the last stop.
_ABBREVIATIONS = frozenset(
    """
    e.g i.e etc vs cf al approx resp incl esp viz ca dr mr mrs ms prof st jr sr inc no vol fig eq sec ch pp ed
    jan feb mar apr jun jul aug sep sept oct nov dec a.k.a w.r.t arg args opt param orig
    """.split()  # noqa: SIM905
)
_ENDING = re.compile(r"[.!?]+(?=[\"')\]`]*(?:\s|$))[\"')\]`]*")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)\s*(?:->.*|:|--.*)?|.*\S\s*->\s*\S.*")
_SECTION = re.compile(
    r">>>|\.\. |[-*+•] |[:@]\w[^:]*:|(?:args?|arguments|parameters|returns?|raises|notes?)\s*:?$", re.I
)
_GONE = "\0"
_EMPTIED = re.compile(rf"(``?|['\"])[\s.]*{_GONE}[\s.{_GONE}]*\1|\([\s.]*{_GONE}[\s.{_GONE}]*\)")
_WORD = re.compile(r"\w+")
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")


def first_paragraph(text: str) -> str:
    """The opening paragraph on one line: up to a blank line, a list, a field list or an example.

    A signature written above the prose (`S.find(sub) -> int`), as old docstrings have it, is passed over.
    """
    lines = text.strip().splitlines()
    while lines and (not lines[0].strip() or (len(lines) > 1 and _SIGNATURE.fullmatch(lines[0].strip()))):
        lines = lines[1:]
    kept: list[str] = []
    for line in lines:
        line = line.strip()
        if not line or (kept and _SECTION.match(line)):
            break
        kept.append(line)
    return re.sub(r"\s+", " ", " ".join(kept))


def first_sentence(text: str) -> str:
    """The first sentence of `text`, on one line; the whole opening paragraph where no full stop ends it.

    Stops inside abbreviations ("e.g.", initials), file names, numbers, quoted code and brackets do not end
    a sentence; a stop does when white space or the end follows and the next word does not go on in lower case.
    """
    paragraph = first_paragraph(text)
    for match in _ENDING.finditer(paragraph):
        before, after = paragraph[: match.start()], paragraph[match.end() :].lstrip()
        if after and (_is_abbreviation(before, match.group()) or after[0].islower() or _is_open(before)):
            continue
        return paragraph[: match.end()]
    return paragraph


def _is_abbreviation(before: str, mark: str) -> bool:
    if not mark.startswith("."):
        return False
    word = before.rsplit(None, 1)[-1].lstrip("\"'([{`").casefold() if before.strip() else ""
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha())


def _is_open(before: str) -> bool:
    """Whether a bracket or a run of code is still open at the end of `before`."""
    return before.count("(") > before.count(")") or before.count("`") % 2 == 1


def name_words(name: str) -> frozenset[str]:
    """The words that a name is made of, folded: the name itself and its snake and camel parts.

    >>> sorted(name_words("readCSV_file"))
    ['csv', 'file', 'read', 'readcsv', 'readcsv_file']
    """
    pieces = [name, *name.split("_"), *_NAME_PART.findall(name)]
    return frozenset(piece.strip("_").casefold() for piece in pieces if piece.strip("_")) | {name.casefold()}


def without_words(text: str, words: frozenset[str]) -> str:
    """`text` without the whole words in `words` (folded), and without the brackets or quotes left empty."""
    kept = _WORD.sub(lambda match: _GONE if match.group().casefold() in words else match.group(), text)
    if _GONE not in kept:
        return text
    kept = _EMPTIED.sub(" ", kept.replace(f"{_GONE}()", _GONE)).replace(_GONE, "")
    kept = re.sub(r"[^\S\n]+([.,;:!?)\]])", r"\1", kept)
    return re.sub(r"(?<=\S)[^\S\n]{2,}", " ", kept).lstrip(" \t.,;:)").rstrip()


def count_words(text: str) -> int:
    """How many words `text` has: runs of letters, digits and underscores."""
    return sum(1 for _ in _WORD.finditer(text))
