"""M2-BERT [45]: what must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.made.spread import spread
from twofold.errors import UserError
from twofold.objectives import orthogonal
from twofold.parts import ChunkedEncoder, Dense, Mean, MonarchConv, TextEncoder, presets, two_way_conv
from twofold.parts.caches import StackCache
from twofold.parts.linear import linear
from twofold.systems.retrieval.m2_bert_loco import extend_positions
from twofold.tasks import load, task
from twofold.tasks.examples import small_model, small_rows


@pytest.mark.parametrize("time", [1, 2, 7, 32])
def test_the_convolution_is_the_direct_one(time) -> None:
    torch.manual_seed(0)
    u, before, behind = torch.randn(2, 3, time), torch.randn(3, time), torch.randn(3, time)
    expected = torch.zeros_like(u)
    for t in range(time):
        for s in range(time):
            tap = before[:, t - s] * (s <= t) + behind[:, s - t] * (s >= t)
            expected[:, :, t] += tap * u[:, :, s]
    torch.testing.assert_close(two_way_conv(u, before, behind), expected, rtol=1e-4, atol=1e-4)


def test_padding_never_counts() -> None:
    torch.manual_seed(0)
    system = configure("m2-bert-loco").small()
    data = task("search").read(small_rows())
    net = system.start(data, 0).net.eval()
    ids = torch.randint(5, 60, (3, 9))
    real = torch.arange(14) < torch.tensor([9, 4, 1])[:, None]
    padded = torch.cat([ids, torch.randint(5, 60, (3, 5))], 1)
    vectors = net(padded, real)
    for row, length in enumerate((9, 4, 1)):
        torch.testing.assert_close(vectors[row], net(ids[row : row + 1, :length])[0], rtol=1e-4, atol=1e-5)


def test_it_sees_both_sides_and_has_no_attention() -> None:
    torch.manual_seed(0)
    mixer, x = MonarchConv(8, length=16), torch.randn(1, 12, 8)
    before = mixer(x)
    other = x.clone()
    other[0, 5] += 1
    moved = (mixer(other) - before).abs().amax(2)[0] > 1e-6
    assert moved.all()
    with pytest.raises(UserError, match="whole sequences"):
        mixer(x, cache=StackCache([], 1))


def test_one_block_is_a_plain_map() -> None:
    torch.manual_seed(0)
    blocks, dense, x = linear(8, 12, kind="blockdiagonal(1)"), Dense(8, 12), torch.randn(5, 8)
    with torch.no_grad():
        dense.weight.copy_(blocks.matrix())
        dense.bias.copy_(blocks.bias)
    torch.testing.assert_close(blocks(x), dense(x))
    assert linear(8, 12, kind="blockdiagonal(4)").weight.numel() == 8 * 12 // 4
    with pytest.raises(UserError, match="5"):
        linear(8, 12, kind="blockdiagonal(5)")


def test_the_loss_is_none_at_its_targets() -> None:
    queries = torch.tensor([[2.0, 0, 0], [0, 3, 0]])
    documents = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 4], [0, 5, 0]])
    assert orthogonal(queries, documents[:3]).value.item() == 0
    owners = torch.tensor([0, 0])
    assert orthogonal(queries, documents, owners).value.item() == 0
    assert orthogonal(queries, documents, torch.tensor([0, 1])).value.item() == pytest.approx(0.5)
    assert orthogonal(queries, -documents[:2]).value.item() == pytest.approx(4.0)
    q, d = torch.randn(1, 4), torch.randn(3, 4)
    cosines = torch.nn.functional.cosine_similarity(q, d)
    expected = (1 - cosines[0]) ** 2 + cosines[1] ** 2 + cosines[2] ** 2
    assert orthogonal(q, d).value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_positions_repeat_with_the_old_period() -> None:
    system = configure("m2-bert-loco").small()
    model = system.fit(task("search").read(small_rows()), Steps(2)).model
    longer = extend_positions(model, 40)
    old, new = (m.net.model.embedding.position.weight for m in (model, longer))
    assert torch.equal(new, old[torch.arange(40) % len(old)])
    short = "The lamp is red"
    assert torch.equal(longer.encode([short]).values, model.encode([short]).values)
    assert longer.encode(["lamp " * 39]).values.shape == (1, 32)
    with pytest.raises(UserError, match="reads 16 tokens already"):
        extend_positions(model, 10)
    with pytest.raises(UserError, match="no learned positions"):
        extend_positions(small_model(), 100)


def test_chunks_are_texts_by_themselves() -> None:
    torch.manual_seed(0)
    one = TextEncoder(presets.encoder(60, 32, 1, 2, max_len=8), Mean()).eval()
    ids = torch.randint(1, 60, (3, 10))
    real = torch.arange(10) < torch.tensor([10, 4, 7])[:, None]
    found = ChunkedEncoder(one, 4).eval()(ids, real)
    assert found.shape == (3, 3, 32)
    for row, ends in enumerate(((4, 8, 10), (4,), (4, 7))):
        pieces = [one(ids[row : row + 1, 4 * n : end])[0] for n, end in enumerate(ends)]
        pieces += [pieces[0]] * (3 - len(pieces))
        torch.testing.assert_close(found[row], torch.stack(pieces), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("id", ["chunks", "m2-bert-loco"])
def test_documents_of_several_chunks_are_searched(id, tmp_path) -> None:
    system = configure(id).small()
    if id == "chunks":
        system = dataclasses.replace(system, chunk=6)
    data = task("search").read(small_rows())
    model = system.fit(data, Steps(2)).model
    hits = model.index(list(data.documents[:20])).search(data.queries[0], 5)
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").search(data.queries[0], 5) == hits


def test_evidence_is_spread() -> None:
    data = task("search").read(spread(train=8, validation=4, test=8, length=64, same=16, names=20, noise=20))
    for query, answers in enumerate(data.relevant):
        (answer,) = answers
        told = set(data.queries[query].split())
        words = data.documents[answer].split()
        assert told <= set(words[16:])
        assert not told & set(words[:16])
        alike = [d for d in data.documents if d.split()[:16] == words[:16]]
        assert len(alike) == 4
        assert sorted(len(told & set(d.split())) for d in alike) == [3, 3, 3, 4]


def test_what_cannot_be_learned_is_refused() -> None:
    data = task("search").read(small_rows())
    small = configure("m2-bert-loco").small()
    with pytest.raises(UserError, match="set negatives=8"):
        dataclasses.replace(small, objective="orthogonal", negatives=0).start(data, 0)
    with pytest.raises(UserError, match="batch=2"):
        dataclasses.replace(small, batch=1, negatives=0).start(data, 0)
    alone = dataclasses.replace(small, objective="orthogonal", batch=1, negatives=8)
    model = alone.start(data, 0)
    batch = alone.batches(model, data, 0)(0, 0.0)
    assert len(batch.query_ids) == 1
    assert alone.loss(model.net, batch).value.item() > 0
    with pytest.warns(UserWarning, match="may be cut"):
        dataclasses.replace(small, document_tokens=8).batches(model, data, 0)


def test_documents_of_many_lengths_are_encoded_in_batches() -> None:
    system = configure("chunks", backbone="encoder-2x32", document_tokens=64, chunk=16)
    model = system.fit(task("search").read(small_rows()), Steps(1)).model
    texts = ["short", " ".join(["a longer one, of several chunks"] * 12), *["of one chunk"] * 40] * 8
    together = model.encode(texts, side="document")
    alone = model.encode(texts[:1], side="document")
    torch.testing.assert_close(together.values[0, 0], alone.values[0, 0])
    assert together.values.shape[1] > alone.values.shape[1] == 1
    queries = model.encode(["a query"], side="query")
    assert queries.score(together, model.net.score)[0, 0] == pytest.approx(
        float(queries.score(alone, model.net.score)[0, 0]), abs=1e-5
    )
