"""Processors and choices, each against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from twofold.decoding import Forbid, RepetitionPenalty, Sample, Temperature, TopK, TopP, greedy

NONE = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 0, dtype=torch.bool)


def logits(*chances: float) -> torch.Tensor:
    return torch.tensor([chances]).log()


def kept(changed: torch.Tensor) -> list[int]:
    return torch.isfinite(changed[0]).nonzero()[:, 0].tolist()


def test_top_k_keeps_the_likeliest() -> None:
    assert kept(TopK(2)(logits(0.1, 0.5, 0.3, 0.1), *NONE)) == [1, 2]
    assert kept(TopK(9)(logits(0.4, 0.6), *NONE)) == [0, 1]


@pytest.mark.parametrize(
    ("p", "expected"), [(0.3, [1]), (0.5, [1]), (0.51, [1, 2]), (0.75, [1, 2]), (0.76, [0, 1, 2]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_keeps_the_fewest_that_reach_p(p: float, expected: list[int]) -> None:
    chances = torch.tensor([[0.125, 0.5, 0.25, 0.125]]).log()
    assert kept(TopP(p)(chances, *NONE)) == expected


def test_temperature_and_forbid() -> None:
    x = logits(0.2, 0.8)
    torch.testing.assert_close(Temperature(0.5)(x, *NONE), 2 * x)
    assert kept(Forbid({1})(x, *NONE)) == [0]


def test_repetition_penalty_reads_real_tokens_only() -> None:
    x = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    ids, real = torch.tensor([[2, 0, 1]]), torch.tensor([[False, True, True]])
    assert RepetitionPenalty(2.0)(x, ids, real).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_sample_draws_from_the_softmax() -> None:
    chances = torch.tensor([0.5, 0.3, 0.2, 0.0])
    draws = Sample(0)(chances.log().expand(20_000, 4))
    share = torch.bincount(draws, minlength=4) / len(draws)
    # Five standard errors of a share of one half.
    assert (share - chances).abs().max() < 5 * math.sqrt(0.25 / len(draws))
    assert share[3] == 0


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    assert greedy(torch.tensor([[1.0, 3.0, 3.0]])).tolist() == [1]


@pytest.mark.parametrize(
    "make",
    [lambda: Temperature(0), lambda: TopK(0), lambda: TopP(0), lambda: TopP(1.5), lambda: RepetitionPenalty(0.5)],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"got|lies"):
        make()  # type: ignore[operator]
