"""Masked language modelling: the loss, and the choice of tokens."""

import pytest
import torch
import torch.nn.functional as F

from twofold.errors import UserError
from twofold.objectives import mask_tokens, masked

MASK, PAD, CLS, VOCAB = 3, 0, 1, 50
SPECIAL = (PAD, CLS)


def tokens(rows, time, seed=0):
    return torch.randint(4, VOCAB, (rows, time), generator=torch.Generator().manual_seed(seed))


def hide(ids, rate=0.15, seed=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return mask_tokens(ids, rate, generator, mask=MASK, vocab=VOCAB, protect=SPECIAL, **options)


def test_loss_is_the_mean_over_labels():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.full((2, 5), -100)
    labels[0, 1], labels[1, 3], labels[1, 4] = 2, 6, int(logits[1, 4].argmax())
    loss = masked(logits, labels)
    rows = logits[[0, 1, 1], [1, 3, 4]]
    torch.testing.assert_close(loss.value, F.cross_entropy(rows, labels[[0, 1, 1], [1, 3, 4]]))
    right = (rows.argmax(-1) == labels[[0, 1, 1], [1, 3, 4]]).float().mean()
    assert loss.figures["accuracy"] == right > 0
    loss.value.backward()
    assert (logits.grad.abs().sum(-1) > 0).nonzero().tolist() == [[0, 1], [1, 3], [1, 4]]


def test_no_label_is_zero():
    logits = torch.randn(1, 3, 7, requires_grad=True)
    loss = masked(logits, torch.full((1, 3), -100))
    loss.value.backward()
    assert loss.value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize(("rate", "time"), [(0.15, 20), (0.3, 10), (0.5, 8), (1.0, 7)])
def test_a_whole_number_of_tokens_is_met_exactly(rate, time):
    _, labels = hide(tokens(200, time), rate)
    assert ((labels != -100).sum(1) == round(rate * time)).all()


def test_a_broken_number_is_rounded_either_way_and_met_on_average():
    _, labels = hide(tokens(20_000, 7), 0.3)  # 2.1 of each row
    counts = (labels != -100).sum(1)
    assert set(counts.tolist()) == {2, 3}
    assert counts.float().mean().item() == pytest.approx(2.1, abs=4 * 0.3 / 20_000**0.5)


def test_every_position_is_as_likely_as_any_other():
    _, labels = hide(tokens(20_000, 5), 0.3)
    shares = (labels != -100).float().mean(0)
    assert shares.tolist() == pytest.approx([0.3] * 5, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)


def test_labels_hold_the_truth_where_chosen_and_the_rest_is_untouched():
    ids = tokens(50, 40)
    before = ids.clone()
    hidden, labels = hide(ids, 0.4)
    chosen = labels != -100
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(hidden[~chosen], ids[~chosen])
    assert torch.equal(ids, before)


def test_protected_tokens_and_padding_are_never_chosen_and_never_put_in():
    ids = tokens(100, 30)
    ids[:, 0] = CLS
    real = torch.arange(30).expand(100, 30) < 20
    hidden, labels = hide(ids, 0.9, real=real, split=(0.0, 1.0, 0.0))
    assert (labels[:, 0] == -100).all()
    assert (labels[:, 20:] == -100).all()
    chosen = labels != -100
    assert (chosen.sum(1) - 0.9 * 19).abs().max() < 1
    assert not torch.isin(hidden[chosen], torch.tensor([*SPECIAL, MASK])).any()
    assert set(hidden[chosen].tolist()) == set(range(VOCAB)) - {*SPECIAL, MASK}


def test_each_fate_alone_is_exact():
    ids = tokens(20, 30)
    hidden, labels = hide(ids, 0.5, split=(1.0, 0.0, 0.0))
    assert (hidden[labels != -100] == MASK).all()
    hidden, labels = hide(ids, 0.5, split=(0.0, 0.0, 1.0))
    assert torch.equal(hidden, ids)
    assert (labels != -100).sum() == 300


def test_fates_are_drawn_eight_to_one_to_one():
    ids = tokens(1000, 100)
    hidden, labels = hide(ids, 0.5)
    chosen = labels != -100
    count = int(chosen.sum())
    masks = (hidden[chosen] == MASK).sum().item() / count
    kept = (hidden[chosen] == ids[chosen]).sum().item() / count
    lucky = 0.1 / (VOCAB - 3)  # a random token may be the true one
    assert masks == pytest.approx(0.8, abs=4 * (0.16 / count) ** 0.5)
    assert kept == pytest.approx(0.1 + lucky, abs=4 * (0.09 / count) ** 0.5)


def test_whole_words_are_chosen_whole_and_the_rate_stays():
    ids = tokens(20_000, 9)
    ids[:, 0] = CLS
    words = torch.tensor([-1, 0, 1, 1, 1, 2, 2, 3, 4]).expand(20_000, 9)
    _, labels = hide(ids, 0.3, words=words)
    chosen = labels != -100
    assert not chosen[:, 0].any()
    assert (chosen[:, 2] == chosen[:, 3]).all()
    assert (chosen[:, 3] == chosen[:, 4]).all()
    assert (chosen[:, 5] == chosen[:, 6]).all()
    assert (chosen[:, 7] != chosen[:, 8]).any()
    assert chosen.sum(1).float().mean().item() == pytest.approx(0.3 * 8, abs=0.05)


def test_the_generator_decides():
    ids = tokens(4, 50)
    first, again, other = hide(ids, seed=5), hide(ids, seed=5), hide(ids, seed=6)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_rows_without_candidates_are_left_alone():
    ids = torch.full((2, 4), CLS)
    hidden, labels = hide(ids, 1.0)
    assert torch.equal(hidden, ids)
    assert (labels == -100).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": 1.5}, "rate is 1.5"),
        ({"split": (0.5, 0.1, 0.1)}, "add up to 1"),
    ],
)
def test_bad_shares_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        hide(tokens(1, 4), **options)


def test_a_vocabulary_that_is_all_protected_is_refused():
    with pytest.raises(UserError, match="protected"):
        mask_tokens(tokens(1, 4) % 4, 0.5, mask=3, vocab=4, protect=(0, 1, 2))
