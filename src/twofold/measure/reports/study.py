"""The report of a study: its sentences, figures, tables and plots, for the terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from twofold.measure.reports import html, numbers

if TYPE_CHECKING:
    from twofold.measure.reports.canvas import Drawing


class Table(Protocol):
    """A table of a study."""

    @property
    def title(self) -> str: ...
    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[Any]]: ...


class Plot(Protocol):
    """A plot of a study: named lines of (x, y) points."""

    @property
    def title(self) -> str: ...
    @property
    def x(self) -> str: ...
    @property
    def y(self) -> str: ...
    @property
    def lines(self) -> Mapping[str, Sequence[tuple[float, float]]]: ...


class HeatMap(Protocol):
    """A heat map of a study: a number for each row and column, None where there is none."""

    @property
    def title(self) -> str: ...
    @property
    def x(self) -> str: ...
    @property
    def y(self) -> str: ...
    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[str]: ...
    @property
    def values(self) -> Sequence[Sequence[float | None]]: ...


class Report(Protocol):
    """What a study found."""

    @property
    def figures(self) -> Mapping[str, float]: ...
    @property
    def tables(self) -> Sequence[Table]: ...
    @property
    def plots(self) -> Sequence[Plot | HeatMap]: ...
    @property
    def text(self) -> str: ...


def terminal(report: Report, width: int | None = None, color: bool | None = None) -> str:
    """Sentences, tables and figures as text that fits into `width` characters; plots are for the page."""
    from rich.console import Group
    from rich.text import Text

    from twofold.measure.reports import terminal as shown

    parts: list[Any] = [Text(shown.plain(line)) for line in report.text.splitlines()]
    for table in report.tables:
        parts += [Text(""), shown.table(table.columns, table.rows, title=table.title, width=width)]
    if report.figures:
        rows = [[name, numbers.significant(value, 4)] for name, value in report.figures.items()]
        parts += [Text(""), shown.table(["figure", "value"], rows, width=width)]
    return shown.text(Group(*parts), width, color)


def render(report: Report, title: str, under: str | None = None) -> str:
    """The whole report as a page."""
    drawn = [html.figure(_drawn(plot), plot.title) for plot in report.plots]
    tables = []
    for table in report.tables:
        rows = [[numbers.significant(c) if isinstance(c, float) else c for c in row] for row in table.rows]
        words = [0, *(i for i in range(1, len(table.columns)) if any(isinstance(row[i], str) for row in table.rows))]
        tables.append(html.table(table.columns, rows, words=words, caption=table.title))
    figures = {name: numbers.significant(value, 4) for name, value in report.figures.items()}
    return html.page(
        title,
        [
            *(html.paragraph(line) for line in report.text.splitlines()),
            html.section("Plots", *drawn),
            html.section("Tables", *tables),
            html.section("Figures", html.facts(figures)),
        ],
        under=under,
        foot="Made by Twofold.",
    )


def _drawn(plot: Plot | HeatMap) -> Drawing | None:
    from twofold.measure.reports import plots

    values = getattr(plot, "values", None)
    if values is not None:
        return plots.heat(values, plot.rows, plot.columns, plot.x, plot.y)  # type: ignore[union-attr]
    given = [
        plots.Line(name, [x for x, _ in points], [y for _, y in points])
        for name, points in plot.lines.items()  # type: ignore[union-attr]
    ]
    few = max((len(line.x) for line in given), default=0) <= 40
    return plots.lines(given, plot.x, plot.y, markers=few)
