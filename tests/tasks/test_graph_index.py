"""Approximate search: how much of exact search it finds, and that a damaged graph is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import twofold
from twofold.data import Rows
from twofold.errors import UserError
from twofold.tasks.examples import small_model
from twofold.tasks.search import LexicalModel
from twofold.tasks.search.graph import Graph, GraphIndex
from twofold.tasks.search.index import Asked, ExactIndex
from twofold.tasks.search.stored import StoredIndex
from twofold.tasks.search.vectors import Dense, Multi

pytest.importorskip("faiss")

N, DIM = 1500, 24
QUERIES = [f"query {i}" for i in range(30)]


class Known(Asked):
    """Queries whose vectors are given."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__(QUERIES[: len(values)])
        self.values = values

    def vectors(self, model: object) -> Dense:
        return Dense(self.values)


def exact_model(kind: str):
    from tests.tasks.test_stored_index import many_vectors
    from twofold.parts import MaxOverVectors

    model = small_model() if kind == "one" else many_vectors()
    if kind == "documents":
        model.net.interaction = MaxOverVectors()
    return model


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Queries and documents: clusters at unit length, of any length, and several of either side."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, DIM, generator=generator)
    near = centres[torch.randint(40, (N,), generator=generator)] + 0.5 * torch.randn(N, DIM, generator=generator)
    unit = torch.nn.functional.normalize(near, dim=-1)
    lengths = 0.3 + 2 * torch.rand(N, 1, generator=generator)
    asked = torch.randn(30, DIM, generator=generator)
    return {
        "unit": (asked, unit),
        "lengths": (asked, unit * lengths),
        "contexts": (torch.randn(30, 3, DIM, generator=generator), unit),
        "documents": (asked, unit.reshape(N // 3, 3, DIM)),
    }


@pytest.mark.parametrize("kind", ["unit", "lengths", "contexts", "documents"])
def test_a_walk_finds_what_exact_search_finds(drawn, kind) -> None:
    asked, documents = drawn[kind]
    model = exact_model({"contexts": "queries", "documents": "documents"}.get(kind, "one"))
    vectors = Multi(documents) if documents.ndim == 3 else Dense(documents)
    exact, graph = ExactIndex(model, vectors), GraphIndex.of(model, vectors)
    wanted, found = exact.search(Known(asked), 10), graph.search(Known(asked), 10)
    assert found.positions.shape == (30, 10)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(wanted.positions, found.positions, strict=True)])
    assert recall >= 0.95
    for row, positions in enumerate(found.positions):
        assert len({*positions.tolist()}) == 10
        scores = exact.among(Known(asked[row : row + 1]), positions[None])[0]
        np.testing.assert_allclose(found.scores[row], scores, rtol=1e-5, atol=1e-6)
        assert (np.diff(found.scores[row]) <= 0).all()


def test_a_large_share_is_found_exactly(drawn) -> None:
    asked, documents = drawn["unit"]
    exact, graph = ExactIndex(small_model(), Dense(documents)), GraphIndex.of(small_model(), Dense(documents))
    for k in (N // 8, N, 2 * N):
        wanted, found = exact.search(Known(asked), k), graph.search(Known(asked), k)
        np.testing.assert_array_equal(wanted.positions, found.positions)


def test_equal_documents_are_ranked_by_place_and_all_found() -> None:
    same = torch.nn.functional.normalize(torch.ones(N, DIM), dim=-1)
    found = GraphIndex.of(small_model(), Dense(same)).search(Known(torch.ones(3, DIM)), 5)
    assert all(len({*row.tolist()}) == 5 for row in found.positions)
    assert (np.diff(found.positions, axis=1) > 0).all()


def test_the_graph_is_the_same_when_it_is_opened(drawn, tmp_path) -> None:
    asked, documents = drawn["unit"]
    made = GraphIndex.of(small_model(), Dense(documents))
    made.save(tmp_path)
    opened = GraphIndex.open(small_model(), tmp_path)
    one, other = made.search(Known(asked), 10), opened.search(Known(asked), 10)
    np.testing.assert_array_equal(one.positions, other.positions)
    assert len(opened) == N
    assert opened.nbytes == made.nbytes > made.exact.nbytes


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("neighbours", lambda x: x.fill_(10**6)),
        ("neighbours", lambda x: x[:-5]),
        ("neighbours", lambda x: x.to(torch.int64)),
        ("offsets", lambda x: x.add_(7)),
        ("offsets", lambda x: x[:4]),
        ("levels", lambda x: x.fill_(1000)),
        ("levels", lambda x: x.zero_()),
        ("levels", lambda x: x[torch.randperm(len(x))]),
        ("entry", lambda x: x.fill_(-3)),
        ("entry", lambda x: x.fill_(10**9)),
    ],
)
def test_a_damaged_graph_is_refused(drawn, tmp_path, part, change) -> None:
    asked, documents = drawn["unit"]
    GraphIndex.of(small_model(), Dense(documents)).save(tmp_path)
    file = tmp_path / "graph.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    changed = change(tensors[part])
    tensors[part] = changed.clone()
    save_file(tensors, file)
    with pytest.raises(UserError, match=r"graph\.safetensors cannot be read .* build the index again"):
        GraphIndex.open(small_model(), tmp_path).search(Known(asked), 10)


def test_neighbours_of_another_level_are_refused(drawn) -> None:
    _, documents = drawn["unit"]
    graph = Graph.of(documents.numpy())
    low = int(np.flatnonzero(graph.levels == 1)[0])
    high = int(np.flatnonzero(graph.levels > 1)[0])
    neighbours = graph.neighbours.copy()
    neighbours[graph.offsets[high] + 64] = low
    with pytest.raises(ValueError, match="another level"):
        Graph(neighbours, graph.offsets, graph.levels, graph.entry).walker(documents.numpy())


def test_an_index_in_a_folder_takes_and_gives_up_documents(tmp_path) -> None:
    words = [f"{a} {b} {c}" for a in ("red", "green", "old") for b in ("lamp", "river", "door") for c in range(40)]
    texts = {f"d{i}": text for i, text in enumerate(words)}
    first, later = dict(list(texts.items())[:250]), dict(list(texts.items())[250:])
    model = small_model()
    index = StoredIndex.create(tmp_path / "i", first, model, "", engine="faiss")
    index.add(later)
    index.remove(["d3", "d300"])
    assert index.facts()["engine"] == "faiss"
    assert len(list((tmp_path / "i").rglob("graph.safetensors"))) == 2
    kept = {id: text for id, text in texts.items() if id not in ("d3", "d300")}
    exact = StoredIndex.create(tmp_path / "e", kept, model, "")
    queries = ["the red lamp 7", "a river 12", "doors"]
    for one in (index, StoredIndex.open(tmp_path / "i", model)):
        for wanted, found in zip(exact.search(queries, 5), one.search(queries, 5), strict=True):
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-5)
            assert not {"d3", "d300"} & {hit.id for hit in found}
    index.join()
    assert len(list((tmp_path / "i").rglob("graph.safetensors"))) == 1
    for wanted, found in zip(exact.search(queries, 5), index.search(queries, 5), strict=True):
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-5)


def test_engines_that_do_not_fit_are_refused(tmp_path, monkeypatch) -> None:
    rows = Rows.of({"id": ["a", "b"], "text": ["a lamp", "a river"]})
    with pytest.raises(UserError, match=r"searches by an inverted index.*leave --engine out"):
        StoredIndex.create(tmp_path / "w", {"a": "x"}, LexicalModel(None, None, {}), "bm25", engine="faiss")
    with pytest.raises(UserError, match=r"unknown engine 'fais'\. Did you mean 'faiss'"):
        twofold.index(rows, small_model(), tmp_path / "i", engine="fais")
    small_model().save(tmp_path / "model")
    twofold.index(rows, tmp_path / "model", tmp_path / "i", engine="faiss")
    with pytest.raises(UserError, match=r"was built for --engine faiss; leave --engine out, or .* --fresh"):
        twofold.open_index(tmp_path / "i", engine="exact")
    assert twofold.open_index(tmp_path / "i", engine="faiss").search("lamp", 1)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"needs faiss; pip install 'twofold\[faiss\]'"):
        twofold.index(rows, tmp_path / "model", tmp_path / "j", engine="faiss")
    assert not (tmp_path / "j").exists()
