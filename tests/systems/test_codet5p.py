"""CodeT5+ [77]: what must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.data.tokenizers import train_bpe
from twofold.errors import UserError
from twofold.objectives import drawn_negatives, restore
from twofold.parts import Cls, CrossAttention, Ema, Mask, PairQueue, TextEncoder, blocks, presets
from twofold.surgery import graft_cross_attention
from twofold.tasks import load, task
from twofold.tasks.inputs import TokenInputs
from twofold.tasks.language import LanguageModel
from twofold.tasks.search import PairBatch, WritingModel
from twofold.tasks.search.writing import ON_CODE, ON_PAIRS, SENTINELS, belonging
from twofold.tasks.search.writing_losses import contrasted

CODE = "def scale(items, rate):\n    total = sum(items)\n    return [total * rate for one in items if one]\n"


@pytest.fixture(scope="module")
def data():
    codes = [CODE.replace("scale", f"scale_{i}") for i in range(24)]
    queries = [f"multiply the values of list {i}" for i in range(24)]
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    return task("search").read(Rows.of({"query": queries, "document": codes, "split": splits}))


def small(**options):
    options = {"document_tokens": 64, "query_tokens": 24, **options}
    return dataclasses.replace(configure("codet5p").small(), **options)


def started(data, **options):
    system = small(**options)
    model = system.start(data, 0)
    model.net.train()
    return system, model, system.batches(model, data, 0)


def test_objectives_take_turns_in_their_stages_then_pairs_are_tuned(data) -> None:
    _, model, given = started(data)
    assert tuple(given(step, 0.1).kind for step in range(3)) == ON_CODE
    assert tuple(given(step, 0.5).kind for step in range(4)) == ON_PAIRS
    assert isinstance(given(0, 0.8), PairBatch)
    _, alone, batches = started(data, objectives=("denoise",))
    assert {batches(step, 0.79).kind for step in range(3)} == {"denoise"}
    assert alone.net.momentum is None
    known = model.tokens(list(data.queries), "query")
    read = given(0, 0.5).source
    assert all(ids[real].tolist() in known for ids, real in zip(read.ids, read.real, strict=True))


def test_hidden_spans_come_back_and_a_beginning_meets_its_rest(data) -> None:
    _, model, given = started(data)
    tokenizer = model.tokenizer
    sentinels = [tokenizer.index(each) for each in SENTINELS]
    denoise, prefix, alone = (given(step, 0.1) for step in range(3))
    whole = {tuple(ids) for ids in tokenizer.encode(list(data.documents), specials=False)}
    whole = {ids[:62] for ids in whole}

    def content(inputs):
        return [tuple(ids[real].tolist()[1:-1]) for ids, real in zip(inputs.ids, inputs.real, strict=True)]

    for source, target in zip(content(denoise.source), content(denoise.target), strict=True):
        assert tuple(restore(source, target, sentinels)) in whole
        assert any(token in sentinels for token in source)
    for source, target in zip(content(prefix.source), content(prefix.target), strict=True):
        assert source + target in whole
    assert alone.source is None
    assert set(content(alone.target)) <= whole


def test_a_decoder_with_nothing_in_mind_is_the_decoder_without_cross_attention(data) -> None:
    _, model, given = started(data)
    net, target = model.net, given(2, 0.1).target
    found = net.alone(len(target.ids))(target.ids, Mask.causal())
    with torch.no_grad():
        for block in net.decoder.stack.layers:
            if isinstance(block.mixer, CrossAttention):
                block.mixer.out.weight.zero_()
    source = torch.randint(5, 50, (len(target.ids), 7))
    seen = torch.ones_like(source, dtype=torch.bool)
    read = net.recalling(net.model.states(source), seen)
    torch.testing.assert_close(read(target.ids, Mask.causal()), found)


def test_the_queue_forgets_the_oldest_and_never_counts_what_belongs_together(data) -> None:
    queue = PairQueue(3, 2)
    for start in (0, 2):
        ids = torch.arange(start, start + 2)
        queue.push(ids[:, None].expand(2, 2).float(), ids[:, None].expand(2, 2).float(), ids)
    assert sorted(queue.held()[2].tolist()) == [1, 2, 3]
    queue.push(torch.zeros(5, 2), torch.ones(5, 2), torch.arange(10, 15))
    assert sorted(queue.held()[2].tolist()) == [12, 13, 14]
    system, model, given = started(data, momentum=1.0)
    batch, net = given(0, 0.5), model.net
    own = [each.embed(net).detach() for each in (batch.source, batch.code)]
    first, again = (contrasted(net, batch, system.momentum).value for _ in range(2))
    assert len(net.momentum.queue) == len(batch.pairs)
    for found, held in ((first, 0), (again, len(batch.pairs))):
        expected = by_hand(own, float(net.momentum.temperature.detach()), batch.pairs, held)
        torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-5)


def by_hand(own, temperature, pairs, held):
    """The loss with the batch and a queue of its first `held` pairs, where nothing of a row's own is wrong."""
    total = torch.zeros(())
    for side in (0, 1):
        for i in range(len(pairs)):
            right = own[1 - side][i]
            wrong = [own[1 - side][j] for j in range(len(pairs)) if pairs[j] != pairs[i]]
            wrong += [own[1 - side][j] for j in range(held) if pairs[j] != pairs[i]]
            scores = torch.stack([right, *wrong]) @ own[side][i] / temperature
            total = total - scores.log_softmax(0)[0] / len(pairs) / 2
    return total


def test_the_slow_encoder_follows_and_is_not_optimised(data) -> None:
    torch.manual_seed(0)
    source = TextEncoder(presets.encoder(9, 16, 1, 2), Cls())
    slow = Ema.of(source)
    before = [p.clone() for p in slow.parameters()]
    with torch.no_grad():
        for p in source.parameters():
            p.add_(1.0)
    slow.follow(source, 0.9)
    for own, old, new in zip(slow.parameters(), before, source.parameters(), strict=True):
        torch.testing.assert_close(own, 0.9 * old + 0.1 * new, rtol=1e-5, atol=1e-6)
        assert not own.requires_grad
    with pytest.raises(UserError, match="share"):
        slow.follow(source, 1.5)
    system, model, given = started(data)
    contrasted(model.net, given(0, 0.5), system.momentum).value.backward()
    assert all(p.grad is None for p in model.net.momentum.encoder.parameters())
    assert model.net.momentum.scale.grad is not None
    with pytest.raises(UserError, match="would hold all 16"):
        started(data, queue=16)


def test_wrong_partners_are_drawn_by_similarity_and_never_duplicates() -> None:
    torch.manual_seed(0)
    scores = torch.tensor([[0.0, 1.0, 2.0, 9.0]]).expand(4000, 4)
    wrong = torch.tensor([[True, True, True, False]]).expand(4000, 4)
    rows, drawn = drawn_negatives(scores, wrong)
    assert torch.equal(rows, torch.arange(4000))
    shares = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(shares[:3], torch.tensor([0.0, 1.0, 2.0]).softmax(0), rtol=0.1, atol=0.02)
    assert shares[3] == 0
    assert len(drawn_negatives(scores[:2], torch.zeros(2, 4, dtype=torch.bool))[0]) == 0
    rows = Rows.of(
        {
            "query": ["a", "a", "b", "c", "t", "v"],
            "document": ["w", "x", "x", "y", "p", "q"],
            "split": ["train"] * 4 + ["test", "validation"],
        }
    )
    data = task("search").read(rows)
    named = dict(zip([(data.queries[q], data.documents[d]) for q, d in data.pairs], belonging(data), strict=True))
    assert named["a", "w"] == named["a", "x"] == named["b", "x"]
    assert named["c", "y"] != named["a", "w"]


def test_a_graft_begins_as_the_decoder_and_looks_after_training() -> None:
    torch.manual_seed(0)
    decoder, ids = presets.decoder(30, 16, 3, 2, kv_heads=1).eval(), torch.randint(0, 30, (2, 6))
    before, memory = decoder(ids), torch.randn(2, 4, 8)
    frozen = {n: t.clone() for n, t in decoder.state_dict().items()}
    net = graft_cross_attention(decoder, 8, top=2).eval()
    assert torch.equal(net(ids, Mask.remember(memory)), before)
    looks = [block.mixer for _, block in blocks(net) if isinstance(block.mixer, CrossAttention)]
    assert len(looks) == 2
    trained = [p for p in net.parameters() if p.requires_grad]
    assert len(trained) == 2 * 5
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    for _ in range(2):
        net(ids, Mask.remember(memory)).square().mean().backward()
        optimizer.step()
    assert not torch.allclose(net(ids, Mask.remember(memory)), before)
    assert all(torch.equal(t, frozen[n]) for n, t in decoder.state_dict().items())
    with pytest.raises(UserError, match="use 1 to 3"):
        graft_cross_attention(presets.decoder(30, 16, 3, 2), 8, top=4)
    with pytest.raises(UserError, match="causal"):
        graft_cross_attention(presets.encoder(30, 16, 3, 2), 8, top=1)


def test_training_on_a_frozen_decoder_leaves_it_as_it_was(data, tmp_path) -> None:
    torch.manual_seed(0)
    tokenizer = train_bpe([CODE], 300)
    net = presets.decoder(tokenizer.vocab_size, 16, 2, 2)
    LanguageModel(net.eval(), tokenizer, {"length": 64}).save(tmp_path / "decoder")
    system = small(graft=str(tmp_path / "decoder"), graft_layers=1)
    fitted = system.fit(data, Steps(6)).model
    decoder = fitted.net.decoder
    assert torch.equal(decoder.embedding.table[: tokenizer.vocab_size], net.embedding.table)
    pairs = ((0, 0), (1, 1))
    for new, old in pairs:
        assert torch.equal(decoder.stack.layers[new].mixer.query.weight, net.stack.layers[old].mixer.query.weight)
    assert torch.equal(decoder.stack.layers[2].channel.up.weight, net.stack.layers[1].channel.up.weight)
    assert decoder.stack.layers[2].mixer.out.weight.any()
    assert isinstance(fitted.generate("multiply the values", limit=3), str)
    started_from_it = small(backbone=str(tmp_path / "decoder")).start(data, 0)
    assert torch.equal(started_from_it.net.model.embedding.table[: tokenizer.vocab_size], net.embedding.table)
    assert started_from_it.net.model.vocab == started_from_it.tokenizer.vocab_size > tokenizer.vocab_size
    with pytest.raises(UserError, match="untrained backbone"):
        small(graft=str(tmp_path / "decoder"), backbone=str(tmp_path / "decoder")).start(data, 0)


def test_what_was_taught_works_after_saving_and_momentum_is_gone(data, tmp_path) -> None:
    model = small().fit(data, Steps(10)).model
    assert model.net.momentum is None
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, WritingModel)
    texts, codes = list(data.queries[:3]), list(data.documents[:3])
    assert np.array_equal(again.match(texts, codes), model.match(texts, codes))
    assert np.array_equal(again.pair_scores(texts, codes), model.match(texts, codes))
    for to, given in (("code", texts), ("text", codes), ("rest", codes)):
        assert again.generate(given, to, limit=4) == model.generate(given, to, limit=4)
    only = small(objectives=("denoise",)).fit(data, Steps(2)).model
    with pytest.raises(UserError, match="nothing"):
        only.generate("a list")
    assert only.pair_scores(texts, codes).shape == (3,)


def test_every_objective_trains_what_it_should(data) -> None:
    system, model, given = started(data)
    for step, share, decodes in ((0, 0.1, True), (2, 0.1, True), (0, 0.5, False), (1, 0.5, True), (2, 0.5, True)):
        model.net.zero_grad()
        batch = given(step, share)
        loss = system.loss(model.net, batch)
        assert torch.isfinite(loss.value)
        loss.value.backward()
        moved = {n.split(".")[0] for n, p in model.net.named_parameters() if p.grad is not None and p.grad.any()}
        assert ("decoder" in moved) == decodes
        assert "model" in moved
        assert isinstance(batch.source, TokenInputs) == (batch.kind != "alone")
        assert len(batch.shard(0, 2).pairs) == len(batch.pairs) // 2
