import math
import re

import pytest

from twofold.measure.reports import plots
from twofold.measure.reports.plots import Bar, Line, Point

from .pages import Page

POINTS = [
    Point("bm25", 1.3, 0.181, 0.17, 0.192),
    Point("minilm", 12.1, 0.268, 0.255, 0.281),
    Point("gtr <small> $x_2$ & more", 12.4, 0.312, 0.299, 0.325, best=True),
    Point("no latency", None, 0.2),
    Point("no quality", 3.0, math.nan),
]
LINES = [
    Line("first", [1, 2, 3], [0.5, 0.7, 0.9], [0.4, 0.6, 0.8], [0.6, 0.8, 1.0]),
    Line("second", [1, 2, 3], [0.5, math.nan, 0.6]),
    Line("empty", [], []),
]


@pytest.fixture(scope="module")
def scatter() -> plots.Drawing:
    drawing = plots.scatter(POINTS, "ms", "nDCG@10")
    assert drawing is not None
    return drawing


def test_figures_are_sound_svg_with_text_as_text(scatter: plots.Drawing) -> None:
    both = Page(f"<div>{scatter.wide}{scatter.narrow}</div>")
    both.check()
    assert both.text.count("nDCG@10") == 2
    assert "gtr <small> $x_2$ & more" in both.text
    assert "no latency" not in both.text
    assert [svg["role"] for svg in both.every("svg")] == ["img", "img"]
    assert "bm25" in str(both.every("svg")[0]["aria-label"])


def test_figures_follow_the_page_and_tell_no_date(scatter: plots.Drawing) -> None:
    assert "var(--ink," in scatter.wide
    assert "var(--series-0," in scatter.wide
    assert not re.search(r"[:\s]#[0-9a-f]{6}", scatter.wide.replace("url(#", ""))  # every colour has a name
    assert "<style" not in scatter.wide
    assert "metadata" not in scatter.wide
    assert "DejaVu" not in scatter.wide
    assert "width=" not in scatter.wide.split(">")[0]


def test_the_same_figures_give_the_same_svg(scatter: plots.Drawing) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "axes.facecolor": "red"}):
        assert plots.scatter(POINTS, "ms", "nDCG@10") == scatter


def test_drawing_leaves_the_readers_own_settings_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.bars([Bar("a", 1)], "x")
    assert dict(matplotlib.rcParams) == before


def texts(svg: str) -> dict[str, tuple[float, float]]:
    found = re.findall(r'<text style="[^"]*" x="([-\d.]+)" y="([-\d.]+)"[^>]*>([^<]*)</text>', svg)
    return {words: (float(x), float(y)) for x, y, words in found}


def test_the_front_is_stepped_and_better_may_be_lower(scatter: plots.Drawing) -> None:
    assert scatter.wide.count("stroke-dasharray") == 1
    lower = plots.scatter(POINTS, "ms", "loss", better="lower")
    assert lower is not None
    # Only the cheapest point, which has the lowest loss, is on the front then.
    assert lower.wide.count("fill: var(--series-0") < scatter.wide.count("fill: var(--series-0")


def test_lines_are_named_at_their_ends_or_below() -> None:
    drawing = plots.lines(LINES, "length", "accuracy", markers=True)
    assert drawing is not None
    wide, narrow = texts(drawing.wide), texts(drawing.narrow)
    assert wide["first"][0] > 600
    assert narrow["first"][0] < 60
    assert narrow["first"][1] < narrow["second"][1]
    assert "empty" not in wide
    assert "nan" not in drawing.wide.lower()


def test_a_line_keeps_its_look_over_figures() -> None:
    drawing = plots.lines([Line("a", [1, 2], [1, 2], look=3)], "x", "y")
    assert drawing is not None
    assert "var(--series-3," in drawing.wide
    assert "var(--series-0," not in drawing.wide


def test_bars_carry_their_values() -> None:
    drawing = plots.bars([Bar("copy", 0.21, 0.12, 0.3), Bar("sum", -0.02, -0.05, 0.01), Bar("none", math.nan)], "gain")
    assert drawing is not None
    assert {"copy", "sum", "0.21", "−0.02", "gain"} <= set(texts(drawing.narrow))
    assert "none" not in texts(drawing.wide)
    for svg, width in ((drawing.wide, 760), (drawing.narrow, 360)):
        for words, (x, _) in texts(svg).items():
            assert 0 <= x <= width - 6 * len(words) * (words[0] in "0−"), words


def test_nothing_to_draw_is_no_drawing() -> None:
    assert plots.scatter([Point("a", 0.0, 1.0), Point("b", None, 1.0)], "ms", "q") is None
    assert plots.lines([Line("a", [], [])], "x", "y") is None
    assert plots.bars([], "x") is None


def test_logarithmic_axes_have_plain_ticks() -> None:
    drawing = plots.lines([Line("a", [1, 10, 1000], [1, 2, 3])], "x", "y", log_x=True)
    assert drawing is not None
    assert {"1", "10", "100", "1,000"} <= set(texts(drawing.wide))
    narrow = plots.scatter([Point("a", 11.0, 1.0), Point("b", 12.0, 2.0)], "ms", "q")
    assert narrow is not None
    assert len([words for words in texts(narrow.wide) if words.startswith(("10", "11", "12"))]) >= 2


def test_a_heat_map_tints_and_labels_what_is_there() -> None:
    drawing = plots.heat([[0.25, 0.5], [None, math.nan], [-40.0, 1.0]], ["a", "b", "c"], ["x", "y"], "to", "from")
    assert drawing is not None
    page = Page(f"<div>{drawing.wide}{drawing.narrow}</div>")
    page.check()
    assert all(page.text.count(label) == 2 for label in ("0.25", "0.5", "−40", "from"))
    assert len(set(re.findall(r"fill-opacity: ([\d.]+)", drawing.wide))) == 4
    assert not re.search(r"[:\s]#[0-9a-f]{6}", drawing.wide.replace("url(#", ""))
    many = [str(i) for i in range(30)]
    wide = plots.heat([[i / 30] * 30 for i in range(30)], many, many, "to", "from")
    assert wide is not None
    assert "0.033" not in Page(f"<div>{wide.wide}</div>").text  # no room
    assert plots.heat([[None]], ["a"], ["x"], "to", "from") is None
