import math

import pytest

from twofold.measure.language import bits_per_byte, perplexity


def test_a_uniform_model_over_bytes_needs_eight_bits() -> None:
    text = "naïve".encode()
    assert bits_per_byte(len(text) * math.log(256), len(text)) == pytest.approx(8)


def test_perplexity_of_a_uniform_choice() -> None:
    assert perplexity(7 * math.log(12), 7) == pytest.approx(12)


@pytest.mark.parametrize("figure", [bits_per_byte, perplexity])
@pytest.mark.parametrize(("nats", "units"), [(1.0, 0), (math.nan, 3), (math.inf, 3), (-1.0, 3)])
def test_refuses_what_is_no_likelihood(figure, nats: float, units: int) -> None:
    with pytest.raises(ValueError, match=r"at least one|finite"):
        figure(nats, units)
