"""The nested loss, and heads that read prefixes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from twofold.errors import UserError
from twofold.objectives import Loss, info_nce, nested
from twofold.parts import NestedHeads, PrefixHead, build, halvings, prefix


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def contrast(queries: torch.Tensor, documents: torch.Tensor) -> Loss:
    return info_nce(queries, documents, 0.1)


def test_the_whole_width_alone_is_the_plain_loss() -> None:
    pairs = [(unit(6, 16).requires_grad_(), unit(6, 16, seed=1).requires_grad_()) for _ in range(2)]
    plain, wrapped = contrast(*pairs[0]), nested(contrast, [16])(*pairs[1])
    plain.value.backward()
    wrapped.value.backward()
    assert plain.value.item() == wrapped.value.item()
    assert torch.equal(pairs[0][0].grad, pairs[1][0].grad)
    assert plain.figures.keys() == wrapped.figures.keys()


def test_the_sum_over_prefixes_by_hand() -> None:
    """Each prefix is brought to unit length after the cut, and counts with its weight."""
    queries, documents = unit(5, 8), unit(5, 8, seed=1)
    total = torch.zeros(())
    for width, weight in ((2, 0.5), (4, 2.0), (8, 1.0)):
        q, d = queries[:, :width], documents[:, :width]
        cosines = (q @ d.T) / q.norm(dim=1)[:, None] / d.norm(dim=1)[None]
        scores = cosines / 0.1
        own = scores.diagonal()
        total = total + weight * ((scores.logsumexp(1) - own).mean() + (scores.logsumexp(0) - own).mean())
    found = nested(contrast, [2, 4, 8], [0.5, 2.0, 1.0])(queries, documents)
    torch.testing.assert_close(found.value, total, rtol=1e-5, atol=1e-6)
    assert {"loss", "accuracy", "loss@2", "loss@4", "loss@8"} == found.figures.keys()


def test_a_prefix_is_normalised_after_the_cut() -> None:
    vectors = unit(4, 8)
    torch.testing.assert_close(prefix(vectors, 3, normalise=True).norm(dim=1), torch.ones(4))
    assert torch.equal(prefix(vectors, 3, normalise=False), vectors[:, :3])


def test_shared_weights_read_a_prefix_as_one_that_zeros_fill_up() -> None:
    head, states = PrefixHead(8, 3), torch.randn(5, 8)
    for width in (1, 4, 8):
        padded = F.pad(states[:, :width], (0, 8 - width))
        torch.testing.assert_close(head(states[:, :width]), head(padded), rtol=1e-5, atol=1e-6)


def test_a_head_for_each_width() -> None:
    head, states = NestedHeads([2, 4, 8], 3), torch.randn(5, 8)
    for place, width in enumerate((2, 4, 8)):
        assert torch.equal(head(states[:, :width]), head.decoders[place](states[:, :width]))
    assert torch.equal(head(states[:, :7]), head(states[:, :4]))
    with pytest.raises(UserError, match="below the narrowest"):
        head(states[:, :1])
    again = build(head.spec())
    assert again.spec() == head.spec()


def test_halving_down() -> None:
    assert halvings(64) == (8, 16, 32, 64)
    assert halvings(384) == (12, 24, 48, 96, 192, 384)
    assert halvings(5) == (5,)


@pytest.mark.parametrize("widths", [[8, 4], [4, 4, 8], [0, 4], [], [4, 16]])
def test_widths_that_are_none_are_refused(widths: list[int]) -> None:
    with pytest.raises(UserError, match="widths="):
        nested(contrast, widths)(unit(3, 8), unit(3, 8))


@pytest.mark.parametrize("weights", [[1.0], [-1.0, 2.0], [0.0, 0.0]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(UserError, match="weights="):
        nested(contrast, [4, 8], weights)
