"""Figures as a person reads them: three significant digits, a unit, and "–" for what is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping

MISSING = "–"

Number = float | int | None


def known(value: object) -> bool:
    """Whether there is a figure: a number that is not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def significant(value: Number, digits: int = 3) -> str:
    """`0.0123`, `1.5`, `12.3`, `123`, `12,345`; never in powers of ten between 1e-4 and 1e12."""
    if not known(value):
        return MISSING
    assert value is not None
    if value == 0 or math.isinf(value):
        return f"{value:g}".replace("-", "−").replace("inf", "∞")
    places = digits - 1 - math.floor(math.log10(abs(value)))
    value = round(value, places)
    if not 1e-4 <= abs(value) < 1e12:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    places = digits - 1 - math.floor(math.log10(abs(value)))  # 9.999 became 10.0
    return f"{value:,.{max(0, places)}f}".replace("-", "−")


def quality(value: Number) -> str:
    """A figure of quality: three decimals as in `0.312`, fewer above 100."""
    if not known(value):
        return MISSING
    assert value is not None
    return f"{value:.3f}".replace("-", "−") if abs(value) < 100 else significant(value, 4)


def spread(interval: Mapping[str, float] | None) -> str:
    """Half the width of an interval: `± 0.014`."""
    if not interval or not known(interval.get("low")) or not known(interval.get("high")):
        return ""
    return f"± {quality((interval['high'] - interval['low']) / 2)}"


def count(value: Number) -> str:
    """`950`, `12.3 k`, `22.7 M`, `1.24 B`."""
    return _scaled(value, ((1e9, "B"), (1e6, "M"), (1e3, "k"), (1, "")))


def size(megabytes: Number) -> str:
    """Units of 10^6 bytes, as `90.9 MB`, `1.24 GB`, `512 kB`, `12 B`."""
    if not known(megabytes):
        return MISSING
    assert megabytes is not None
    return _scaled(megabytes * 1e6, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))


def seconds(value: Number) -> str:
    """`0.42 s`, `45 s`, `3 min 20 s`, `1 h 05 min`."""
    if not known(value):
        return MISSING
    assert value is not None
    if value < 10:
        return f"{significant(value, 2)} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s".removesuffix(" 00 s")
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min".removesuffix(" 00 min")


def milliseconds(value: Number) -> str:
    """Milliseconds without their unit: `0.31`, `1.24`, `12.3`."""
    return significant(value, 2 if known(value) and abs(value or 0) < 1 else 3)


def _scaled(value: Number, units: tuple[tuple[float, str], ...]) -> str:
    if not known(value):
        return MISSING
    assert value is not None
    for scale, unit in units:
        # 999.7 M reads 1,000 M; it is 1.00 B.
        if abs(value) >= scale * 0.9995 or scale == 1:
            number = f"{value / scale:.0f}" if scale == 1 else significant(value / scale)
            return f"{number} {unit}".strip()
    return MISSING
