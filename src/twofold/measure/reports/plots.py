"""Figures: quality against cost, lines (curves over time, accuracy over length), bars with intervals.

Lines and points are named where they are, not in a legend, wherever there is room. Colours keep apart for
readers who do not see all of them, and never carry a meaning alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from twofold.measure.pareto import front
from twofold.measure.reports import labels, style
from twofold.measure.reports.canvas import Drawing, Sheet, draw, tick
from twofold.measure.reports.numbers import known

if TYPE_CHECKING:
    from matplotlib.text import Text

__all__ = ["Bar", "Drawing", "Line", "Point", "bars", "heat", "lines", "scatter"]


@dataclass(frozen=True)
class Point:
    """A point of `scatter`.

    Args:
        name: written beside it.
        x: cost, less is better; None leaves the point out.
        y: quality; None leaves the point out.
        low: lower end of the quality's interval.
        high: upper end.
        best: whether it stands out.
    """

    name: str
    x: float | None
    y: float | None
    low: float | None = None
    high: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A line of `lines`.

    Args:
        name: written at its end.
        x: of its points.
        y: of its points.
        low: lower ends of their intervals.
        high: upper ends.
        look: number of its colour and marker, to keep one look over several figures; None: its place.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: int | None = None


@dataclass(frozen=True)
class Bar:
    """A bar of `bars` with the ends of its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def scatter(
    points: Sequence[Point], x: str, y: str, *, log_x: bool = True, better: Literal["higher", "lower"] = "higher"
) -> Drawing | None:
    """Quality against cost, with intervals and the Pareto front as steps; None where no point has both.

    Args:
        points: arms.
        x: the cost and its unit.
        y: the quality.
        log_x: whether the cost's axis is logarithmic; a cost that is not positive is then left out.
        better: which way quality goes.
    """
    shown = [p for p in points if known(p.x) and known(p.y) and (not log_x or (p.x or 0) > 0)]
    if not shown:
        return None

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes
        if log_x:
            axes.set_xscale("log")
        sign = 1 if better == "higher" else -1
        ahead = front([(sign * y, x) for x, y in map(_at, shown)])
        for place, point in enumerate(shown):
            colour = style.series(0) if place in ahead else style.SOFT
            across, up = _at(point)
            if ends := _ends(point):
                axes.plot([across, across], ends, color=colour, linewidth=1.4, alpha=0.7)
            mark, large = ("*", 17) if point.best else ("o", 8)
            axes.plot([across], [up], mark, color=colour, markersize=large, markeredgecolor=style.PAPER, zorder=3)
        axes.margins(x=0.16 if sheet.narrow else 0.1, y=0.14)
        sheet.frame(x, y, log_x=log_x)
        _name_points(sheet, shown, _steps(sheet, [_at(shown[i]) for i in ahead]))

    return draw(paint, f"{y} against {x}: " + "; ".join(p.name for p in shown), 400, 340)


def lines(
    given: Sequence[Line], x: str, y: str, *, markers: bool = False, log_x: bool = False, log_y: bool = False
) -> Drawing | None:
    """Several lines, each named at its end; None where there are none.

    Args:
        given: lines; points that are not numbers are left out. With `low` and `high` a band is drawn.
        x: what is on the horizontal axis, and its unit.
        y: what is on the vertical axis.
        markers: whether to mark every point, as where there are few.
        log_x: logarithmic horizontal axis.
        log_y: logarithmic vertical axis.
    """
    shown = [line for line in map(_clean, given) if line.x]
    if not shown:
        return None
    looks = [(place if line.look is None else line.look, line) for place, line in enumerate(shown)]

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes
        axes.set_xscale("log" if log_x else "linear")
        axes.set_yscale("log" if log_y else "linear")
        for number, line in looks:
            colour = style.series(number)
            mark = style.marker(number) if markers or len(line.x) == 1 else None
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.14, linewidth=0)
            look = {"color": colour, "linestyle": style.dash(number), "marker": mark, "markersize": 6}
            axes.plot(line.x, line.y, **look)  # type: ignore[arg-type]
        axes.margins(x=0.02, y=0.08)
        _name_lines(sheet, looks, x, y, log_x=log_x, log_y=log_y)

    height = 300 + 26 * sum(1 + len(line.name) // 34 for line in shown)
    return draw(paint, f"{y} against {x}: " + "; ".join(line.name for line in shown), 380, height)


def bars(given: Sequence[Bar], x: str) -> Drawing | None:
    """Horizontal bars in the order given, each with its interval and its value; None where there are none.

    Args:
        given: bars; values that are not numbers are left out.
        x: what is measured, and its unit.
    """
    shown = [bar for bar in given if known(bar.value)]
    if not shown:
        return None

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes
        axes.grid(visible=False)
        axes.grid(axis="x", visible=True)
        for place, bar in enumerate(shown):
            axes.barh(place, bar.value, height=0.56, color=style.series(0), alpha=0.9, linewidth=0)
            if ends := _ends(bar):
                axes.plot(ends, [place, place], color=style.INK, linewidth=1.6, solid_capstyle="butt")
        axes.axvline(0, color=style.SOFT, linewidth=1)
        axes.set_yticks(range(len(shown)), [sheet.wrapped(bar.name) for bar in shown], color=style.INK)
        axes.invert_yaxis()
        axes.margins(x=0.02, y=0.03)
        values = [sheet.write(0, 0, tick(float(f"{bar.value:.3g}"))) for bar in shown]
        sheet.frame(x, None, right=max(sheet.measure(value)[0] for value in values) + 12)
        for place, (bar, value) in enumerate(zip(shown, values, strict=True)):
            reach = max(bar.value, 0.0, *(_ends(bar) or ()))
            left, middle = axes.transData.transform((reach, place))
            value.set_position((left + 7, middle))

    names = "; ".join(f"{bar.name} {bar.value:.3g}" for bar in shown)
    return draw(paint, f"{x}: {names}", 70 + 40 * len(shown), 70 + 46 * len(shown))


def heat(
    values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], x: str, y: str
) -> Drawing | None:
    """A field of tinted cells, the strongest for the largest number; each cell is labelled where there is room.

    Args:
        values: a number for each row (from the top) and column; None or not a number leaves the cell empty.
        rows, columns: their names.
        x, y: what columns and rows are.
    """
    cells = {(i, j): v for i, row in enumerate(values) for j, v in enumerate(row) if v is not None and known(v)}
    if not cells:
        return None
    low, high = min(cells.values()), max(cells.values())
    low = min(0.0, low) if low > -1 else 0.0  # far below zero is as empty as zero

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes
        axes.grid(visible=False)
        labelled = len(columns) <= (8 if sheet.narrow else 14)
        for (i, j), value in cells.items():
            share = 1.0 if high <= low else min(1.0, max(0.0, (value - low) / (high - low)))
            tint = {"facecolor": style.series(0), "alpha": 0.06 + 0.84 * share, "linewidth": 0}
            axes.fill_between([j - 0.48, j + 0.48], i - 0.46, i + 0.46, **tint)  # type: ignore[arg-type]
            if labelled:
                colour = style.PAPER if share > 0.65 else style.INK
                axes.text(j, i, tick(float(f"{value:.2g}")), ha="center", va="center", color=colour, fontsize=10)
        axes.set_xlim(-0.6, len(columns) - 0.4)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        step = -(-len(columns) // (8 if sheet.narrow else 16))
        axes.set_xticks(range(0, len(columns), step), list(columns)[::step])
        axes.set_yticks(range(0, len(rows), step), list(rows)[::step])
        axes.set_xlabel(x, color=style.SOFT, labelpad=6)
        sheet.write(4, sheet.size[1] - 12, y, color=style.SOFT)
        sheet.settle(top=30)

    height = 110 + max(14, min(34, 560 // len(rows))) * len(rows)
    return draw(paint, f"{y} against {x}, from {low:.3g} to {high:.3g}", height, height)


def _at(point: Point) -> tuple[float, float]:
    """Where a point is that has both figures."""
    assert point.x is not None
    assert point.y is not None
    return point.x, point.y


def _ends(part: Point | Bar) -> tuple[float, float] | None:
    """The interval's ends, where it has both."""
    low, high = part.low, part.high
    return (low, high) if low is not None and high is not None and known(low) and known(high) else None


def _steps(sheet: Sheet, ahead: Sequence[tuple[float, float]]) -> list[labels.Box]:
    """The best quality to be had up to every cost, drawn to the right edge; the boxes that the steps lie in."""
    axes = sheet.axes
    limits = axes.get_xlim()
    corners = [*ahead, (limits[1], ahead[-1][1])]
    xs, ys = zip(*corners, strict=True)
    axes.plot(xs, ys, drawstyle="steps-post", color=style.series(0), linewidth=1.3, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(limits)
    boxes = []
    for (x0, y0), (x1, y1) in itertools.pairwise(axes.transData.transform(corners)):
        boxes += [labels.Box(x0, y0 - 2, x1, y0 + 2), labels.Box(x1 - 2, min(y0, y1), x1 + 2, max(y0, y1))]
    return boxes


def _name_points(sheet: Sheet, shown: Sequence[Point], steps: Sequence[labels.Box]) -> None:
    transform = sheet.axes.transData.transform
    at = [(float(x), float(y)) for x, y in transform([_at(p) for p in shown])]
    weights = ["bold" if p.best else "normal" for p in shown]
    names = [
        sheet.write(0, 0, sheet.wrapped(p.name), fontweight=weight, linespacing=1.15)
        for p, weight in zip(shown, weights, strict=True)
    ]
    marks = [*steps, *(labels.Box(x - 7, y - 7, x + 7, y + 7) for x, y in at)]
    for point in shown:
        if ends := _ends(point):
            (x, low), (_, high) = transform([(_at(point)[0], end) for end in ends])
            marks.append(labels.Box(x - 2, low, x + 2, high))
    area = sheet.axes.get_window_extent()
    bounds = labels.Box(area.x0, area.y0 + 2, sheet.size[0] - 2, sheet.size[1] - 24)
    places = labels.place(at, [sheet.measure(name) for name in names], marks, bounds)
    for name, place, (x, y) in zip(names, places, at, strict=True):
        box = place.box
        name.set_position((box.left, (box.bottom + box.top) / 2))
        if place.joined:
            near = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
            sheet.stroke([x, near[0]], [y, near[1]], color=style.SOFT, linewidth=0.8)


def _name_lines(sheet: Sheet, looks: Sequence[tuple[int, Line]], x: str, y: str, *, log_x: bool, log_y: bool) -> None:
    """Names at the right of the lines; below the figure where they would take too much of its width."""
    names = [
        sheet.write(0, 0, sheet.wrapped(line.name), color=style.series(number), linespacing=1.1)
        for number, line in looks
    ]
    sizes = [sheet.measure(name) for name in names]
    widest = max(width for width, _ in sizes)
    fits = sum(height + 4 for _, height in sizes) < sheet.size[1] - 90
    if len(looks) > 1 and (sheet.narrow or not fits or widest > 0.34 * sheet.size[0]):
        below = sum(height + 9 for _, height in sizes)
        sheet.frame(x, y, log_x=log_x, log_y=log_y, bottom=below + 4)
        _key(sheet, looks, names, sizes, below)
        return
    sheet.frame(x, y, log_x=log_x, log_y=log_y, right=widest + 26)
    area, transform = sheet.axes.get_window_extent(), sheet.axes.transData.transform
    ends = [transform((line.x[-1], line.y[-1])) for _, line in looks]
    middles = labels.spread([end[1] for end in ends], [height + 4 for _, height in sizes], area.y0, area.y1)
    for name, (end_x, end_y), middle in zip(names, ends, middles, strict=True):
        name.set_position((area.x1 + 20, middle))
        bend = end_y if end_x > area.x1 - 20 else middle
        sheet.stroke([end_x + 4, area.x1 + 6, area.x1 + 17], [end_y, bend, middle], color=style.RULE, linewidth=1)


def _key(
    sheet: Sheet,
    looks: Sequence[tuple[int, Line]],
    names: Sequence[Text],
    sizes: Sequence[tuple[float, float]],
    top: float,
) -> None:
    """What the lines look like, with their names, from `top` pixels downwards."""
    for place, ((number, _), name, (_, height)) in enumerate(zip(looks, names, sizes, strict=True)):
        middle = top - height / 2 - 2
        drawn = sheet.axes.lines[place]
        look = {"color": style.series(number), "linestyle": style.dash(number), "marker": drawn.get_marker()}
        sheet.stroke([6, 18, 30], [middle] * 3, markevery=[1], markersize=6, **look)
        name.set_position((38, middle))
        name.set_color(style.INK)
        top -= height + 9


def _clean(line: Line) -> Line:
    """The line without points that are not numbers."""
    keep = [i for i, (a, b) in enumerate(zip(line.x, line.y, strict=True)) if known(a) and known(b)]
    low, high = (None if e is None else [e[i] for i in keep] for e in (line.low, line.high))
    return Line(line.name, [line.x[i] for i in keep], [line.y[i] for i in keep], low, high, line.look)
