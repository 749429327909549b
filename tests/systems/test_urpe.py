"""URPE [226]: constant sequences, the base scheme as a limit, reach."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import configure
from twofold.errors import UserError
from twofold.parts import Attention, Rope, T5Bias, Urpe


def attention(position):
    torch.manual_seed(0)
    return Attention(16, 2, position=position, causal=True)


@pytest.mark.parametrize("base", [None, Rope(), T5Bias(2, 8, 20)])
def test_factors_of_one_are_the_base_scheme(base) -> None:
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(attention(Urpe(2, 9, base))(x), attention(base)(x), rtol=1e-5, atol=1e-6)


def test_constant_sequences_tell_nothing_but_with_factors() -> None:
    figures = configure("urpe", dim=16, heads=2, layers=2, length=12).run(None, None).figures
    for scheme in ("none", "t5", "alibi", "rope"):
        assert figures[f"difference {scheme}"] < 1e-6
        assert figures[f"difference {scheme} + urpe"] > 1e-3
    with pytest.raises(UserError, match="leave the model out"):
        configure("urpe").run(object(), None)


def test_factors_multiply_probabilities_and_the_last_is_repeated() -> None:
    position = Urpe(2, 3)
    with torch.no_grad():
        position.coefficients.copy_(torch.arange(10.0))
    p = position.after(torch.ones(1, 2, 6, 6), torch.arange(6)[None], torch.arange(6)[None])
    for i in range(6):
        for j in range(6):
            d = max(-2, min(2, j - i)) + 2
            assert p[0, :, i, j].tolist() == [2.0 * d, 2.0 * d + 1]
    assert attention(Urpe(2, 4))(torch.randn(1, 20, 16)).isfinite().all()


def test_other_numbers_of_heads_are_refused() -> None:
    with pytest.raises(UserError, match=r"give Urpe\(heads=2\)"):
        attention(Urpe(4, 8))
