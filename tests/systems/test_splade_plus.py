"""SPLADE++ [253]: what must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.objectives import flops, quadratic
from twofold.parts import LMHead, MaxTerms, MLMHead, SequenceModel, SparseEncoder, TiedHead, presets
from twofold.parts.sparse import largest_logits
from twofold.systems.retrieval.splade_plus import margin_scores
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.backbones import Chosen
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.search.mining import Teacher, mine, searcher
from twofold.tasks.search.terms import around, head, settle
from twofold.tasks.search.vectors import Sparse


@pytest.fixture(scope="module")
def data():
    return task_named("search").read(small_rows())


@pytest.fixture(scope="module")
def system():
    return dataclasses.replace(configure("splade-plus").small(), query_tokens=16)


@pytest.fixture(scope="module")
def model(system, data):
    return system.start(data, 0)


def test_weights_are_the_largest_logit_as_a_logarithm() -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    counted = torch.tensor([[True] * 5, [True, True, False, False, False]])
    weights = MaxTerms()(logits, counted)
    for row, length in enumerate((5, 2)):
        by_hand = torch.stack([torch.log(1 + logits[row, t].clamp_min(0)) for t in range(length)]).amax(0)
        torch.testing.assert_close(weights[row], by_hand, rtol=1e-5, atol=1e-6)
    assert (weights >= 0).all()
    assert not MaxTerms()(logits, torch.zeros_like(counted)).any()


def test_weights_are_never_negative(model, data) -> None:
    for side in ("query", "document"):
        vectors = model.encode(data.documents[:20], side).values
        assert vectors.nnz > 0
        assert vectors.data.min() > 0


def test_padding_adds_nothing(model) -> None:
    ids = torch.tensor(model.tokens(["the red lamp is here"], "query"))
    real = torch.ones_like(ids, dtype=torch.bool)
    wide = torch.nn.functional.pad(ids, (0, 5), value=model.tokenizer.pad)
    padded = torch.nn.functional.pad(real, (0, 5), value=False)
    torch.testing.assert_close(model.net(wide, padded), model.net(ids, real), rtol=1e-5, atol=1e-6)


def test_special_tokens_neither_speak_nor_are_spoken_of(model) -> None:
    tokenizer, net = model.tokenizer, model.net
    assert around(tokenizer) == (1, 1)
    assert around(ByteTokenizer()) == (1, 1)
    assert {tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask} == set(net.silent)
    states = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    loud, spoken = states.clone(), net.model.embedding.table[40:44].detach()  # words that only these would say
    loud[:, 0], loud[0, 5], loud[1, 3] = spoken[0], spoken[1], spoken[2]
    assert torch.equal(net.read(states, real), net.read(loud, real))
    assert not net.read(states, real)[:, net.silent].any()
    loud[1, 2] = spoken[3]
    assert not torch.equal(net.read(states, real), net.read(loud, real))


def test_index_search_equals_the_dense_product(model, data) -> None:
    documents, queries = list(data.documents[:40]), list(data.queries[:6])
    found = model.build_index(documents).search(queries, 40)
    dense = [
        torch.from_numpy(model.encode(t, s).values.toarray()) for t, s in ((queries, "query"), (documents, "document"))
    ]
    full = dense[0] @ dense[1].T
    torch.testing.assert_close(
        torch.from_numpy(found.scores), full.sort(1, descending=True).values, rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        full.gather(1, torch.from_numpy(found.positions)), torch.from_numpy(found.scores), rtol=1e-5, atol=1e-5
    )
    pairs = model.pair_scores([queries[0]] * 40, documents)
    np.testing.assert_allclose(pairs, full[0].numpy(), rtol=1e-5, atol=1e-5)


def test_saved_index_reloads_bit_equal(model, data, tmp_path) -> None:
    documents = list(data.documents[:30])
    model.copy().index(documents).save(tmp_path / "m")
    again = load(tmp_path / "m")
    before, after = model.build_index(documents).postings, again._index.postings
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    assert again.search(data.queries[0], 5) == model.copy().index(documents).search(data.queries[0], 5)
    (tmp_path / "m" / "index" / "postings.safetensors").write_bytes(b"garbage")
    with pytest.raises(UserError, match="build the index again"):
        load(tmp_path / "m")


def test_flops_and_its_gradient() -> None:
    weights = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    by_hand = sum((sum(float(weights[b, v].detach()) for b in range(4)) / 4) ** 2 for v in range(6))
    assert flops(weights).item() == pytest.approx(by_hand)
    assert torch.autograd.gradcheck(flops, (weights,))
    flops(weights).backward()
    expected = (2 * weights.detach().mean(0) / 4).expand(4, 6)
    torch.testing.assert_close(weights.grad, expected)


def test_the_weight_of_sparsity_rises_quadratically() -> None:
    assert [quadratic(p, 1 / 3) for p in (0.0, 1 / 6, 1 / 3, 0.9)] == pytest.approx([0, 0.25, 1, 1])
    assert quadratic(0.0, 0.0) == 1


def test_pressure_empties_the_vectors(system, data) -> None:
    """No weight on sparsity leaves the most terms, a large one the fewest, and too large a one is named."""
    terms = []
    for weight in (0.0, 0.03, 0.3):
        tuned = dataclasses.replace(system, flops_weight=weight, warmup=0.0, lr=1e-2)
        model = tuned.fit(data, Steps(8)).model
        terms.append(model.encode(data.documents[:40]).values.nnz)
    assert terms[0] > terms[1] > terms[2]
    with pytest.raises(UserError, match="warmup"):
        dataclasses.replace(system, flops_weight=1e4, warmup=0.0, lr=1e-2).fit(data, Steps(40))


def test_pruning_equals_sort_and_cut() -> None:
    made = np.random.default_rng(0)
    values = np.round(made.random((12, 30)) * (made.random((12, 30)) < 0.4), 1).astype(np.float32)
    values[3] = 0
    for most in (1, 4, 50):
        pruned = Sparse.of(torch.from_numpy(values)).pruned(most).values.toarray()
        for row, kept in zip(values, pruned, strict=True):
            expected = np.zeros_like(row)
            order = np.argsort(-row, kind="stable")[:most]
            expected[order] = row[order]
            assert np.array_equal(kept, expected)


def test_models_cut_their_terms_and_name_them(system, data) -> None:
    model = dataclasses.replace(system, document_terms=3, query_terms=2).start(data, 0)
    assert np.diff(model.encode(data.documents[:9]).values.indptr).max() == 3
    assert np.diff(model.encode(data.queries[:9], "query").values.indptr).max() == 2
    (named,) = model.terms(["the red lamp"])
    assert len(named) <= 3
    assert list(named.values()) == sorted(named.values(), reverse=True)
    with pytest.raises(UserError, match="without terms"):
        small_model().terms(["x"])


def test_a_fresh_head_starts_near_lexical_search() -> None:
    torch.manual_seed(0)
    net = presets.bert(2000, 128, 2, 4, hidden=512, max_len=64)
    chosen = Chosen(SequenceModel(net.embedding, net.stack), ByteTokenizer(), False, {})
    encoder = SparseEncoder(SequenceModel(net.embedding, net.stack, head(chosen)), MaxTerms())
    ids = torch.randperm(2000)[:60].reshape(6, 10)
    weights = encoder(ids)
    own = weights.topk(20).indices[:, None, :] == ids[:, :, None]
    assert own.any(-1).float().mean() > 0.9
    assert (weights > 0).float().mean() < 0.1


def test_the_largest_logits_and_their_gradients_are_those_of_the_whole_table() -> None:
    generator = torch.Generator().manual_seed(0)
    for made in (TiedHead(40, bias=True), LMHead(8, 40, bias=True), MLMHead(8, 40)):
        states = torch.randn(3, 6, 8, generator=generator).requires_grad_()
        table = torch.randn(40, 8, generator=generator).requires_grad_()
        counted = torch.tensor([[True] * 6, [False, True, True, False, True, False], [False] * 6])
        leaves = [states, *([] if isinstance(made, LMHead) else [table]), *made.parameters()]
        dense = MaxTerms()(made(states, table), counted)
        sparse = MaxTerms().of_largest(largest_logits(made.factors(states, table), counted))
        torch.testing.assert_close(sparse, dense, rtol=1e-5, atol=1e-6)
        assert 0 < (dense > 0).sum() < 80
        weights = torch.randn(3, 40, generator=generator)
        both = [torch.autograd.grad((values * weights).sum(), leaves) for values in (dense, sparse)]
        for expected, found in zip(*both, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_head_starts_with_the_terms_that_are_asked_for(system, data) -> None:
    for terms in (3, 12):
        model = dataclasses.replace(system, start_terms=terms).start(data, 0)
        vectors = [
            model.encode([texts[i] for i in some[:256]], side).values
            for texts, some, side in (
                (data.queries, data.asked("train"), "query"),
                (data.documents, data.pool("train"), "document"),
            )
        ]
        said = sum(v.nnz for v in vectors) / sum(v.shape[0] for v in vectors)
        assert said == pytest.approx(terms, rel=0.35)
        before = model.net.model.head.bias.clone()
        settle(model, data, 1)  # a bias that was set is left as it is
        assert torch.equal(model.net.model.head.bias, before)


def test_each_step_draws_one_of_the_hard_negatives_that_are_kept(system, data) -> None:
    system = dataclasses.replace(system, kept=4, supervision="in-batch")
    model = system.start(data, 0)
    batches = system.batches(model, data, 0)
    mined = mine(data, 4, [searcher("bm25", model.spec)])
    first = []
    for step in range(12):
        pairs = batches(step, 0.5).pairs
        assert len(set(pairs.owners.tolist())) == len(pairs.owners) > 0
        wrong = pairs.document_ids[len(pairs.query_ids) :].tolist()
        for query, document in zip(pairs.query_ids[pairs.owners].tolist(), wrong, strict=True):
            assert document in mined[query]
            if len(mined[query]) > 1:
                first.append(document == mined[query][0])
    assert any(first)
    assert not all(first)


def test_a_trained_head_is_kept() -> None:
    net = presets.encoder(60, 32, 1, 2, head="tied")
    chosen = Chosen(SequenceModel(net.embedding, net.stack), ByteTokenizer(), True, {}, net.head)
    ids = torch.tensor([[7, 9, 21]])
    again = SequenceModel(net.embedding, net.stack, head(chosen))
    assert torch.equal(again(ids), net(ids))
    mlm = presets.encoder(60, 32, 1, 2, head="mlm")
    assert head(Chosen(mlm, ByteTokenizer(), True, {}, mlm.head)) is mlm.head


def test_the_teacher_margin_of_every_negative(system, model, data) -> None:
    batch = system.batches(model, data, 0)(2, 0.5)
    pairs = batch.pairs
    assert len(batch.margins) == len(pairs.owners) > 0
    mined = mine(data, system.kept, [searcher("bm25", model.spec)])
    scores = Teacher("bm25", model.spec, data, mined, 2.0)
    row = int(pairs.owners[0])
    query, answer = int(pairs.query_ids[row]), int(pairs.document_ids[row])
    wrong = int(pairs.document_ids[len(pairs.query_ids)])
    assert wrong in mined[query]
    margin = (scores.scores([query], [answer]) - scores.scores([query], [wrong]))[0]
    assert float(batch.margins[0]) == pytest.approx(margin / 2, rel=1e-5)
    queries, documents = torch.eye(2, 3), torch.arange(9.0).reshape(3, 3)
    positive, negative = margin_scores(queries, documents, torch.tensor([1]))
    assert (positive.item(), negative.item()) == (4.0, 7.0)


def test_halves_of_a_batch_keep_their_margins(system, model, data) -> None:
    batch = system.batches(model, data, 0)(0, 0.5)
    halves = [batch.shard(rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([half.margins for half in halves]), batch.margins)
    assert all(len(half.margins) == len(half.pairs.owners) for half in halves)


def test_several_finders_take_turns(data) -> None:
    spec = {"query_tokens": 16, "document_tokens": 16}
    other = small_model()
    both = mine(data, 4, [searcher("bm25", spec), other])
    alone = mine(data, 4, [other])
    query = next(q for q in both if q in alone)
    assert int(alone[query][0]) in both[query][:2]
    assert all(not set(found) & set(data.relevant[q]) for q, found in both.items())
