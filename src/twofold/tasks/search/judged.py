"""What an index finds for the queries of a file, measured by the judgements of another."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from twofold import computing
from twofold.checkpoints.replace import replacing_file
from twofold.data import collections
from twofold.data.overlap import unrelated
from twofold.errors import UserError
from twofold.measure import retrieval
from twofold.tasks import registry
from twofold.tasks.model import Model
from twofold.tasks.search import engines
from twofold.tasks.search.kept import KeptIndex, opened_model, reranked
from twofold.tasks.search.model import SearchModel
from twofold.tasks.task import Evaluation

METRICS = ("ndcg@10", "mrr@10", "map", "recall@100", "recall@1000")
DEPTH = 1000
SHORTLIST = 100


def searcher(given: Any, engine: str | None = None, built_by: SearchModel | None = None) -> KeptIndex | SearchModel:
    """The index itself, or the one that is kept there; or a search model that has one.

    Raises:
        UserError: there is none.
    """
    if isinstance(given, str | Path):
        kept = engines.holds(given, engine)
        given = engines.opened(given, built_by, engine) if kept else registry.load(given, computing.device())
    if isinstance(given, KeptIndex):
        return given
    if not isinstance(given, SearchModel):
        raise UserError(f"{given.name} is a model for {given.task}, which cannot search; name an index")
    if not given.indexed:
        raise UserError(f"{given.name} has no index; build one with: twofold index DOCUMENTS -m MODEL -o index/")
    return given


def reader(given: Model | str | Path | None) -> SearchModel | None:
    """The model that reranks, if any."""
    if given is None or isinstance(given, SearchModel):
        return given
    return opened_model(str(given)).to(computing.device())


def evaluate(
    index: KeptIndex | SearchModel,
    queries: Path,
    qrels: Path,
    rerank: SearchModel | None = None,
    run: str | Path | None = None,
) -> Evaluation:
    """Figures of the queries that both files have, as trec_eval counts them.

    Args:
        run: a file to write the ranking to, as `query Q0 document rank score name`.

    Raises:
        UserError: files that cannot be read, or that have no query in common.
    """
    asked, judged = collections.read_queries(queries), collections.read_qrels(qrels)
    judged, notes = collections.counted(judged, asked)
    both = {query: judged[query] for query in asked if query in judged}
    if not both:
        raise UserError(f"{qrels} judges no query of {queries}; check that both call them the same")
    if len(both) < len(judged):
        warnings.warn(f"{qrels} judges {len(judged) - len(both)} queries that {queries} lacks; left out", stacklevel=2)
    found: Any = index.search([asked[query] for query in both], DEPTH)
    if rerank is not None:
        found = reranked(rerank, [asked[query] for query in both], found, SHORTLIST)
    missing = _missing(index, both)
    texts = _texts(index, both)
    strange = unrelated(
        {q: {d: g for d, g in grades.items() if d in texts} for q, grades in both.items()}, asked, texts
    )
    for note in (*notes, *([strange] if strange else ())):
        warnings.warn(f"{qrels}: {note}", stacklevel=2)
    if missing:
        warnings.warn(f"{qrels} judges {missing} documents that the index lacks; they count as not found", stacklevel=2)
    # Hits come in the order that counts: documents that met a reranker have scores on another scale than the others.
    ranked = {
        query: {hit.id: float(len(hits) - place) for place, hit in enumerate(hits)}
        for query, hits in zip(both, found, strict=True)
    }
    if run is not None:
        with replacing_file(Path(run)) as file:
            for query, hits in zip(both, found, strict=True):
                blank = next((id for id in (query, *(hit.id for hit in hits)) if len(id.split()) != 1), None)
                if blank is not None:
                    raise UserError(f"the id {blank!r} has blanks, which TREC's format cannot hold; leave --run out")
                for rank, hit in enumerate(hits, 1):
                    file.write(f"{query} Q0 {hit.id} {rank} {len(hits) - rank + 1} twofold\n".encode())
    figures = retrieval.from_run(ranked, both, METRICS)
    return Evaluation({name: float(values.mean()) for name, values in figures.items()}, figures["ndcg@10"])


def _texts(index: KeptIndex | SearchModel, judged: collections.Judgements) -> dict[str, str]:
    """Those of the documents that were judged relevant, by id."""
    wanted = {id for grades in judged.values() for id, grade in grades.items() if grade > 0}
    every = zip(index._ids, index._texts, strict=True) if isinstance(index, SearchModel) else index.documents()
    return {id: text for id, text in every if id in wanted}


def _missing(index: KeptIndex | SearchModel, judged: collections.Judgements) -> int:
    ids = [id for documents in judged.values() for id in documents]
    gone = set(ids) - set(index._ids) if isinstance(index, SearchModel) else set(index.missing(dict.fromkeys(ids)))
    return sum(id in gone for id in ids)
