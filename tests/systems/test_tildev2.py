"""TILDEv2 [6], and TILDE: what must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.parts import CountTerms, SequenceModel, TermLikelihoods, TermWeights, TiedHead, presets
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_rows
from twofold.tasks.search.lexical import bm25_search
from twofold.tasks.search.passages import Reranked, TableStore, TermStore
from twofold.tasks.search.terms import pieces, stop_tokens
from twofold.tasks.search.vectors import Dense, Sparse


@pytest.fixture(scope="module")
def data():
    return task_named("search").read(small_rows())


@pytest.fixture(scope="module")
def system():
    return dataclasses.replace(configure("tildev2").small(), query_tokens=16)


@pytest.fixture(scope="module")
def model(system, data):
    return system.fit(data, Steps(2)).model


def net(expansion: int = 0, unfit: tuple[int, ...] = ()) -> TermWeights:
    torch.manual_seed(0)
    bare = presets.bert(50, 16, 1, 2, hidden=32, max_len=32)
    expander = None
    if expansion:
        other = presets.bert(50, 16, 1, 2, hidden=32, max_len=32)
        expander = TermLikelihoods(SequenceModel(other.embedding, other.stack, TiedHead(50, bias=True)), [0, 1])
    return TermWeights(SequenceModel(bare.embedding, bare.stack), [0, 1], [0, 1, 7], expander, expansion, unfit).eval()


def test_a_term_weighs_as_its_heaviest_occurrence() -> None:
    made = net()
    ids = torch.tensor([[0, 5, 9, 5, 5, 1]])
    states = made.model.states(ids, None)
    weights = torch.relu(states @ made.weight.weight.T + made.weight.bias)[0, :, 0]
    vector = made(ids)[0]
    torch.testing.assert_close(vector[5], weights[[1, 3, 4]].max(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(vector[9], weights[2], rtol=1e-5, atol=1e-6)
    assert set(vector.nonzero()[:, 0].tolist()) <= {5, 9}


def test_terms_that_a_passage_does_not_hold_score_nothing_and_repeated_ones_count_again() -> None:
    made = net()
    passage = made(torch.tensor([[0, 5, 9, 1]]))
    queries = made.tower("query")(torch.tensor([[0, 11, 12, 1], [0, 5, 5, 1], [0, 5, 7, 1]]))
    scores = made.score(queries, passage)[:, 0]
    assert scores[0] == 0
    assert scores[1] == 2 * passage[0, 5]
    assert scores[2] == passage[0, 5]  # 7 is a stop word
    assert not CountTerms(50)(torch.tensor([[3, 4]]), torch.zeros(1, 2, dtype=torch.bool)).any()


def test_expansion_appends_the_likeliest_terms_that_are_not_there() -> None:
    made = net(expansion=4, unfit=(20, 21))
    ids, real = torch.tensor([[0, 5, 9, 1], [0, 6, 1, 3]]), torch.tensor([[True] * 4, [True] * 3 + [False]])
    longer, counted = made.expand(ids, real)
    likely = made.expander(ids, real)
    for row in range(2):
        barred = {0, 1, 7, 20, 21, *ids[row][real[row]].tolist()}
        expected = [t for t in likely[row].argsort(descending=True).tolist() if t not in barred][:4]
        assert longer[row, 4:].tolist() == expected
    assert counted[:, 4:].all()
    assert torch.equal(counted[:, :4], real)
    weights = made(ids, real)
    assert set(weights[0].nonzero()[:, 0].tolist()) <= {5, 9, *longer[0, 4:].tolist()}
    wide = torch.nn.functional.pad(ids, (0, 3), value=8), torch.nn.functional.pad(real, (0, 3))
    torch.testing.assert_close(made(*wide), weights, rtol=1e-5, atol=1e-6)
    all_unfit = net(expansion=2, unfit=tuple(range(50)))
    assert not all_unfit.expand(ids, real)[1][:, 4:].any()


def test_what_is_appended_comes_from_the_document_alone(model, data) -> None:
    """The same passage is stored alike, whatever is asked and whatever stands beside it."""
    documents = list(data.documents[:12])
    whole = model.encode(documents).values.toarray()
    np.testing.assert_allclose(model.encode(documents[3:4]).values.toarray()[0], whole[3], rtol=1e-5, atol=1e-6)


def test_the_likelihoods_are_bce_both_ways(data) -> None:
    tilde = configure("tilde").small()
    tilde = dataclasses.replace(tilde, backbone="bert-1x32")
    made = tilde.start(data, 0)
    batch = tilde.batches(made, data, 0)(0, 0.0)
    loss = tilde.loss(made.net, batch)
    by_hand = 0.0
    for ours, theirs in ((batch.documents, batch.queries), (batch.queries, batch.documents)):
        likely = made.net(ours.ids, ours.real).double().exp()
        for row in range(len(likely)):
            held = set(theirs.ids[row][theirs.real[row]].tolist()) - set(made.net.stop)
            mask = torch.tensor([t in held for t in range(likely.shape[1])])
            by_hand -= float(likely[row][mask].log().sum() + (1 - likely[row][~mask]).log().sum()) / len(likely)
    assert loss.value.item() == pytest.approx(by_hand, rel=1e-4)


def test_likelihoods_start_at_the_terms_own_frequencies(data) -> None:
    made = dataclasses.replace(configure("tilde").small(), backbone="bert-1x32").start(data, 0)
    texts = [data.documents[i] for i in data.pool("train")]
    likely = made.encode(texts).values.exp().mean(0)
    ids = made.tokens(texts, "document")
    common = max({t for row in ids for t in row} - set(made.net.stop), key=lambda t: sum(t in row for row in ids))
    absent = [t for t in range(len(likely)) if not any(t in row for row in ids)]
    assert likely[common] > 0.2
    assert likely[absent].mean() < 0.1


def test_scores_by_store_equal_brute_force(model, data) -> None:
    documents, queries = list(data.documents[:40]), list(data.queries[:6])
    index = model.build_index(documents)
    assert isinstance(index, Reranked)
    found = index.search(queries, 40)
    weights = model.encode(documents).values.toarray().astype(np.float16).astype(np.float32)
    counts = model.encode(queries, "query").values.toarray()
    for row, (positions, scores) in enumerate(zip(found.positions, found.scores, strict=True)):
        np.testing.assert_allclose(scores, (weights[positions] @ counts[row]), rtol=1e-5, atol=1e-6)
        assert (np.diff(scores) <= 0).all()


def test_reranking_adds_no_documents_and_leaves_the_others_behind(model, data) -> None:
    documents, queries = list(data.documents[:40]), list(data.queries[:6])
    model = model.copy()
    model.spec["depth"] = 5
    found = model.build_index(documents).search(queries, 40)
    first, _ = bm25_search(documents, queries, 40)
    for ours, theirs in zip(found.positions, first, strict=True):
        assert set(ours[:5]) == set(theirs[:5])
        assert ours[5:].tolist() == theirs[5:].tolist()


def test_a_query_of_stop_words_keeps_the_first_order(model, data) -> None:
    documents = list(data.documents[:20])
    index = model.build_index(documents)
    found = index.search(["the of and to"], 20)
    assert found.positions[0].tolist() == index.lexical.search(["the of and to"], 20).positions[0].tolist()
    assert not found.scores.any()
    silent = model.copy()
    silent.net.weight.weight.data.zero_()
    silent.net.weight.bias.data.fill_(-1)  # every weight is 0
    query = data.queries[0]
    assert (
        silent.build_index(documents).search([query], 20).positions[0].tolist()
        == bm25_search(documents, [query], 20)[0][0].tolist()
    )


def test_stores_are_exact_in_float16_and_survive_garbage(model, data, tmp_path) -> None:
    documents = list(data.documents[:30])
    model.copy().index(documents).save(tmp_path / "m")
    again = load(tmp_path / "m")
    before, after = model.build_index(documents).store, again._index.store
    for name in ("ids", "weights", "pointers"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    assert after.weights.dtype == np.float16
    assert after.ids.dtype == np.uint16
    assert again.search(data.queries[0], 5) == model.copy().index(documents).search(data.queries[0], 5)
    file = tmp_path / "m" / "index" / "store.safetensors"
    broken = dataclasses.replace(before, pointers=before.pointers + 1)
    for damage in (lambda: save_file(broken.tensors(), file), lambda: file.write_bytes(b"garbage")):
        damage()
        with pytest.raises(UserError, match="build the index again"):
            load(tmp_path / "m")


def test_both_stores_score_alike() -> None:
    random = np.random.default_rng(0)
    values = (random.random((9, 30)) * (random.random((9, 30)) < 0.3)).astype(np.float32)
    values[4] = 0
    sparse, table = TermStore.of(Sparse.of(torch.from_numpy(values))), TableStore.of(Dense(torch.from_numpy(values)))
    terms, counts, positions = np.array([2, 5, 11]), np.array([1.0, 2.0, 1.0]), np.array([8, 4, 0, 3])
    expected = values.astype(np.float16).astype(np.float32)[positions][:, terms] @ counts
    np.testing.assert_allclose(sparse.scores(terms, counts, positions), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table.scores(terms, counts, positions), expected, rtol=1e-5, atol=1e-6)
    assert not sparse.scores(terms[:0], counts[:0], positions).any()
    assert len(sparse) == len(table) == 9
    assert table.nbytes == 9 * 30 * 2
    assert sparse.nbytes == 4 * (values > 0).sum() + 4 * 10


def test_stop_words_and_pieces_are_told_from_words(model) -> None:
    tokenizer = model.tokenizer
    (the,) = tokenizer.encode(["the"], specials=False)[0]
    assert the in stop_tokens(tokenizer)
    word = next(t for t in tokenizer.encode(["basket window river"], specials=False)[0] if t not in pieces(tokenizer))
    assert tokenizer.decode([word]).strip().isalpha()
    assert {tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask} <= set(pieces(tokenizer))


def test_what_cannot_be_is_refused(data) -> None:
    with pytest.raises(UserError, match="both or neither"):
        TermWeights(net().model, expansion=3)
    with pytest.raises(UserError, match="head over the vocabulary"):
        TermLikelihoods(net().model)
