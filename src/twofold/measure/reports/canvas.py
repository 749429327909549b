"""The sheet that figures are drawn on: one look, two widths, and SVG that fits into a page.

Text stays text, colours become CSS names, ids are made unique, and nothing depends on the day or the machine.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twofold.measure.reports import style
from twofold.measure.reports.numbers import MISSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Text

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
WIDE, NARROW = 760, 360  # pixels

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "twofold",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.color": style.INK,
    "text.parse_math": False,
    "axes.edgecolor": style.RULE,
    "axes.labelcolor": style.SOFT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.unicode_minus": True,
    "grid.color": style.RULE,
    "grid.linewidth": 0.8,
    "xtick.color": style.SOFT,
    "ytick.color": style.SOFT,
    "xtick.labelcolor": style.SOFT,
    "ytick.labelcolor": style.SOFT,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 2.5,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure as inline SVG: for wide screens and for narrow ones."""

    wide: str
    narrow: str


@dataclass
class Sheet:
    """What a drawing function gets.

    Args:
        axes: matplotlib's axes.
        narrow: whether it is the narrow variant.
        size: (width, height) in pixels.
    """

    axes: Axes
    narrow: bool
    size: tuple[float, float]

    def measure(self, words: Text) -> tuple[float, float]:
        """Width and height of a text in pixels, in a font that is wider than what most screens show."""
        box = words.get_window_extent(self.axes.figure.canvas.get_renderer())  # type: ignore[attr-defined]
        return box.width, box.height

    def write(self, x: float, y: float, words: str, **look: Any) -> Text:
        """Text at a place in pixels from the lower left corner."""
        look = {"color": style.INK, "ha": "left", "va": "center", **look}
        written = self.axes.text(x, y, words, transform=None, **look)
        written.set_in_layout(False)
        return written

    def stroke(self, xs: Sequence[float], ys: Sequence[float], **look: Any) -> None:
        """A line through places in pixels from the lower left corner, also outside the axes."""
        (drawn,) = self.axes.plot(xs, ys, **{"transform": None, "clip_on": False, "zorder": 1, **look})
        drawn.set_in_layout(False)

    def wrapped(self, name: str) -> str:
        """A name on as many lines as it takes."""
        clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
        return textwrap.fill(clean, 22 if self.narrow else 30) or MISSING

    def frame(
        self,
        x: str,
        y: str | None,
        *,
        log_x: bool = False,
        log_y: bool = False,
        right: float = 0,
        bottom: float = 0,
    ) -> None:
        """Ticks, the names of the axes, and room for both; the vertical axis is named above it, to be read upright.

        Args:
            x: name of the horizontal axis.
            y: name of the vertical axis; None leaves its ticks as they are.
            log_x: logarithmic horizontal axis.
            log_y: logarithmic vertical axis.
            right: pixels to keep free at the right.
            bottom: pixels to keep free below.
        """
        most = 5 if self.narrow else 7
        self.axes.set_xlabel(x, color=style.SOFT, labelpad=6)
        _ticks(self.axes.xaxis, log_x, most)
        if y is not None:
            _ticks(self.axes.yaxis, log_y, most)
            self.write(4, self.size[1] - 12, y, color=style.SOFT)
        self.settle(right=right, bottom=bottom, top=30 if y else 0)

    def settle(self, right: float = 0, top: float = 0, bottom: float = 0) -> None:
        """Fixes the axes so that what is written at their edges fits; the numbers add pixels at a side."""
        figure = self.axes.figure
        width, height = self.size
        self.axes.set_position((0.1, 0.1, 0.8, 0.8))
        for _ in range(2):  # the number of ticks, so their width, depends on the size
            box = self.axes.get_position()
            tight = self.axes.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
            assert tight is not None
            over_left = box.x0 * width - tight.x0
            over_bottom = box.y0 * height - tight.y0
            over_right, over_top = tight.x1 - box.x1 * width, tight.y1 - box.y1 * height
            x0, y0 = over_left + 4, over_bottom + 4 + bottom
            x1, y1 = width - max(6.0, over_right + 4, right), height - max(8.0, over_top + 4, top)
            self.axes.set_position((x0 / width, y0 / height, max(20, x1 - x0) / width, max(20, y1 - y0) / height))


def tick(value: float) -> str:
    """`0.25`, `10`, `2,500`: as many digits as the value has, up to six."""
    if value == 0:
        return "0"
    text = f"{value:,.6g}" if 1e-5 <= abs(value) < 1e7 else f"{value:.3g}"
    return text.replace("-", "−")


def _ticks(axis: Axis, log: bool, most: int) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if log:
        axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=most + 4))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(nbins=most, steps=(1, 2, 2.5, 5, 10)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def draw(paint: Callable[[Sheet], None], title: str, wide_height: float, narrow_height: float) -> Drawing:
    """Both variants of a figure.

    Args:
        paint: draws on the sheet.
        title: what the figure shows, for those who cannot see it.
        wide_height: pixels of the wide variant.
        narrow_height: pixels of the narrow variant.
    """
    wide, narrow = _one(paint, title, WIDE, wide_height), _one(paint, title, NARROW, narrow_height)
    return Drawing(wide, narrow)


def _one(paint: Callable[[Sheet], None], title: str, width: float, height: float) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _settings():
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasAgg(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.tick_params(axis="y", pad=6)
        paint(Sheet(axes, width == NARROW, (width, height)))
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, dpi=72)
    return _inline(out.getvalue(), title, width, height)


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        parameters: Any = matplotlib.rcParams
        parameters.update(_SETTINGS)
        yield


def _inline(svg: str, title: str, width: float, height: float) -> str:
    """Matplotlib's file as an element of a page."""
    body = svg[svg.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*", f"font-family: {_FONT}", body)
    body = re.sub(r"\bid=\"(?:\w+\.)?[A-Za-z]+\w*_\d+\"", "", body)  # names of groups, which nothing refers to
    key = hashlib.sha256(f"{width}{title}{body}".encode()).hexdigest()[:8]
    body = re.sub(r"(id=\"|href=\"#|url\(#)", rf"\g<1>{key}-", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    label = html.escape(title, quote=True)
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
    head += f'aria-label="{label}" viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 1.35:g}px">'
    return head + style.named(body.strip())
