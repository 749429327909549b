"""One look for every figure and page: named colours, in light and in dark.

Figures are drawn in the light colours; each is then replaced by its CSS name, so that a page in the dark shows the
dark ones. The series keep apart for readers who do not see all colours (checked in the tests) and every one of them
can be read as text on its background (contrast of at least 4.5).
"""

from __future__ import annotations

INK = "#1c1d21"
SOFT = "#5f636b"
RULE = "#d9dbdf"
PAPER = "#fefefe"

SERIES = ("#0068a8", "#aa5f04", "#207e5d", "#770255", "#6e59e2", "#51400d")
_SERIES_DARK = ("#8fbcfb", "#dd7034", "#74e8d2", "#e64f8c", "#8a78fe", "#ebe06c")

LIGHT = {
    "ink": INK,
    "soft": SOFT,
    "rule": RULE,
    "paper": PAPER,
    "shade": "#f3f4f6",
    "mark": "#e8f1f8",
    **{f"series-{i}": c for i, c in enumerate(SERIES)},
}
DARK = {
    "ink": "#e8e9ec",
    "soft": "#a2a7b0",
    "rule": "#3a3d44",
    "paper": "#16171a",
    "shade": "#202227",
    "mark": "#1b2c3a",
    **{f"series-{i}": c for i, c in enumerate(_SERIES_DARK)},
}

DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)), (0, (2, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")


def series(number: int) -> str:
    """The colour of a series; after the last one they begin again (with other dashes and markers)."""
    return SERIES[number % len(SERIES)]


def dash(number: int) -> str | tuple[int, tuple[int, ...]]:
    """The dashes of a series: solid for the first six."""
    return DASHES[number // len(SERIES) % len(DASHES)]


def marker(number: int) -> str:
    """The marker of a series."""
    return MARKERS[number % len(MARKERS)]


def css() -> str:
    """The colours as CSS variables, `--ink` and so on, light and dark."""
    light = "".join(f"--{name}:{value};" for name, value in LIGHT.items())
    dark = "".join(f"--{name}:{value};" for name, value in DARK.items())
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{color-scheme:light;{light}}}}}"
    )


def named(svg: str) -> str:
    """`svg` with every colour of this module replaced by its CSS name; the light colour stays as fallback."""
    for name, value in LIGHT.items():
        svg = svg.replace(value, f"var(--{name},{value})")
    return svg
