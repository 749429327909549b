"""Self-contained pages: markup, style and figures in one file, without scripts; light and dark; wide and narrow.

Everything that is not `Html` is text and is escaped, so whoever writes a report cannot forget it.
"""

from __future__ import annotations

import html as _html
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twofold.measure.reports import style
from twofold.measure.reports.numbers import MISSING

if TYPE_CHECKING:
    from twofold.measure.reports.plots import Drawing

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

_CSS = f"""
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%;text-size-adjust:100%}}
body{{margin:0 auto;padding:2.5rem 1.5rem 4rem;max-width:62rem;background:var(--paper);color:var(--ink);
 font:1rem/1.55 {_FONT};overflow-wrap:break-word}}
h1{{font-size:1.75rem;line-height:1.2;margin:0 0 .4rem;letter-spacing:-.01em;text-wrap:balance}}
h2{{font-size:1.2rem;line-height:1.3;margin:2.75rem 0 .75rem}}
p,ul{{max-width:46rem;margin:.6rem 0}}
ul{{padding-left:1.2rem}}
.under{{color:var(--soft);margin:0 0 1.5rem}}
.lead{{background:var(--mark);border-left:4px solid var(--series-0);border-radius:0 6px 6px 0;padding:.9rem 1.1rem;
 font-size:1.1rem;max-width:none}}
.scroll{{overflow-x:auto;margin:1rem 0}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.94rem}}
caption,figcaption{{text-align:left;color:var(--soft);font-size:.88rem;line-height:1.45;max-width:46rem}}
caption{{caption-side:bottom;padding-top:.7rem}}
th,td{{padding:.5rem .7rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule);
 white-space:nowrap;font-weight:400}}
thead th{{color:var(--soft);font-size:.82rem;vertical-align:bottom;white-space:normal}}
.words{{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:7rem}}
tbody th{{font-weight:600}}
tr.mark>*{{background:var(--mark)}}
tr.faint td,tr.faint th{{color:var(--soft);font-weight:400}}
small{{color:var(--soft);font-size:.85em;font-weight:400;display:block}}
figure{{margin:1.25rem 0}}
figcaption{{margin-top:.5rem}}
svg{{display:block;width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt}}
.narrow{{display:none}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.5rem;margin:1rem 0;font-size:.94rem}}
dt{{color:var(--soft)}}
dd{{margin:0;overflow-wrap:anywhere}}
footer{{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--soft);font-size:.88rem}}
@media (max-width:640px){{
body{{padding:1.5rem 1rem 3rem}}
h1{{font-size:1.45rem}}
.wide{{display:none}}
.narrow{{display:block}}
.scroll{{overflow:visible}}
tbody,tr,caption{{display:block}}
table{{display:flex;flex-direction:column}}
caption{{order:1}}
thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
tbody tr{{border:1px solid var(--rule);border-radius:8px;margin:0 0 .8rem;padding:.5rem .8rem}}
tr.mark{{background:var(--mark)}}
th,td{{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.18rem 0;white-space:normal}}
td::before{{content:attr(data-label);color:var(--soft);text-align:left}}
tbody th{{display:block;text-align:left;padding-bottom:.4rem}}
td.words{{text-align:right}}
dl{{grid-template-columns:1fr;gap:0}}
dd{{margin-bottom:.5rem}}
}}
@media print{{body{{max-width:none;padding:0}}figure,tr{{break-inside:avoid}}}}
"""


class Html(str):
    """Markup, as against text."""

    __slots__ = ()


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and a smaller line below."""

    text: object
    below: object = None


def text(value: object) -> Html:
    """Any value as escaped text without control characters; `Html` stays as it is, None becomes nothing."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    kept = "".join(c if c in "\n\t" or not unicodedata.category(c).startswith("C") else "\ufffd" for c in str(value))
    return Html(_html.escape(kept, quote=True))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """`<tag attribute="…">children</tag>`; a trailing underscore of an attribute's name is dropped (`class_`),
    other underscores become hyphens; an attribute that is None is left out."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{named}>{''.join(map(text, children))}</{tag}>")


def section(heading: str, *parts: object) -> Html:
    """A heading and what stands below it; empty where nothing does."""
    body = "".join(map(text, parts))
    return Html(element("section", element("h2", heading), Html(body))) if body else Html("")


def paragraph(words: object, class_: str | None = None) -> Html:
    """A paragraph; empty where there are no words."""
    return element("p", words, class_=class_) if words else Html("")


def bullets(items: Iterable[object]) -> Html:
    """A list; empty where there are no items."""
    listed = [element("li", item) for item in items]
    return element("ul", *listed) if listed else Html("")


def facts(pairs: Mapping[str, object]) -> Html:
    """Names with their values; empty where there are none."""
    listed = [Html(element("dt", name) + element("dd", _missing(value))) for name, value in pairs.items()]
    return element("dl", *listed) if listed else Html("")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    words: Iterable[int] = (0,),
    classes: Sequence[str] = (),
    caption: object = None,
) -> Html:
    """A table whose first column names the rows; on a narrow screen every row becomes a card.

    Args:
        columns: headings.
        rows: cells as text, `Html` or `Cell`; None is shown as "–".
        words: columns that hold words and not figures.
        classes: of every row: "mark" (stands out), "faint" (stands back) or "".
        caption: below the table.
    """
    wordy = set(words)
    heads = [element("th", c, scope="col", class_="words" if i in wordy else None) for i, c in enumerate(columns)]
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for i, value in enumerate(row):
            tag = "th" if i == 0 else "td"
            scope, label = ("row", None) if i == 0 else (None, columns[i].replace("\n", " "))
            kind = "words" if i in wordy else None
            cells.append(element(tag, _content(value), scope=scope, class_=kind, data_label=label))
        lines.append(element("tr", *cells, class_=(classes[number] if number < len(classes) else "") or None))
    parts = [element("caption", caption)] if caption else []
    parts += [element("thead", element("tr", *heads)), element("tbody", *lines)]
    return element("div", element("table", *parts), class_="scroll")


def figure(drawing: Drawing | None, caption: object) -> Html:
    """A drawing with a caption that says what is shown, what the bars mean and what is left out."""
    if drawing is None:
        return Html("")
    wide = element("div", Html(drawing.wide), class_="wide")
    narrow = element("div", Html(drawing.narrow), class_="narrow")
    return element("figure", wide, narrow, element("figcaption", caption))


def page(
    title: str, sections: Iterable[object], *, under: object = None, lead: object = None, foot: object = None
) -> str:
    """A whole page.

    Args:
        title: its heading.
        sections: what `section` and the like return.
        under: a line below the heading.
        lead: the one sentence to take away.
        foot: the last line.
    """
    head = (
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">')
        + element("title", title)
        + f"<style>{style.css()}{_CSS}</style>"
    )
    body = [element("h1", title), paragraph(under, "under"), paragraph(lead, "lead"), *sections]
    if foot:
        body.append(element("footer", foot))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{element("main", *body)}</body></html>\n'


def _content(value: Any) -> Html:
    if isinstance(value, Cell):
        below = element("small", value.below) if value.below else ""
        return Html(element("span", _missing(value.text), below)) if below else text(_missing(value.text))
    return text(_missing(value))


def _missing(value: object) -> object:
    return MISSING if value is None else value
