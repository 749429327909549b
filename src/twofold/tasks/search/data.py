"""Search data: documents, queries and which answers which, split so that no test document is trained on."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from twofold.data.captions import Pictures
from twofold.data.collections import Collection
from twofold.data.rows import Rows, is_empty
from twofold.data.splits import FOR_SEARCH, adopt, groups, place, split
from twofold.errors import UserError

PARTS = ("train", "validation", "test")
EVERY = "every"
_ALONE = "documents without a query (of code: functions without a docstring of four words or more)"
SHARES = FOR_SEARCH


@dataclass(frozen=True)
class SearchData:
    """Documents and queries, each in one part; a query's relevant documents are in its own part.

    Args:
        name, source, fingerprint: of the data set.
        documents: texts, no two alike.
        document_ids: their names, unique.
        document_parts: "train", "validation" or "test" of each; "every" where all queries look among the same.
        queries: texts.
        query_parts: the part of each.
        relevant: for each query, document index to grade (1 or more).
        notes: what was left out, for a person to know.
        rivals: for each query, documents of its part that were judged not to answer it (grade 0); may be empty.
    """

    name: str
    source: str
    fingerprint: str
    documents: tuple[str, ...]
    document_ids: tuple[str, ...]
    document_parts: np.ndarray
    queries: tuple[str, ...]
    query_parts: np.ndarray
    relevant: tuple[Mapping[int, int], ...]
    notes: tuple[str, ...] = ()
    rivals: tuple[tuple[int, ...], ...] = ()

    def pool(self, part: str) -> np.ndarray:
        """Indices of a part's documents, `[n]`."""
        return np.flatnonzero((self.document_parts == part) | (self.document_parts == EVERY))

    def asked(self, part: str) -> np.ndarray:
        """Indices of a part's queries, `[n]`."""
        return np.flatnonzero(self.query_parts == part)

    @cached_property
    def pairs(self) -> np.ndarray:
        """Every (query, relevant document) of the training part, `[n, 2]`."""
        pairs = [(q, d) for q in self.asked("train") for d in self.relevant[q]]
        if not pairs:
            raise UserError(f"{self.name}: no training pairs; give more rows, or a split column with train rows")
        return np.array(pairs, dtype=np.int64)

    def few(self, count: int, seed: int) -> SearchData:
        """Only `count` of the training queries, drawn by the seed; every document stays, and other parts whole.

        Raises:
            UserError: there are fewer.
        """
        asked = self.asked("train")
        if count > len(asked):
            raise UserError(f"{count} training queries were asked for, and {self.name} has {len(asked)}; ask for fewer")
        drawn = np.random.default_rng(seed).permutation(asked)[:count]
        kept = np.sort(np.concatenate([drawn, np.flatnonzero(self.query_parts != "train")]))
        return replace(
            self,
            queries=tuple(self.queries[i] for i in kept),
            query_parts=self.query_parts[kept],
            relevant=tuple(self.relevant[i] for i in kept),
            rivals=tuple(self.rivals[i] for i in kept) if self.rivals else (),
        )

    def limited(self, limits: Mapping[str, int]) -> SearchData:
        """Keeps at most so many documents of each named part, with their queries; the same ones every time."""
        keep = np.ones(len(self.documents), bool)
        for part, limit in limits.items():
            members = self.pool(part)
            if len(members) > limit:
                order = sorted(members, key=lambda i: hashlib.sha256(self.document_ids[i].encode()).digest())
                keep[order[limit:]] = False
        if keep.all():
            return self
        new = np.cumsum(keep) - 1
        relevant = [{int(new[d]): g for d, g in r.items() if keep[d]} for r in self.relevant]
        rivals = [tuple(int(new[d]) for d in r if keep[d]) for r in self.rivals]
        kept = [i for i, r in enumerate(relevant) if r]
        documents = np.flatnonzero(keep)
        return replace(
            self,
            documents=tuple(self.documents[i] for i in documents),
            document_ids=tuple(self.document_ids[i] for i in documents),
            document_parts=self.document_parts[documents],
            queries=tuple(self.queries[i] for i in kept),
            query_parts=self.query_parts[kept],
            relevant=tuple(relevant[i] for i in kept),
            rivals=tuple(rivals[i] for i in kept) if rivals else (),
        )


def from_rows(rows: Rows) -> SearchData:
    """Search data from rows with `query` and `document`, and where given `grade`, `group`, `id` and `split`.

    Equal documents are merged before the split; a query whose documents fall into several parts
    is asked once in each. Rows with grade 0 add their document as no answer; rows with an empty query add a document
    that is searched and answers nothing.

    Raises:
        UserError: a column is missing, or nothing usable is left.
    """
    rows.require("query", "document")
    rows = rows.filled("document")
    queries, documents = rows.columns["query"], rows.columns["document"]
    asking = [i for i, query in enumerate(queries) if not is_empty(query)]
    if not asking:
        raise UserError(
            f"{rows.source}: none of its {len(rows)} documents has a query to train on or to be measured by; add some "
            "(of code: docstrings of four words or more), or search the documents as they are: twofold index"
        )
    grades = _grades(rows)
    if not any(grades[i] > 0 for i in asking):
        raise UserError(f"{rows.source}: no query has an answer, as all grades are 0; give 1 or more to what answers")
    parts = _parts(rows, asking)
    names = rows.columns.get("name") or rows.columns.get("id")

    first: dict[str, int] = {}
    ids: list[str] = []
    for i, text in enumerate(documents):
        if text not in first:
            first[text] = len(first)
            ids.append(str(names[i]) if names else f"d{len(ids)}")
    ids = unique(ids)
    document_parts = np.empty(len(first), dtype="<U10")
    for i in reversed([*asking, *(i for i, query in enumerate(queries) if is_empty(query))]):
        document_parts[first[documents[i]]] = parts[i]
    alone = len(first) - len({first[documents[i]] for i in asking})
    asked: dict[tuple[str, str], dict[int, int]] = {}
    refused: dict[tuple[str, str], dict[int, int]] = {}
    for i in asking:
        index = first[documents[i]]
        judged = asked if grades[i] > 0 else refused
        judged.setdefault((queries[i], str(document_parts[index])), {})[index] = grades[i]
    return SearchData(
        name=rows.name,
        source=rows.source,
        fingerprint=rows.fingerprint,
        documents=tuple(first),
        document_ids=tuple(ids),
        document_parts=document_parts,
        queries=tuple(text for text, _ in asked),
        query_parts=np.array([part for _, part in asked], dtype="<U10"),
        relevant=tuple(asked.values()),
        notes=(f"{_ALONE}, searched and not asked for: {alone}",) if alone else (),
        rivals=tuple(tuple(d for d in refused.get(key, ()) if d not in asked[key]) for key in asked) if refused else (),
    )


def from_collection(found: Collection) -> SearchData:
    """Search data of a collection: every query looks among all documents, as collections are measured.

    Queries keep the part that the files say; where there is one file of judgements, they are split by their text.
    Documents with equal texts are one, under the first of their ids.
    """
    first: dict[str, int] = {}
    for text in found.documents.values():
        first.setdefault(text, len(first))
    names: dict[int, str] = {}
    for id, text in found.documents.items():
        names.setdefault(first[text], id)
    grades = {
        query: _best((first[found.documents[d]], grade) for d, grade in judged.items())
        for query, judged in found.judgements.items()
    }
    asked = [query for query, judged in grades.items() if any(grade > 0 for grade in judged.values())]
    texts = [found.queries[query] for query in asked]
    given = [found.parts.get(query) for query in asked]
    cut = "train" not in given and {"validation", "test"} <= {*given}
    if cut:  # `split` takes what a collection lacks from its train queries
        given = ["train" if part == "validation" else part for part in given]
    whole = None not in given and "train" in given
    splits = [str(part) for part in given] if whole else None
    parts = split(Rows.of({"text": texts}, name=found.name, source=found.source, splits=splits), SHARES).splits
    notes = list(found.notes)
    if cut and whole:
        notes.append("no train judgements: queries to train on are taken from the validation part")
    if splits is None:
        notes.append("queries were split by their text; all parts search the same documents")
    if len(first) < len(found.documents):
        notes.append(f"documents with the text of another, counted as that one: {len(found.documents) - len(first)}")
    refused = [tuple(d for d, grade in grades[query].items() if grade <= 0) for query in asked]
    return SearchData(
        name=found.name,
        source=found.source,
        fingerprint=found.fingerprint,
        documents=tuple(first),
        document_ids=tuple(names[i] for i in range(len(first))),
        document_parts=np.full(len(first), EVERY, dtype="<U10"),
        queries=tuple(texts),
        query_parts=np.array(parts, dtype="<U10"),
        relevant=tuple({d: g for d, g in grades[query].items() if g > 0} for query in asked),
        notes=tuple(notes),
        rivals=tuple(refused) if any(refused) else (),
    )


def from_pictures(found: Pictures) -> SearchData:
    """Search data of captioned pictures: a document is a picture's captions but one, which asks for it.

    Pictures of one caption are searched and not asked for; those whose captions are the same are one.

    Raises:
        UserError: each picture has one caption only.
    """
    data = from_rows(found.rows())
    merged = len(found.captions) - len(data.documents)
    notes = list(found.notes)
    single = sum(len(texts) == 1 for texts in found.captions.values())
    notes += [f"pictures of one caption, searched and not asked for: {single}"] if single else []
    notes += [f"pictures with the captions of another, counted as that one: {merged}"] if merged else []
    return replace(data, notes=tuple(notes))


def _best(judged: Iterable[tuple[int, int]]) -> dict[int, int]:
    """The higher grade where a document is judged under several ids."""
    found: dict[int, int] = {}
    for document, grade in judged:
        found[document] = max(grade, found.get(document, grade))
    return found


def _parts(rows: Rows, asking: Sequence[int]) -> list[str]:
    """The rows' own split, with what it lacks cut from its train rows; else by group, or by document.

    Only rows that ask are cut, so that each part asks something; what no query asks for goes with its group.
    """
    rows = adopt(rows)
    if rows.splits is not None:
        return list((split(rows, SHARES) if "train" in rows.splits else rows).splits or ())
    own = groups(rows)
    part_of = dict(zip((own[i] for i in asking), split(rows.take(asking), SHARES).splits or (), strict=True))
    ends = (SHARES[0], SHARES[0] + SHARES[1])
    return [part_of.get(group) or PARTS[bisect_right(ends, place(group))] for group in own]


def _grades(rows: Rows) -> list[int]:
    values = rows.columns.get("grade")
    if values is None:
        return [1] * len(rows)
    grades = []
    for line, value in enumerate(values, 1):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not number.is_integer():
            raise UserError(
                f"{rows.name}: grade {value!r} in row {line} is no whole number; use 0 for not relevant, else 1, 2, …"
            )
        grades.append(int(number))
    return grades


def unique(names: list[str]) -> list[str]:
    """Names that come again, with `#2`, `#3`, … behind them."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return out
