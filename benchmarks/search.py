"""Search in four questions, each answered as ratios of one run with its arms in turns.

    python benchmarks/search.py [--only words,rerank,prefixes,build] [--rounds 3] [--threads 1] [--json]

words     a query against 20,000 pieces of `pydoc` and `pycode` by weights of words: the inverted index beside `bm25s`,
          with the same weights, so that both add up the same postings; and an index in a folder, which knows counts
          only and weighs them for every query. Queries are words already; every arm gives the best 10.
rerank    1,000 passages put in order for a query: looked up (`tildev2`) beside read by a cross-encoder of the same size
          (two layers of width 128, untrained: the time is the same). The query is tokenised anew every time.
prefixes  bytes of a vector beside nDCG@10: `minilm` cut to its first coordinates, and the same after nested training
          (`matryoshka`) of its last layer. Measured on queries of `pydoc`'s test part.
build     passages made searchable in a second by `minilm`, from text to files: `twofold index --engine faiss` beside
          sentence-transformers and faiss, both with a graph of 32 links built with 100 nodes in view.

A ratio is the peer's time by the arm's in the same round, the median over rounds: above 1, the arm is faster. The last
two need `twofold pull minilm`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from twofold.catalog import configure
from twofold.checkpoints import pulled
from twofold.data import Rows, read
from twofold.errors import UserError
from twofold.measure import costs
from twofold.tasks import load, task
from twofold.tasks.search import EncoderModel, LexicalModel, PairModel, lexical
from twofold.tasks.search.index import Asked, InvertedIndex
from twofold.tasks.search.passages import store_of
from twofold.tasks.search.stored import StoredIndex
from twofold.tasks.search.vectors import Dense, Sparse

PIECES, QUERIES, BEST = 20_000, 50, 10
PASSAGES = 1000  # to rerank
SHAPE = {"backbone": "bert-2x128", "query_tokens": 16, "document_tokens": 64}
WIDTHS = (384, 192, 96, 48, 27, 16, 8)  # 27 is a 14th of the whole
STEPS, RATE, PAIRS, TOKENS = (
    40,
    1e-3,
    500,
    64,
)  # of nested training; documents are cut at so many tokens, before and after
POOL, TESTED = 300, 200  # documents and queries of the measure
BUILT = 200  # passages made searchable in a round

Row = dict[str, Any]


def pieces(count: int) -> list[str]:
    """So many pieces of docstrings and functions, of like length."""
    texts = [text.split() for name in ("pydoc", "pycode") for text in read(name).columns["document"]]
    length = max(4, sum(map(len, texts)) // count)
    while True:
        cut = [" ".join(words[at : at + length]) for words in texts for at in range(0, len(words), length)]
        if len(cut) >= count or length == 4:
            return cut[:count]
        length -= 1


class Known(Asked):
    """Queries whose vectors are known: no encoder is timed."""

    def __init__(self, vectors: Sparse) -> None:
        super().__init__([""] * len(vectors))
        self._given = vectors

    def vectors(self, model: EncoderModel) -> Dense | Sparse:
        return self._given


def by_words(rounds: int) -> list[Row]:
    """Milliseconds of a query by each way to add up postings."""
    texts, asked = pieces(PIECES), list(dict.fromkeys(read("pydoc").columns["query"]))
    engine = lexical.fit_bm25(texts)
    words = [[word for word in lexical.words(query) if word in engine.vocab_dict] for query in asked]
    chosen = random.Random(0).sample([found for found in words if found], QUERIES)
    scores, terms = engine.scores, len(engine.scores["indptr"]) - 1
    postings = csr_matrix((scores["data"], scores["indices"], scores["indptr"]), shape=(terms, len(texts)))
    index = InvertedIndex(None, postings)  # type: ignore[arg-type]
    queries = []
    for found in chosen:
        ids, counts = np.unique([engine.vocab_dict[word] for word in found], return_counts=True)
        parts = (counts.astype(np.float32), ids, np.array([0, len(ids)]))
        queries.append(Known(Sparse(csr_matrix(parts, shape=(1, terms)))))
    folder = tempfile.TemporaryDirectory()
    model = LexicalModel(None, None, {"k1": 1.2, "b": 0.75})
    documents = {str(i): text for i, text in enumerate(texts)}
    kept = StoredIndex.create(Path(folder.name) / "index", documents, model, "bm25")
    spoken = [" ".join(found) for found in chosen]

    def peer() -> list[Any]:
        return [engine.retrieve([found], k=BEST, show_progress=False).scores[0] for found in chosen]

    def inverted() -> list[Any]:
        return [index.search(query, BEST).scores[0] for query in queries]

    def counted() -> list[Any]:
        return [np.array([hit.score for hit in kept.search(query, BEST)]) for query in spoken]

    for one, other in zip(peer(), inverted(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    each = float(np.mean([np.diff(postings.indptr)[query.vectors(None).values.indices].sum() for query in queries]))  # type: ignore
    times = costs.interleaved({"bm25s": peer, "twofold, inverted index": inverted, "twofold, folder": counted}, rounds)
    return [
        {"arm": name, "milliseconds": ms / QUERIES, "ratio": 1 / times.ratios[name], "postings": each}
        for name, ms in times.medians.items()
    ]


def reranked(rounds: int) -> list[Row]:
    """Milliseconds of a query's 1,000 passages, looked up and read."""
    data = task("search").read("pydoc")
    passages, query = list(data.documents[:PASSAGES]), data.queries[0]
    terms = configure("tildev2", **SHAPE, expansion=16, expander_steps=1).start(data, 0)
    reader = configure("cross-encoder", **SHAPE, overlap=False).start(data, 0)
    assert isinstance(terms, EncoderModel)
    assert isinstance(reader, PairModel)
    stored, everywhere = store_of(terms, terms.encode(passages)), np.arange(PASSAGES)[None]
    arms: dict[str, Callable[[], object]] = {
        "cross-encoder": lambda: reader.pair_scores([query] * PASSAGES, passages),
        "tildev2": lambda: stored.among([query], everywhere),
    }
    times = costs.interleaved(arms, rounds)
    each = {"tildev2": stored.nbytes / PASSAGES, "cross-encoder": 0.0}
    return [
        {"arm": name, "milliseconds": ms, "ratio": 1 / times.ratios[name], "bytes": each[name]}
        for name, ms in times.medians.items()
    ]


def prefixes() -> list[Row]:
    """Quality of vectors cut at each width, before and after nested training."""
    job, whole = task("search"), load(_minilm())
    data = job.read("pydoc")
    assert isinstance(whole, EncoderModel)
    whole.spec["document_tokens"] = TOKENS
    pairs = data.pairs[:PAIRS]
    columns = {"query": [data.queries[q] for q, _ in pairs], "document": [data.documents[d] for _, d in pairs]}
    rows = Rows.of({**columns, "split": ["train"] * len(pairs)}, name="pydoc", source="pydoc")
    nesting = configure("matryoshka", widths=tuple(sorted(WIDTHS)), steps=STEPS, lr=RATE, tune_layers=1)
    models = {"minilm, cut": whole, "minilm, nested": nesting.apply(whole, rows, seed=0)}
    found: list[Row] = []
    for name, model in models.items():
        assert isinstance(model, EncoderModel)
        model.spec |= {"stages": None, "width": None}
        known: dict[tuple[str, str], torch.Tensor] = {}
        for width in WIDTHS:
            figures = job.evaluate(cut_to(model, width, known), data, pool=POOL, queries=TESTED).figures
            found.append({"arm": name, "width": width, "bytes": 4 * width, "ndcg@10": figures["ndcg@10"]})
    best = {name: next(r["ndcg@10"] for r in found if r["arm"] == name and r["width"] == WIDTHS[0]) for name in models}
    return [row | {"lost": best[row["arm"]] - row["ndcg@10"], "smaller": WIDTHS[0] / row["width"]} for row in found]


def cut_to(model: EncoderModel, width: int, known: dict[tuple[str, str], torch.Tensor]) -> EncoderModel:
    """The model with vectors of that width; `known` keeps whole ones, so that each text is encoded once."""

    class Cut(EncoderModel):
        def encode(self, texts: Sequence[str], side: Any = "document") -> Dense | Sparse:
            new = [text for text in dict.fromkeys(texts) if (side, text) not in known]
            if new:
                vectors = model.encode(new, side)
                assert isinstance(vectors, Dense)
                known.update({(side, text): row for text, row in zip(new, vectors.values, strict=True)})
            values = torch.stack([known[side, text] for text in texts])
            return Dense(self.net.tower(side).cut(values, width))

    return Cut(model.net, model.tokenizer, dict(model.spec))


def built(rounds: int) -> list[Row]:
    """Passages in a second from text to an index on disk."""
    import faiss
    from sentence_transformers import SentenceTransformer

    folder = _minilm()
    model, peer = load(folder), SentenceTransformer(folder, device="cpu")
    texts = pieces(PIECES)
    random.Random(0).shuffle(texts)
    deals = iter([texts[at : at + BUILT] for at in range(0, BUILT * (rounds + 1), BUILT)])
    with tempfile.TemporaryDirectory() as place:
        count = iter(range(1_000_000))

        def ours(some: Sequence[str]) -> None:
            documents = {str(i): text for i, text in enumerate(some)}
            StoredIndex.create(Path(place) / f"i{next(count)}", documents, model, "minilm", engine="faiss")  # type: ignore

        def theirs(some: Sequence[str]) -> None:
            vectors = peer.encode(list(some), batch_size=32, show_progress_bar=False, normalize_embeddings=True)
            graph = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction = 100
            graph.add(vectors)
            at = Path(place) / f"p{next(count)}"
            faiss.write_index(graph, f"{at}.faiss")
            at.with_suffix(".json").write_text(json.dumps(list(some)))

        return _rates({"sentence-transformers + faiss": theirs, "twofold": ours}, deals, rounds)


def _rates(arms: Mapping[str, Callable[[Sequence[str]], None]], deals: Any, rounds: int) -> list[Row]:
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(-1, rounds):
        some = next(deals)
        names = list(arms)[:: 1 if turn % 2 else -1]
        taken = costs.interleaved({name: partial(arms[name], some) for name in names}, 1, warmup=0)
        for name in names if turn >= 0 else ():  # the first turn warms up
            times[name].append(float(taken.milliseconds[name][0]))
    first = np.array(next(iter(times.values())))
    return [
        {"arm": name, "passages_per_s": BUILT * 1e3 / float(np.median(ms)), "ratio": float(np.median(first / ms))}
        for name, ms in times.items()
    ]


def _minilm() -> str:
    folder = pulled("minilm")
    if folder is None:
        raise UserError("minilm is not here: twofold pull minilm")
    return str(folder)


SECTIONS: Mapping[str, Callable[[int], list[Row]]] = {
    "words": by_words,
    "rerank": reranked,
    "prefixes": lambda rounds: prefixes(),
    "build": built,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="which questions, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = {name: SECTIONS[name](given.rounds) for name in given.only.split(",")}
    machine = costs.environment()
    if given.json:
        print(json.dumps({"environment": machine, **found}))
        return
    print(f"{machine['cpu']}, {given.threads} thread(s), torch {machine['torch']}")
    for name, rows in found.items():
        print(name)
        for row in rows:
            figures = "  ".join(f"{key} {value:,.4g}" for key, value in row.items() if key != "arm")
            print(f"  {row['arm']:<31}{figures}")


if __name__ == "__main__":
    main()
