"""BERT4Rec: what is hidden stays hidden, padding says nothing, and only the history is read."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.parts.recommenders import ClozeItem, NextItem
from twofold.systems.baselines.sasrec import not_taken
from twofold.systems.retrieval.bert4rec import NOTHING
from twofold.tasks import load, task
from twofold.tasks.examples import small_histories

ITEMS = 12


@pytest.fixture(params=["bert4rec", "sasrec"])
def net(request):
    torch.manual_seed(0)
    return configure(request.param).small().network(ITEMS).eval()


def history(*items: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[i + 1 for i in items]])
    return ids, torch.ones_like(ids, dtype=torch.bool)


def test_padding_has_no_effect(net) -> None:
    ids, real = history(3, 1, 7)
    alone = net(ids, real)
    for more in (1, 3):
        padded = torch.cat([ids, torch.zeros(1, more, dtype=torch.long)], 1)
        real_too = torch.cat([real, torch.zeros(1, more, dtype=torch.bool)], 1)
        torch.testing.assert_close(net(padded, real_too), alone, rtol=1e-5, atol=1e-5)
    padded[0, 3:] = 5  # whatever stands at padding
    torch.testing.assert_close(net(padded, real_too), alone, rtol=1e-5, atol=1e-5)


def test_the_order_of_a_history_counts(net) -> None:
    assert not torch.allclose(net(*history(3, 1, 7)), net(*history(1, 3, 7)), atol=1e-4)


def test_a_hidden_item_never_reaches_its_own_output() -> None:
    system = configure("bert4rec").small()
    torch.manual_seed(0)
    net = system.network(ITEMS).eval()
    ids, real = history(3, 1, 7, 4, 9, 2)
    outputs, asked = [], []
    for other in (4, 11):
        changed = ids.clone()
        changed[0, 3] = other + 1
        changed[0, 5] = other + 1
        seen, labels = system.hide(changed, real, ITEMS, torch.Generator().manual_seed(3))
        assert (labels[0, 3] == other) == (seen[0, 3] == net.mask)
        hidden = labels != NOTHING
        if not {3, 5} >= set(hidden.nonzero()[:, 1].tolist()):
            seen[0, 3], seen[0, 5], hidden = net.mask, net.mask, torch.tensor([[0, 0, 0, 1, 0, 1]]).bool()
        outputs.append(net.logits(seen, real, hidden))
        asked.append(labels)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)


def test_what_is_hidden() -> None:
    system = configure("bert4rec", hidden=0.5, only_last=0.25)
    ids = torch.randint(1, ITEMS + 1, (400, 10), generator=torch.Generator().manual_seed(0))
    real = torch.arange(10) < torch.tensor([4, 10] * 200)[:, None]
    ids = ids * real
    seen, asked = system.hide(ids, real, ITEMS, torch.Generator().manual_seed(1))
    hidden = asked != NOTHING
    assert (seen[hidden] == ITEMS + 1).all()
    assert torch.equal(asked[hidden], ids[hidden] - 1)
    assert torch.equal(seen[~hidden], ids[~hidden])
    assert not hidden[~real].any()
    assert hidden.any(1).all()
    last = torch.arange(10) == real.sum(1, keepdim=True) - 1
    alone = (hidden == last).all(1)
    assert 0.2 < alone[1::2].float().mean() < 0.3
    others = hidden[1::2][~alone[1::2]]
    assert others.float().mean() == pytest.approx(0.5, abs=0.02)


def test_the_next_item_is_read_where_the_mask_was_appended() -> None:
    torch.manual_seed(0)
    net = configure("bert4rec").small().network(ITEMS).eval()
    ids, real = history(3, 1, 7)
    by_hand = torch.cat([ids, torch.tensor([[net.mask]])], 1)
    at = torch.tensor([[False, False, False, True]])
    torch.testing.assert_close(net(ids, real), net.logits(by_hand, torch.ones_like(at), at))
    assert net(ids, real).shape == (1, ITEMS)  # neither padding nor the mask is recommended


def test_the_causal_arm_reads_nothing_that_comes_later() -> None:
    torch.manual_seed(0)
    net = configure("sasrec").small().network(ITEMS).eval()
    assert isinstance(net, NextItem)
    ids, real = history(3, 1, 7, 4)
    other = ids.clone()
    other[0, 3] = 9
    torch.testing.assert_close(net.states(ids, real)[:, :3], net.states(other, real)[:, :3])
    two_way = configure("bert4rec").small().network(ITEMS).eval()
    assert isinstance(two_way, ClozeItem)
    assert not torch.allclose(two_way.states(ids, real)[:, :3], two_way.states(other, real)[:, :3])


def test_both_arms_are_the_same_stack_but_for_the_mask() -> None:
    one, two = (configure(id).small().network(ITEMS).model.stack for id in ("sasrec", "bert4rec"))
    assert {k: v.shape for k, v in one.state_dict().items()} == {k: v.shape for k, v in two.state_dict().items()}
    assert (one.causal, two.causal) == (True, False)


def test_negatives_were_not_taken() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5, 6], [1, 1, 0, 0, 0, 0]])
    drawn = not_taken(ids, torch.Size((2, 200)), 8, torch.Generator().manual_seed(0))
    assert set(drawn[0].tolist()) == {6, 7}
    assert set(drawn[1].tolist()) == set(range(1, 8))
    assert set(not_taken(ids[:1], torch.Size((1, 200)), 6, torch.Generator()).flatten().tolist()) == set(range(6))


def test_loss_of_the_causal_arm_by_hand() -> None:
    system = configure("sasrec").small()
    data = task("recommend").read(small_histories())
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    net = model.net.eval().requires_grad_(False)
    states = net.states(batch.ids, batch.real)
    terms = []
    for row, place in batch.real.nonzero().tolist():
        h = states[row, place]
        right, wrong = (float(h @ net.vectors[each[row, place]]) for each in (batch.asked, batch.wrong))
        terms += [-torch.tensor(right).sigmoid().log() - (1 - torch.tensor(wrong).sigmoid()).log()]
        assert batch.wrong[row, place] not in batch.asked[row]
    assert system.loss(net, batch).value.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


def test_it_recommends_what_was_not_seen_and_comes_back_from_its_folder(tmp_path) -> None:
    job = task("recommend")
    data = job.read(small_histories())
    model = job.ready(configure("bert4rec").small().fit(data, Steps(3)).model, data)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    user = data.users[0]
    listed = again.recommend(user, k=99)
    seen = {data.items[i] for i in data.histories[0]}
    assert {s.item for s in listed} == set(data.items) - seen
    before = model.recommend(user, k=99)
    assert [s.item for s in listed] == [s.item for s in before]
    assert [s.score for s in listed] == pytest.approx([s.score for s in before], rel=1e-5)
    assert listed == again.recommend([data.items[i] for i in data.histories[0]], k=99)
    assert [s.score for s in listed] == sorted((s.score for s in listed), reverse=True)
    assert len(again.recommend(user, k=99, exclude_seen=False)) == len(data.items)
    assert again.embed_items().shape == (len(data.items), 16)
    with pytest.warns(UserWarning, match="1 unknown items"):
        again.recommend([data.items[0], "nothing"])
    with pytest.raises(UserError, match="none of the items nothing is known"):
        again.recommend(["nothing"])
    with pytest.raises(UserError, match=r"knows no user 'u00'"):
        again.recommend("u00")
    with pytest.raises(UserError, match="k is 0"):
        again.recommend(user, k=0)


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="width=10 is not divided by heads=4"):
        configure("bert4rec", width=10, heads=4).network(ITEMS)
