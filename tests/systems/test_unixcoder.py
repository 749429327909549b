"""UniXcoder [180]: what must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.data.python_trees import MARKS, flatten, tree_of
from twofold.data.tokenizers import train_bpe
from twofold.errors import UserError
from twofold.objectives import hide_spans, restore
from twofold.parts import Mask, presets
from twofold.surgery.vocabulary import widen_vocabulary
from twofold.tasks import load, task
from twofold.tasks.search.modes import LOSSES, MODES, SENTINELS, flattened, mode_mask

CODE = "def scale(items, rate):\n    total = sum(items)\n    return [total * rate for one in items if one]\n"


def seen(mask: Mask) -> list[list[int]]:
    places = mask.places(1, 6, torch.device("cpu"))
    return mask.dense(places, places)[0, 0].int().tolist()


def test_the_masks_of_the_three_modes_by_hand() -> None:
    assert seen(mode_mask(MODES[0])) == [[1] * 6] * 6
    assert seen(mode_mask(MODES[1])) == [[1] * (i + 1) + [0] * (5 - i) for i in range(6)]
    assert seen(mode_mask(MODES[2], torch.tensor([3]))) == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]
    with pytest.raises(UserError, match="is none of"):
        mode_mask("<both>")


def test_nobody_sees_what_is_not_there_for_it() -> None:
    torch.manual_seed(0)
    net = presets.encoder(20, 32, 2, 2, head="tied").eval()
    ids = torch.randint(0, 20, (1, 8))
    for mask, first in ((mode_mask(MODES[1]), 1), (mode_mask(MODES[2], torch.tensor([4])), 4)):
        before = net.states(ids, mask)
        for place in range(first, 8):
            other = ids.clone()
            other[0, place] = (other[0, place] + 1) % 20
            moved = (net.states(other, mask) - before).abs().amax((0, 2)) > 1e-6
            assert moved.nonzero().flatten().tolist() == list(range(place, 8))


def test_hidden_spans_come_back() -> None:
    random = np.random.default_rng(0)
    sentinels = list(range(900, 932))
    for size in (0, 1, 2, 7, 60, 500):
        ids = random.integers(0, 800, size).tolist()
        source, target = hide_spans(ids, 0.15, 5, sentinels, random)
        assert restore(source, target, sentinels) == ids
        if size == 60:
            assert sum(token < 900 for token in target) == 9
        used = [token for token in source if token >= 900]
        assert used == sentinels[: len(used)]
        assert len(target) <= 2 * len(ids)
    with pytest.raises(UserError, match="between 0 and 1"):
        hide_spans([1, 2], 1.0, 5, sentinels, random)


def test_trees_become_tokens_and_other_texts_stay() -> None:
    tokenizer = train_bpe([CODE], 300).extended([*MODES, *SENTINELS, *MARKS])
    tree, plain = flattened(tokenizer, [CODE, "no python at all"], 10_000)
    assert tree[0] == tokenizer.index("Module::left")
    assert tree[-1] == tokenizer.index("Module::right")
    marks = {tokenizer.index(mark) for mark in MARKS}
    assert sum(i in marks for i in tree) == sum(i in MARKS for i in flatten(tree_of(CODE)))
    assert plain == tokenizer.encode(["no python at all"], specials=False)[0]
    assert tokenizer.encode([f"{MODES[0]}x = 1"], specials=False)[0][0] == tokenizer.index(MODES[0])


def test_a_wider_vocabulary_changes_nothing_that_was_known() -> None:
    torch.manual_seed(0)
    net = presets.bert(20, 32, 1, 2, 64, head="mlm").eval()
    wide = widen_vocabulary(net, 25).eval()
    ids = torch.randint(0, 20, (2, 5))
    torch.testing.assert_close(wide(ids)[..., :20], net(ids))
    assert wide(torch.full((1, 2), 24)).shape == (1, 2, 25)
    with pytest.raises(UserError, match="more tokens"):
        widen_vocabulary(net, 10)


@pytest.fixture(scope="module")
def data():
    codes = [CODE.replace("scale", f"scale_{i}") for i in range(24)]
    queries = [f"multiply the values of list {i}" for i in range(24)]
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    return task("search").read(Rows.of({"query": queries, "document": codes, "split": splits}))


def test_losses_take_turns_and_the_same_weights_serve_all(data, tmp_path) -> None:
    system = dataclasses.replace(configure("unixcoder").small(), query_tokens=16, document_tokens=48)
    model = system.start(data, 0)
    given = system.batches(model, data, 0)
    assert tuple(given(step, 0.0).kind for step in range(5)) == LOSSES
    starts = [model.tokenizer.index(mode) for mode in MODES]
    lead = len(given.lead)
    assert [int(given(step, 0.0).ids[0, lead]) for step in range(5)] == [starts[i] for i in (0, 1, 2, 0, 2)]
    read = dataclasses.replace(system, trees=0.0).batches(model, data, 0)(0, 0.0)
    for ids, real in zip(read.ids, read.real, strict=True):
        text = model.tokenizer.decode(ids[real][lead + 1 :].tolist())
        as_encoded = model.tokens([text], "document")[0]
        assert ids[real][: lead + 1].tolist() == as_encoded[: lead + 1]
        assert ids[real][-1:].tolist() == as_encoded[-1:] or not given.trail
    names = {n for n, _ in model.net.named_parameters()}
    for step in range(5):
        model.net.zero_grad()
        system.loss(model.net, given(step, 0.0)).value.backward()
        moved = {n for n, p in model.net.named_parameters() if p.grad is not None and p.grad.any()}
        assert {n for n in names if ".stack." in n} <= moved
    trained = system.fit(data, Steps(5)).model
    assert trained.tokens(["x"], "query")[0].count(starts[0]) == 1
    trained.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert torch.equal(again.encode(data.documents[:3]).values, trained.encode(data.documents[:3]).values)


def test_contrast_is_the_softmax_over_two_views(data) -> None:
    system = configure("unixcoder").small()
    model = system.start(data, 0)
    batch = dataclasses.replace(system.batches(model, data, 0)(3, 0.0), kind="contrast")
    model.net.train()
    torch.manual_seed(1)
    found = system.loss(model.net, batch).value
    torch.manual_seed(1)
    views = [
        model.net.read(system.states(model.net.model, batch.ids, mode_mask(MODES[0]) & Mask.of(batch.real)), batch.real)
        for _ in range(2)
    ]
    assert not torch.equal(*views)
    scores = views[0] @ views[1].T / 0.1
    torch.testing.assert_close(found, (scores.logsumexp(1) - scores.diagonal()).mean(), rtol=1e-5, atol=1e-6)


def test_contrast_without_dropout_is_refused(data) -> None:
    with pytest.raises(UserError, match="set it above 0"):
        dataclasses.replace(configure("unixcoder").small(), dropout=0.0).start(data, 0)
