"""`search`, `encode`, `score`, `generate`: a model's verbs, over one text or many."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twofold import api, computing
from twofold.cli import files, output
from twofold.cli.values import columns
from twofold.data import Rows
from twofold.errors import UserError
from twofold.measure.reports.terminal import plain

VERBS = ("search", "recommend", "predict", "encode", "score", "generate")
_SNIPPET = 100  # characters of a result that a person sees


def search(arguments: Namespace) -> None:
    """The best documents of each query."""
    files.check_ending(arguments.out)
    if arguments.k < 1:
        raise UserError(f"-k is {arguments.k}; give at least 1")
    if arguments.shortlist < 1:
        raise UserError(f"--shortlist is {arguments.shortlist}; give at least 1")
    with _searching(arguments) as model:
        found = files.given(arguments.queries, ("query", "text"), columns(arguments.columns))
        queries = files.texts(found, ("query", "text"))
        if arguments.documents is not None:
            if not hasattr(model, "index"):
                raise UserError("--documents is for models; an index takes documents with: twofold index … --add")
            from twofold.tasks.search import sources

            among = sources.documents(arguments.documents)
            model.index(list(among.values()), list(among))
        hits = model.search(queries, max(arguments.k, arguments.shortlist if arguments.rerank else 0))
        if arguments.rerank is not None:
            from twofold.tasks.search import judged, kept

            hits = kept.reranked(judged.reader(arguments.rerank), queries, hits, arguments.shortlist)  # type: ignore[arg-type]
        hits = [best[: arguments.k] for best in hits]
    if arguments.out is not None:
        rows = [
            {"query": query, "hits": [{"rank": rank, **vars(hit)} for rank, hit in enumerate(best, 1)]}
            for query, best in zip(queries, hits, strict=True)
        ]
        write_lists(rows, "hits", ("query", "rank", "id", "score", "text"), arguments)
    elif arguments.json:
        as_json([{"query": q, "hits": [vars(h) for h in best]} for q, best in zip(queries, hits, strict=True)], found)
    else:
        for number, (query, best) in enumerate(zip(queries, hits, strict=True)):
            if len(queries) > 1:
                print("\n" * (number > 0) + output.style(plain(query), "bold"))
            output.table([(f"{hit.score:.3f}", plain(hit.id), plain(hit.text)[:_SNIPPET]) for hit in best], indent="")
            if not best:
                print("nothing in the index shares a word with it")


def encode(arguments: Namespace) -> None:
    """A vector for each text."""
    files.check_ending(arguments.out, (".npy", *files.TABLES))
    wanted = ("query", "text") if arguments.side == "query" else ("document", "text")
    with using(arguments, "encode", integers=True) as model:
        found = files.given(arguments.texts, wanted, columns(arguments.columns))
        inputs = files.texts(found, wanted)
        vectors = model.encode(inputs, side=arguments.side).values
        terms = None if hasattr(vectors, "numpy") else model.listed(vectors)
        vectors = vectors.numpy() if terms is None else vectors.toarray()
    shape = " × ".join(str(n) for n in vectors.shape[1:])
    if terms is None:
        rows = [{"text": t, "vector": v} for t, v in zip(inputs, vectors.round(6).tolist(), strict=True)]
    else:
        rows = [{"text": t, "terms": _rounded(weights)} for t, weights in zip(inputs, terms, strict=True)]
    if arguments.out is not None and arguments.out.lower().endswith(".npy"):
        files.write_array(vectors, arguments.out)
        written(f"{len(vectors):,} vectors of {shape} numbers", arguments)
    elif arguments.out is not None:
        write(rows, arguments)
    elif arguments.json:
        as_json(rows, found)
    elif terms is None:
        lines = [(f"{shape} numbers:", _few(v.ravel()), plain(text)) for text, v in zip(inputs, vectors, strict=True)]
        output.table(lines, indent="")
    else:
        lines = [(f"{len(w):,} terms:", _heaviest(w), plain(text)) for text, w in zip(inputs, terms, strict=True)]
        output.table(lines, indent="")


def score(arguments: Namespace) -> None:
    """A search model: how well each query and document fit. A language model: what each text costs."""
    files.check_ending(arguments.out)
    with using(arguments, "score") as model:
        if model.task == "search":
            found, rows = _score_pairs(model, arguments)
        else:
            found, rows = _score_texts(model, arguments)
    if arguments.out is not None:
        write(rows, arguments)
    elif arguments.json:
        as_json(rows, found)
    else:
        names = [name for name in rows[0] if name not in ("query", "document", "text")]
        output.table(
            [
                (*(_figure(row[n]) for n in names), plain(" · ".join(str(v) for k, v in row.items() if k not in names)))
                for row in rows
            ],
            (*(n.replace("_", " ") for n in names), "of"),
            indent="",
        )


def generate(arguments: Namespace) -> None:
    """How each text goes on."""
    files.check_ending(arguments.out)
    with using(arguments, "generate") as model:
        found = files.given(arguments.prompts, ("prompt", "text"), columns(arguments.columns))
        prompts = files.texts(found, ("prompt", "text"))
        made = model.generate(
            prompts,
            arguments.tokens,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            seed=arguments.seed,
        )
    rows = [{"prompt": prompt, "text": text} for prompt, text in zip(prompts, made, strict=True)]
    if arguments.out is not None:
        write(rows, arguments)
    elif arguments.json:
        as_json(rows, found)
    else:
        print("\n\n".join(output.style(output.shown(r["prompt"]), "bold") + output.shown(r["text"]) for r in rows))


@contextmanager
def using(arguments: Namespace, verb: str, integers: bool = False) -> Iterator[Any]:
    """The model that was named, loaded where it should compute; it must have the verb."""
    with computing.on(arguments.device, arguments.dtype, integers), computing.autocast():
        model: Any = api.load(arguments.model)
        able = hasattr(model, "pair_scores" if verb == "score" and model.task == "search" else verb)
        if not able:
            verbs = [v for v in VERBS if hasattr(model, v)]
            others = f"use it with: twofold {' or '.join(verbs)}" if verbs else f"it is for the task {model.task!r}"
            raise UserError(f"{arguments.model} ({model.name}) cannot {verb}; {others}")
        yield model


@contextmanager
def _searching(arguments: Namespace) -> Iterator[Any]:
    """The index that was named, or the model."""
    from twofold.tasks.search import engines

    if not engines.holds(arguments.model, arguments.engine):
        if arguments.engine is not None:
            raise UserError(f"--engine is that of an index, and {arguments.model} is none; leave it out")
        with using(arguments, "search") as model:
            yield model
        return
    with computing.on(arguments.device, arguments.dtype), computing.autocast():
        yield api.open_index(arguments.model, arguments.built_by, arguments.engine)


def _score_pairs(model: Any, arguments: Namespace) -> tuple[Rows | list[str], list[dict[str, Any]]]:
    found = files.given(arguments.texts, ("query",), columns(arguments.columns))
    if isinstance(found, Rows):
        found.require("query", "document")
        queries, documents = found.columns["query"], found.columns["document"]
    elif len(found) == 2:
        queries, documents = found[:1], found[1:]
    else:
        raise UserError("a search model scores a query and a document: give two texts, or a file with both columns")
    scores = model.pair_scores(queries, documents).tolist()
    rows = [{"score": s, "query": q, "document": d} for s, q, d in zip(scores, queries, documents, strict=True)]
    return found, rows


def _score_texts(model: Any, arguments: Namespace) -> tuple[Rows | list[str], list[dict[str, Any]]]:
    found = files.given(arguments.texts, ("text", "document"), columns(arguments.columns))
    texts = files.texts(found, ("text", "document"))
    cost = model.score(texts)
    rows = [
        {"bits_per_byte": float(rate), "nats": float(nats), "bytes": int(size), "text": text}
        for rate, nats, size, text in zip(cost.each, cost.nats, cost.bytes, texts, strict=True)
    ]
    return found, rows


def as_json(rows: Sequence[dict[str, Any]], found: Rows | list[str]) -> None:
    """One answer for one text that was typed, else a list."""
    output.as_json(rows[0] if not isinstance(found, Rows) and len(rows) == 1 else list(rows))


def write(rows: list[dict[str, Any]], arguments: Namespace) -> None:
    """Writes rows."""
    files.write_table(rows, arguments.out)
    written(f"{len(rows):,} rows", arguments)


def write_lists(rows: list[dict[str, Any]], many: str, names: Sequence[str], arguments: Namespace) -> None:
    """Writes rows that each hold a list, `many`: as they are in JSON formats, a row for each of the list in the others.

    Args:
        names: columns of the latter, which a table without any row has too.
    """
    if not arguments.out.lower().endswith((".json", ".jsonl")):
        rows = [{k: v for k, v in row.items() if k != many} | each for row in rows for each in row[many]]
    files.write_table(rows, arguments.out, names)
    written(f"{len(rows):,} rows", arguments)


def written(what: str, arguments: Namespace) -> None:
    if arguments.json:
        output.as_json({"out": arguments.out})
    else:
        print(f"{what} written to {arguments.out}")


def _figure(value: Any) -> str:
    return output.figure(value) if isinstance(value, float) else f"{value:,}"


def _few(vector: Any) -> str:
    numbers = " ".join(f"{x:+.3f}" for x in vector[:4])
    return f"{numbers} …" if len(vector) > 4 else numbers


def _heaviest(terms: dict[str, float]) -> str:
    named = " ".join(f"{plain(term)} {weight:.3f}" for term, weight in list(terms.items())[:4])
    return f"{named} …" if len(terms) > 4 else named


def _rounded(terms: dict[str, float]) -> dict[str, float]:
    return {term: round(weight, 6) for term, weight in terms.items()}
