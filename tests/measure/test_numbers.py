import math

import pytest

from twofold.measure.reports import numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.012345, "0.0123"),
        (1.5, "1.50"),
        (9.999, "10.0"),
        (12.34, "12.3"),
        (999.6, "1,000"),
        (12345, "12,300"),
        (0, "0"),
        (-0.5, "−0.500"),
        (1e-7, "1.00e−07"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        ("a", "–"),
        (True, "–"),
    ],
)
def test_significant(value, shown: str) -> None:
    assert numbers.significant(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(950, "950"), (12_345, "12.3 k"), (22_713_216, "22.7 M"), (999_700_000, "1.00 B"), (0, "0"), (None, "–")],
)
def test_count(value, shown: str) -> None:
    assert numbers.count(value) == shown


@pytest.mark.parametrize(
    ("megabytes", "shown"),
    [(90.868, "90.9 MB"), (1240, "1.24 GB"), (0.512, "512 kB"), (0.000012, "12 B"), (None, "–"), (0, "0 B")],
)
def test_size(megabytes, shown: str) -> None:
    assert numbers.size(megabytes) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.418, "0.42 s"), (45, "45 s"), (200, "3 min 20 s"), (300, "5 min"), (3900, "1 h 05 min"), (None, "–")],
)
def test_seconds(value, shown: str) -> None:
    assert numbers.seconds(value) == shown


def test_quality_and_spread() -> None:
    assert numbers.quality(0.31249) == "0.312"
    assert numbers.quality(123.456) == "123.5"
    assert numbers.quality(None) == "–"
    assert numbers.spread({"low": 0.3, "high": 0.33}) == "± 0.015"
    assert numbers.spread(None) == ""
    assert numbers.milliseconds(0.314) == "0.31"
    assert numbers.milliseconds(12.34) == "12.3"
