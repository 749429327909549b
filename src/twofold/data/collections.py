"""Search collections: documents, queries and judgements in the formats of BEIR, TREC and SMART.

    BEIR    corpus.jsonl (_id, title, text), queries.jsonl (_id, text), qrels/{train,dev,test}.tsv
    TREC    documents in <doc> with <docno>, topics in <top> (or a tsv of id and text), qrels "query 0 document grade"
    SMART   .I .T .W records of documents and queries (Cranfield, CISI, …), and a .REL file "query document …"

Every file may be gzipped. Thakur et al. 2021, https://arxiv.org/abs/2104.08663; https://trec.nist.gov/data.html
"""

from __future__ import annotations

import html
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from twofold.data.cache import digest
from twofold.data.columns import clean
from twofold.data.files import format_of, missing, read_bytes, read_file
from twofold.data.folders import is_about
from twofold.data.overlap import unrelated
from twofold.data.rows import is_empty, listed, shown
from twofold.data.splits import part_name
from twofold.errors import UserError

Judgements = dict[str, dict[str, int]]
"""Query id to document id to grade; 0 and less: does not answer."""

_ID_NAMES = {"id", "_id", "qid", "query-id", "query_id", "queryid", "topic"}
_DOC = re.compile(r"<doc\b[^>]*>(.*?)</doc>", re.S | re.I)
_DOCNO = re.compile(r"<docno>\s*(.*?)\s*</docno>", re.S | re.I)
_TOPIC = re.compile(r"<(?:top|topic)\b([^>]*)>(.*?)</(?:top|topic)>", re.S | re.I)
_NUMBER = re.compile(r"<num>\s*(?:number\s*:)?\s*([^\s<]+)", re.I)
_TAG = re.compile(r"<[^>]*>")
_CONTENT = ("title", "headline", "head", "abstract", "text", "body")
_SMART_FIELD = re.compile(r"^\.([A-Z])\s*(.*)$")
_JUDGED_ENDINGS = (".tsv", ".txt", ".qrel", ".qrels", ".rel", ".csv", ".jsonl")
_LOOKED_AT = 1 << 16  # characters of a file that say what it is


@dataclass(frozen=True)
class Collection:
    """Documents and queries by id, and which answers which.

    Args:
        name, source, fingerprint: of the data set.
        documents, queries: id to text; no text is empty.
        judgements: of queries and documents that are there.
        parts: query id to "train", "validation" or "test", where the files say so.
        notes: what was left out, for a person to know.
    """

    name: str
    source: str
    fingerprint: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgements: Judgements
    parts: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """The files of a collection, each with what it is."""

    documents: tuple[Path, ...]
    queries: Path | None
    judgements: tuple[Path, ...]


def find(folder: Path) -> Files | None:
    """The files of the collection in a folder; None where it holds none."""
    if not folder.is_dir():
        return None
    entries = sorted(each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
    plain = {each: each.name.casefold().removesuffix(".gz") for each in entries}
    corpus = tuple(each for each, name in plain.items() if name == "corpus.jsonl")
    queries = [each for each, name in plain.items() if name == "queries.jsonl"]
    if corpus:
        inside = folder / "qrels"
        judged = _judged(inside) if inside.is_dir() else [e for e, name in plain.items() if "qrel" in name]
        return Files(corpus, queries[0] if queries else None, tuple(judged))
    judged = [each for each, name in plain.items() if "qrel" in name or name.endswith(".rel")]
    asked = [
        each
        for each, name in plain.items()
        if each not in judged and (name.startswith(("topic", "quer")) or name.endswith((".qry", ".topics")))
    ]
    rest = [each for each in entries if each not in judged and each not in asked and _holds_documents(each)]
    if not rest:
        return None
    if len(asked) > 1:
        raise UserError(f"{folder} holds several files of queries ({listed(e.name for e in asked)}); keep one")
    return Files(tuple(rest), asked[0] if asked else None, tuple(judged))


def _judged(folder: Path) -> list[Path]:
    """The files of judgements in a folder; hidden ones, and what is there beside them, are none."""
    names = {each: each.name.casefold().removesuffix(".gz") for each in sorted(folder.iterdir()) if each.is_file()}
    return [
        each
        for each, name in names.items()
        if name.endswith(_JUDGED_ENDINGS) and not name.startswith(".") and not is_about(each)
    ]


def read_collection(folder: Path) -> Collection:
    """The collection in a folder that `find` knows.

    Raises:
        UserError: no queries or judgements beside the documents, a file that cannot be read, an id that stands for two
            texts, or judgements of which none fits.
    """
    files = find(folder)
    if files is None:
        raise UserError(f"{folder} holds no search collection; see docs/search.md for BEIR, TREC and SMART files")
    if files.queries is None or not files.judgements:
        lacking = "queries" if files.queries is None else "judgements"
        raise UserError(
            f"{folder} holds documents ({files.documents[0].name}) and no {lacking}; add "
            + ("queries.jsonl or queries.tsv" if files.queries is None else "qrels.txt or qrels/test.tsv")
        )
    documents, notes = read_documents(files.documents)
    queries = read_queries(files.queries)
    judgements: Judgements = {}
    parts: dict[str, str] = {}
    for path in files.judgements:
        part = part_name(path.name.removesuffix(".gz").rpartition(".")[0]) if len(files.judgements) > 1 else None
        for query, judged in read_qrels(path).items():
            if part is not None and parts.setdefault(query, part) != part:
                raise UserError(f"{path} judges query {query!r}, which {parts[query]} has too; keep it in one part")
            judgements.setdefault(query, {}).update(judged)
    judgements, renamed = counted(judgements, queries)
    known, more = _known(judgements, queries, documents, str(folder))
    strange = unrelated(known, queries, documents)
    more += [strange] if strange else []
    named = [f"{id}\t{text}" for texts in (documents, queries) for id, text in texts.items()]
    lines = [f"{q} {d} {g} {parts.get(q)}" for q, judged in known.items() for d, g in judged.items()]
    fingerprint = f"sha256-{digest(*named, *lines)[:16]}"
    return Collection(
        folder.absolute().name, str(folder), fingerprint, documents, queries, known, parts, (*notes, *renamed, *more)
    )


def read_documents(paths: Iterable[Path]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Documents by id from files of one collection, and what was left out.

    Raises:
        UserError: an id that stands for two different texts, or no document with a text.
    """
    every = [pair for path in paths for pair in _documents(path)]
    return merged(every, "document", ", ".join(str(path) for path in paths))


def merged(pairs: Iterable[tuple[str, str]], what: str, source: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Texts by id. Empty texts are left out, an id that comes again with the same text is kept once; both are noted.

    Raises:
        UserError: a text without an id, an id that stands for two different texts, or no text at all.
    """
    kept: dict[str, str] = {}
    empty = again = 0
    for number, (id, text) in enumerate(pairs, 1):
        if not text.strip():
            empty += 1
        elif not id.strip():
            raise UserError(f"{source}: {what} {number} ({shown(text)!r}) has no id; give every {what} its own")
        elif id not in kept:
            kept[id] = text
        elif kept[id] == text:
            again += 1
        else:
            raise UserError(f"{source}: the {what} id {id!r} stands for two different texts; give each its own id")
    if not kept:
        raise UserError(f"{source} holds no {what} with a text in it; check the file")
    notes = []
    if empty:
        notes.append(f"texts that are empty, left out: {empty}")
    if again:
        notes.append(f"ids that come again with the same text, kept once: {again}")
    return kept, tuple(notes)


def is_documents_file(path: Path) -> bool:
    """Whether a file holds documents in TREC's or SMART's format."""
    return path.is_file() and _holds_documents(path)


def is_corpus(path: Path) -> bool:
    """Whether a file holds documents as BEIR writes them, by its first line."""
    if not path.is_file() or format_of(path) != "jsonl":
        return False
    try:
        first = json.loads(read_bytes(path).lstrip().partition(b"\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and {"_id", "text"} <= first.keys() and "document" not in first


def read_queries(path: Path) -> dict[str, str]:
    """Queries by id: a tsv of id and text, BEIR's jsonl, TREC topics, or SMART's records; warns of those left out.

    Raises:
        UserError: none of these, an id that stands for two texts, or no query.
    """
    found, notes = merged(_queries(path), "query", str(path))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return found


def _queries(path: Path) -> Iterable[tuple[str, str]]:
    if not path.exists():
        raise missing(path)
    if format_of(path) in ("jsonl", "json", "csv", "parquet"):
        table = read_file(path)
        id = next((name for name in table if name.casefold() in _ID_NAMES), None)
        text = next((name for name in ("text", "query", "question") if name in table), None)
        if id is None or text is None:
            raise UserError(f"{path} lacks the columns _id and text (found: {listed(table)}); rename its columns")
        return _pairs(table[id], table[text])
    content = _text(path)
    start = content.lstrip()
    if start.startswith(".I"):
        return _smart(content)
    if start.startswith("<"):
        return _topics(content, path)
    pairs = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        id_, tab, query = line.rstrip("\r").partition("\t")
        if not tab:
            raise UserError(f"{path}, line {number}: no tab; write the query's id, a tab, and its text")
        if number == 1 and id_.strip().casefold() in _ID_NAMES:
            continue
        pairs.append((id_.strip(), query.strip()))
    return pairs


def read_qrels(path: Path) -> Judgements:
    """Judgements: TREC's `query 0 document grade`, BEIR's tsv with a line of names, or SMART's `.REL`.

    Columns stand between tabs where a line has any (SMART's aside), so that ids can hold blanks, else between blanks.
    Of a pair that is judged twice, the higher grade counts.

    Raises:
        UserError: a line that is none of these.
    """
    if not path.exists():
        raise missing(path)
    smart = path.name.casefold().removesuffix(".gz").endswith(".rel")
    found: Judgements = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        tabs = "\t" in line.strip() and not smart
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()] if tabs else line.split()
        if not cells:
            continue
        if smart and len(cells) >= 2:
            query, document, grade = cells[0], cells[1], "1"
        elif len(cells) == 4:
            query, _, document, grade = cells
        elif len(cells) == 3:
            query, document, grade = cells
        elif len(cells) == 2:
            (query, document), grade = cells, "1"
        else:
            raise UserError(f"{path}, line {number}: {len(cells)} columns; write: query 0 document grade")
        try:
            value = float(grade)
        except ValueError:
            if number == 1:  # a line of names
                continue
            value = math.nan
        if not value.is_integer():
            raise UserError(f"{path}, line {number}: grade {grade[:40]!r} is no whole number; use 0, 1, 2, …")
        judged = found.setdefault(query, {})
        judged[document] = max(int(value), judged.get(document, int(value)))
    if not found:
        raise UserError(f"{path} holds no judgements; write lines such as: 1 0 doc7 1")
    return found


def counted(judgements: Judgements, queries: Mapping[str, str]) -> tuple[Judgements, tuple[str, ...]]:
    """Judgements under the queries' own ids, where they count queries while those have numbers with gaps.

    So it is in Cranfield's files: the 225 judged queries are called 1 to 225, the queries 1, 2, 4, 8, … 365. It shows
    in as many numbers on both sides, rising ones of queries and all from 1 on of judgements; others stay as they are.
    """
    asked, judged = list(queries), list(judgements)
    rising = all(id.isdecimal() for id in asked) and sorted(asked, key=int) == asked
    if not rising or judged == asked or judged != [str(n) for n in range(1, len(asked) + 1)]:
        return judgements, ()
    note = f"judgements count the queries: number {judged[-1]} is the last one, which is called {asked[-1]}"
    return dict(zip(asked, judgements.values(), strict=True)), (note,)


def _known(
    judgements: Judgements, queries: Mapping[str, str], documents: Mapping[str, str], source: str
) -> tuple[Judgements, list[str]]:
    """The judgements of what is there, and notes about the others."""
    kept: Judgements = {}
    no_query = no_document = 0
    for query, judged in judgements.items():
        here = {document: grade for document, grade in judged.items() if document in documents}
        if query not in queries:
            no_query += len(judged)
            continue
        no_document += len(judged) - len(here)
        if here:
            kept[query] = here
    if kept and not any(grade > 0 for judged in kept.values() for grade in judged.values()):
        raise UserError(f"{source}: no query has an answer, as all grades are 0; give 1 or more to what answers")
    if not kept:
        raise UserError(f"{source}: no judgement names both a query and a document that are there; check the ids")
    notes = []
    if no_query:
        notes.append(f"judgements of unknown queries, left out: {no_query} (do both files call queries the same?)")
    if no_document:
        notes.append(f"judgements of unknown documents, left out: {no_document}")
    silent = sum(not any(g > 0 for g in kept.get(query, {}).values()) for query in queries)
    if silent:
        notes.append(f"queries without a relevant document, not asked: {silent}")
    return kept, notes


def _documents(path: Path) -> list[tuple[str, str]]:
    if format_of(path) == "jsonl":
        table = clean(read_file(path), str(path))
        if "_id" not in table or "text" not in table:
            raise UserError(f"{path} lacks the columns _id and text (found: {listed(table)}); rename its columns")
        titles = table.get("title", [None] * len(table["_id"]))
        return [
            (id, with_title(t, text)) for (id, text), t in zip(_pairs(table["_id"], table["text"]), titles, strict=True)
        ]
    content = _text(path)
    return list(_smart(content)) if content.lstrip().startswith(".I") else list(_trec(content, path))


def with_title(title: object, text: str) -> str:
    """A title above its text, unless the text begins with it."""
    head = "" if is_empty(title) else " ".join(str(title).split())
    return text if not head or " ".join(text.split()).startswith(head) else f"{head}\n{text}".rstrip()


def _pairs(ids: Iterable[object], texts: Iterable[object]) -> list[tuple[str, str]]:
    return [(_told(id), _told(text)) for id, text in zip(ids, texts, strict=True)]


def _told(value: object) -> str:
    return "" if is_empty(value) else str(value)


def _trec(content: str, path: Path) -> Iterable[tuple[str, str]]:
    for number, found in enumerate(_DOC.finditer(content), 1):
        name = _DOCNO.search(found[1])
        if name is None:
            raise UserError(f"{path}: document {number} has no <docno>; give each one its id")
        rest = _DOCNO.sub(" ", found[1])
        fields = {tag: _element(rest, tag) for tag in _CONTENT}
        title = next((fields[tag] for tag in _CONTENT[:3] if fields[tag]), "")
        body = "\n".join(fields[tag] for tag in _CONTENT[3:] if fields[tag])
        yield _plain(name[1]), with_title(title, body) if body or title else _plain(rest)


def _topics(content: str, path: Path) -> Iterable[tuple[str, str]]:
    for number, found in enumerate(_TOPIC.finditer(content), 1):
        attribute = re.search(r"number\s*=\s*[\"']([^\"']+)", found[1])
        name = attribute or _NUMBER.search(found[2])
        if name is None:
            raise UserError(f"{path}: topic {number} has no <num>; give each one its id")
        texts = (_element(found[2], tag, closed=False) for tag in ("title", "query", "question", "desc"))
        text = next((t for t in texts if t), "")
        yield name[1].strip(), re.sub(r"^(topic|description)\s*:\s*", "", text, flags=re.I)


def _element(text: str, tag: str, closed: bool = True) -> str:
    """What stands in the elements of that name; those of topics end where the next tag begins."""
    end = f"</{tag}>" if closed else r"(?=<|\Z)"
    return _plain(" ".join(re.findall(rf"<{tag}\b[^>]*>(.*?){end}", text, re.S | re.I)))


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub(" ", text)).strip()


def _smart(content: str) -> Iterable[tuple[str, str]]:
    """Records that begin with `.I id`: title (.T) and text (.W)."""
    id, field = "", ""
    fields: dict[str, list[str]] = {}

    def told() -> tuple[str, str]:
        return id, with_title(" ".join(fields.get("T", [])), "\n".join(fields.get("W", [])).strip())

    for line in content.split("\n"):
        mark = _SMART_FIELD.match(line.rstrip())
        if mark is None:
            fields.setdefault(field, []).append(line.strip("\r"))
        elif mark[1] == "I":
            if id:
                yield told()
            id, field, fields = mark[2].strip(), "", {}
        else:
            field = mark[1]
    if id:
        yield told()


def _holds_documents(path: Path) -> bool:
    """By how it begins: `<doc>` with `<docno>`, or `.I` with `.W`."""
    if format_of(path) not in (None, "txt") or path.suffix.casefold() in (".npy", ".py", ".md"):
        return False
    try:
        start = read_bytes(path)[:_LOOKED_AT].decode("utf-8", "replace").lstrip()
    except UserError:
        return False
    trec = start[:512].casefold().find("<doc") >= 0 and "<docno>" in start.casefold()
    return trec or (start.startswith(".I") and "\n.W" in start)


def _text(path: Path) -> str:
    """Text in UTF-8, else in Latin-1, which old collections use."""
    data = read_bytes(path)
    if not data.strip():
        raise UserError(f"{path} is empty; give a file with data in it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
