"""Answer tokens, dummies, and a loss that counts every row alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from twofold.objectives import IGNORED
from twofold.objectives.answers import MaskedTokens, MaskLabel, answer_labels, by_row
from twofold.objectives.masked import Tokens

TOKENS = Tokens(mask=3, vocab=50, protect=(0, 1, 2))


def test_only_the_answer_carries_loss() -> None:
    ids = torch.tensor([[1, 10, 11, 3, 2, 0], [1, 12, 13, 14, 3, 2]])
    labels = answer_labels(ids, 3, torch.tensor([20, 21]))
    assert (labels != IGNORED).sum(1).tolist() == [1, 1]
    assert labels[0, 3] == 20
    assert labels[1, 4] == 21


def test_dummies_ask_for_the_mask_itself_exactly_where_it_is() -> None:
    ids = torch.randint(4, 50, (64, 40), generator=torch.Generator().manual_seed(1))
    ids[:, 0], ids[:, -1] = 1, 2
    hidden, labels = MaskLabel(0.3)(ids, TOKENS, torch.Generator().manual_seed(0))
    assert torch.equal(hidden == 3, labels != IGNORED)
    assert set(labels[labels != IGNORED].tolist()) == {3}
    assert torch.equal(hidden[hidden != 3], ids[hidden != 3])
    assert abs((labels != IGNORED).float().sum().item() / (64 * 38) - 0.3) < 0.01
    assert (labels[:, [0, -1]] == IGNORED).all()


def test_masked_tokens_ask_for_what_was_there() -> None:
    ids = torch.randint(4, 50, (64, 40), generator=torch.Generator().manual_seed(1))
    hidden, labels = MaskedTokens(0.3)(ids, TOKENS, torch.Generator().manual_seed(0))
    asked = labels != IGNORED
    assert torch.equal(labels[asked], ids[asked])
    assert torch.equal(hidden[~asked], ids[~asked])


def test_every_row_counts_alike() -> None:
    torch.manual_seed(0)
    labels = torch.full((3, 5), IGNORED)
    labels[0, 2], labels[1, :4] = 7, torch.tensor([1, 2, 3, 4])
    logits = torch.randn(5, 9)
    loss = by_row(logits, labels)
    expected = (F.cross_entropy(logits[:1], labels[0, 2:3]) + F.cross_entropy(logits[1:], labels[1, :4])) / 2
    torch.testing.assert_close(loss.value, expected)
