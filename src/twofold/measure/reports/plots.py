"""Figures: quality against cost, lines (curves over time, accuracy over length), bars with intervals.

Lines and points are named where they are, not in a legend, wherever there is room. Colours keep apart for
readers who do not see all of them, and never carry a meaning alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twofold.measure.pareto import front
from twofold.measure.reports import labels, style
from twofold.measure.reports.canvas import Drawing, Sheet, draw
from twofold.measure.reports.numbers import known, significant

if TYPE_CHECKING:
    from matplotlib.axis import Axis

__all__ = ["Bar", "Drawing", "Line", "Point", "bars", "lines", "scatter"]


@dataclass(frozen=True)
class Point:
    """A point of `scatter`.

    Args:
        name: written beside it.
        x: cost, less is better; None leaves the point out.
        y: quality, more is better; None leaves the point out.
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
    """A line of `lines`: its points, and the ends of their intervals where there are any."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Bar:
    """A bar of `bars` with the ends of its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def scatter(points: Sequence[Point], x: str, y: str, *, log_x: bool = True) -> Drawing | None:
    """Quality against cost, with intervals and the Pareto front as steps; None where no point has both.

    Args:
        points: arms.
        x: the cost and its unit.
        y: the quality.
        log_x: whether the cost's axis is logarithmic (then it must be positive).
    """
    shown = [p for p in points if known(p.x) and known(p.y) and (not log_x or (p.x or 0) > 0)]
    if not shown:
        return None

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes
        if log_x:
            axes.set_xscale("log")
        ahead = [shown[i] for i in front([(p.y, p.x) for p in shown])]
        for point in shown:
            colour = style.series(0) if point in ahead else style.SOFT
            if known(point.low) and known(point.high):
                axes.plot([point.x, point.x], [point.low, point.high], color=colour, linewidth=1.4, alpha=0.7)
            look = {"marker": "*", "markersize": 17} if point.best else {"marker": "o", "markersize": 8}
            axes.plot([point.x], [point.y], color=colour, markeredgecolor=style.PAPER, zorder=3, **look)  # type: ignore[arg-type]
        axes.margins(x=0.16 if sheet.narrow else 0.1, y=0.14)
        _frame(sheet, x, y, log_x=log_x)
        _name_points(sheet, shown, _steps(sheet, ahead))

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

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes
        axes.set_xscale("log" if log_x else "linear")
        axes.set_yscale("log" if log_y else "linear")
        for number, line in enumerate(shown):
            colour = style.series(number)
            mark = style.marker(number) if markers or len(line.x) == 1 else None
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.14, linewidth=0)
            look = {"color": colour, "linestyle": style.dash(number), "marker": mark, "markersize": 6}
            axes.plot(line.x, line.y, label=_wrapped(line.name, sheet), **look)  # type: ignore[arg-type]
        axes.margins(x=0.02, y=0.08)
        _name_lines(sheet, shown, x, y, log_x=log_x, log_y=log_y)

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
            ends = [e for e in (bar.low, bar.high) if e is not None and known(e)]
            if len(ends) == 2:
                axes.plot(ends, [place, place], color=style.INK, linewidth=1.6, solid_capstyle="butt")
        axes.axvline(0, color=style.SOFT, linewidth=1)
        axes.set_yticks(range(len(shown)), [_wrapped(bar.name, sheet) for bar in shown], color=style.INK)
        axes.invert_yaxis()
        axes.margins(x=0.2 if sheet.narrow else 0.12, y=0.03)
        _frame(sheet, x, None)
        for place, bar in enumerate(shown):
            reach = max(v for v in (bar.value, bar.high, 0.0) if v is not None and known(v))
            left, middle = axes.transData.transform((reach, place))
            sheet.write(left + 7, middle, significant(bar.value))

    names = "; ".join(f"{bar.name} {significant(bar.value)}" for bar in shown)
    return draw(paint, f"{x}: {names}", 70 + 40 * len(shown), 70 + 46 * len(shown))


def _frame(
    sheet: Sheet, x: str, y: str | None, *, log_x: bool = False, log_y: bool = False, right: float = 0, bottom: float = 0
) -> None:
    """Ticks, the names of the axes, and room for both. The vertical axis is named above it, to be read upright."""
    axes = sheet.axes
    axes.set_xlabel(x, color=style.SOFT, labelpad=6)
    for axis, log in ((axes.xaxis, log_x), (axes.yaxis, log_y)):
        if not (axis is axes.yaxis and y is None):
            _ticks(axis, log, 5 if sheet.narrow else 7)
    sheet.settle(right=right, bottom=bottom, top=30 if y else 0)
    if y:
        sheet.write(4, sheet.size[1] - 12, y, color=style.SOFT)


def _ticks(axis: Axis, log: bool, most: int) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if log:
        axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=most + 4))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(nbins=most, steps=(1, 2, 2.5, 5, 10)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(value: float) -> str:
    """`0.25`, `10`, `2,500`: as many digits as a tick has."""
    if value == 0:
        return "0"
    text = f"{value:,.6g}" if 1e-5 <= abs(value) < 1e7 else f"{value:.3g}"
    return text.replace("-", "−")


def _steps(sheet: Sheet, ahead: Sequence[Point]) -> list[labels.Box]:
    """The best quality to be had up to every cost, drawn to the right edge; the boxes that the steps lie in."""
    axes = sheet.axes
    limits = axes.get_xlim()
    xs, ys = [*(p.x for p in ahead), limits[1]], [*(p.y for p in ahead), ahead[-1].y]
    axes.plot(xs, ys, drawstyle="steps-post", color=style.series(0), linewidth=1.3, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(limits)
    at = axes.transData.transform(list(zip(xs, ys, strict=True)))
    boxes = []
    for (x0, y0), (x1, y1) in zip(at[:-1], at[1:], strict=True):
        boxes += [labels.Box(x0, y0 - 2, x1, y0 + 2), labels.Box(x1 - 2, y0, x1 + 2, y1)]
    return boxes


def _name_points(sheet: Sheet, shown: Sequence[Point], steps: Sequence[labels.Box]) -> None:
    axes = sheet.axes
    at = [tuple(axes.transData.transform((p.x, p.y))) for p in shown]
    names = [
        sheet.write(0, 0, _wrapped(p.name, sheet), fontweight="bold" if p.best else "normal", linespacing=1.15)
        for p in shown
    ]
    sizes = [sheet.measure(name) for name in names]
    marks = [*steps, *(labels.Box(x - 7, y - 7, x + 7, y + 7) for x, y in at)]
    for point, (x, _) in zip(shown, at, strict=True):
        if known(point.low) and known(point.high):
            low, high = (axes.transData.transform((point.x, end))[1] for end in (point.low, point.high))
            marks.append(labels.Box(x - 2, low, x + 2, high))
    area = axes.get_window_extent()
    bounds = labels.Box(2, area.y0 + 2, sheet.size[0] - 2, sheet.size[1] - 24)
    for name, place, (x, y) in zip(names, labels.place(at, sizes, marks, bounds), at, strict=True):
        box = place.box
        name.set_position((box.left, (box.bottom + box.top) / 2))
        if place.joined:
            near = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
            axes.plot([x, near[0]], [y, near[1]], transform=None, color=style.SOFT, linewidth=0.8, zorder=1)


def _name_lines(sheet: Sheet, shown: Sequence[Line], x: str, y: str, *, log_x: bool, log_y: bool) -> None:
    """Names at the right of the lines; below the figure where they would take too much of its width."""
    axes = sheet.axes
    names = [
        sheet.write(0, 0, _wrapped(line.name, sheet), color=style.series(i), linespacing=1.1)
        for i, line in enumerate(shown)
    ]
    sizes = [sheet.measure(name) for name in names]
    widest = max(width for width, _ in sizes)
    fits = sum(height + 4 for _, height in sizes) < sheet.size[1] - 90
    if len(shown) > 1 and (sheet.narrow or not fits or widest > 0.34 * sheet.size[0]):
        for name in names:
            name.remove()
        rows = sum(height + 9 for _, height in sizes)
        _frame(sheet, x, y, log_x=log_x, log_y=log_y, bottom=rows + 4)
        place = rows
        for number, (line, (_, height)) in enumerate(zip(shown, sizes, strict=True)):
            middle = place - height / 2 - 2
            mark = style.marker(number) if axes.lines[number].get_marker() not in (None, "None") else None
            look = {"color": style.series(number), "linestyle": style.dash(number), "marker": mark}
            axes.plot([6, 30], [middle, middle], transform=None, clip_on=False, **look)  # type: ignore[arg-type]
            sheet.write(38, middle, _wrapped(line.name, sheet), linespacing=1.1)
            place -= height + 9
        return
    _frame(sheet, x, y, log_x=log_x, log_y=log_y, right=widest + 26)
    area = axes.get_window_extent()
    ends = [axes.transData.transform((line.x[-1], line.y[-1])) for line in shown]
    middles = labels.spread([e[1] for e in ends], [h + 4 for _, h in sizes], area.y0, area.y1)
    for name, (end_x, end_y), middle in zip(names, ends, middles, strict=True):
        name.set_position((area.x1 + 20, middle))
        axes.plot(
            [end_x + 4, area.x1 + 6, area.x1 + 17],
            [end_y, end_y if end_x > area.x1 - 20 else middle, middle],
            transform=None,
            clip_on=False,
            color=style.RULE,
            linewidth=1,
            zorder=1,
        )


def _wrapped(name: str, sheet: Sheet) -> str:
    clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return textwrap.fill(clean, 22 if sheet.narrow else 30) or "–"


def _clean(line: Line) -> Line:
    """The line without points that are not numbers."""
    keep = [i for i, (a, b) in enumerate(zip(line.x, line.y, strict=True)) if known(a) and known(b)]
    low, high = (None if e is None else [e[i] for i in keep] for e in (line.low, line.high))
    return Line(line.name, [line.x[i] for i in keep], [line.y[i] for i in keep], low, high)
