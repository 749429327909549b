"""SEED-Encoder [233]: what must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.objectives import causal, masked
from twofold.parts import Mask, TextEncoder, presets
from twofold.systems.retrieval.seed_encoder import WeakDecoder
from twofold.tasks import load, task
from twofold.tasks.examples import small_rows
from twofold.tasks.search.pretraining import TextBatch

VOCAB, DIM, TIME = 30, 32, 9


def decoder(span: int | None, layers: int = 1) -> WeakDecoder:
    torch.manual_seed(0)
    return WeakDecoder(presets.decoder(VOCAB, DIM, layers, 2), span).eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, DIM), torch.randint(0, VOCAB, (2, TIME))


@pytest.mark.parametrize("span", [1, 2, 4])
def test_a_layer_sees_the_vector_and_the_last_tokens_alone(inputs, span) -> None:
    """The token at t is predicted at place t - 1; only tokens t - span to t - 1 may change that."""
    vectors, ids = inputs
    net = decoder(span)
    before = net(vectors, ids)
    for place in range(1, TIME):
        other = ids.clone()
        other[:, place] = (other[:, place] + 1) % VOCAB
        moved = (net(vectors, other) - before).abs().amax((0, 2)) > 1e-6
        assert moved.nonzero().flatten().tolist() == list(range(place, min(place + span, TIME)))
    assert ((net(vectors + 1, ids) - before).abs().amax((0, 2)) > 1e-6).all()


def test_several_layers_never_look_ahead_and_see_farther_back(inputs) -> None:
    vectors, ids = inputs
    net = decoder(2, layers=3)
    before = net(vectors, ids)
    other = ids.clone()
    other[:, 3] = (other[:, 3] + 1) % VOCAB
    moved = (net(vectors, other) - before).abs().amax((0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6]


def test_without_a_limit_it_is_a_causal_decoder(inputs) -> None:
    vectors, ids = inputs
    net, wide = decoder(None), decoder(TIME)
    states = net.model.embed(ids)
    states[:, 0] = vectors
    expected = net.model.apply_head(net.model.stack(states, Mask.causal()))
    torch.testing.assert_close(net(vectors, ids), expected)
    torch.testing.assert_close(wide(vectors, ids), expected)


def test_padding_changes_nothing(inputs) -> None:
    vectors, ids = inputs
    net = decoder(2, layers=2)
    real = torch.ones(2, TIME + 3, dtype=torch.bool)
    real[:, TIME:] = False
    padded = torch.cat([ids, torch.zeros(2, 3, dtype=torch.long)], 1)
    torch.testing.assert_close(net(vectors, padded, real)[:, :TIME], net(vectors, ids), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def data():
    return task("search").read(small_rows())


def test_the_decoder_reaches_the_encoder_through_the_vector_alone(data) -> None:
    system = configure("seed-encoder").small()
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    assert isinstance(batch, TextBatch)
    _, vectors = system.filled(model.net, batch)

    def rebuilt(through):
        model.net.zero_grad()
        loss = causal(model.net.decoder(through, batch.ids, batch.real), batch.ids, real=batch.real).value
        loss.backward()
        return [p.grad is not None and bool(p.grad.any()) for p in model.net.encoder.parameters()]

    assert not any(rebuilt(vectors.detach()))
    assert any(rebuilt(vectors))


def test_the_loss_is_both_and_the_decoder_reads_what_was_not_hidden(data) -> None:
    system = configure("seed-encoder").small()
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    torch.manual_seed(3)
    loss = system.loss(model.net, batch)
    torch.manual_seed(3)
    filled, vectors = system.filled(model.net, batch)
    logits = model.net.decoder(vectors, batch.ids, batch.real)[:, :-1]
    targets = batch.ids[:, 1:].masked_fill(~batch.real[:, 1:], -100)
    by_hand = filled.value + masked(logits, targets).value
    assert loss.value.item() == pytest.approx(by_hand.item(), rel=1e-5)
    baseline = configure("masked-retriever").small()
    torch.manual_seed(3)
    assert baseline.loss(model.net, batch).value.item() == pytest.approx(filled.value.item(), rel=1e-6)


def test_texts_come_first_then_pairs_and_the_decoder_is_gone(data, tmp_path) -> None:
    system = dataclasses.replace(configure("seed-encoder").small(), pairs=20, pretrain=0.5)
    model = system.start(data, 0)
    given = system.batches(model, data, 0)
    assert isinstance(given(0, 0.49), TextBatch)
    pairs = given(5, 0.5)
    assert len(set(torch.cat([given(s, 0.9).query_ids for s in range(20)]).tolist())) == 20
    assert len(pairs.owners)
    trained = system.fit(data, Steps(4)).model
    assert type(trained.net) is TextEncoder
    assert trained.net.model.head is None
    trained.save(tmp_path / "model")
    texts = list(data.documents[:4])
    assert torch.equal(load(tmp_path / "model").encode(texts).values, trained.encode(texts).values)
    again = dataclasses.replace(configure("gtr").small(), backbone=str(tmp_path / "model"), tune_layers=0)
    start = again.start(data, 0).net.tower("document").model
    assert torch.equal(start.embedding.table, trained.net.model.embedding.table)


def test_what_does_not_fit_is_refused(data) -> None:
    with pytest.raises(UserError, match="ask for fewer"):
        dataclasses.replace(configure("seed-encoder").small(), pairs=9999).fit(data, Steps(1))
    with pytest.raises(UserError, match="at least 1 token"):
        WeakDecoder(presets.decoder(VOCAB, DIM, 1, 2), 0)
