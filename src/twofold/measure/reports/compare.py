"""The report of a comparison, from plain data: a table for the terminal and a page for the browser.

The data is what `compare` writes as JSON:

    task, metric        names
    direction           "higher" (default) or "lower": which way the metric gets better
    data                {name, source, fingerprint, counts: {part: n} or {part: {what: n}}}
    budget              {what: amount}, with `each` {what: amount} an arm, `raced`, and `minimum` minutes
    beside              names of figures that stand beside the main one
    rows                one an arm: id, label, title, quality {mean, low, high}, parameters, megabytes,
                        train_seconds, latency_ms {median, p95}, peak_mb, pareto, recommended,
                        status ("measured", "dropped at …", "left out: …", "failed: …"),
                        curve [{seconds, loss}], validation [{seconds, <metric>}],
                        figures {name: value}, tables [{title, columns, rows}], in_use {name: value},
                        rungs [{share, validation}], trains (False: it takes no part in the curves)
    recommendation      one sentence
    notes               sentences
    environment         {what: value}

What is missing or None is shown as "–".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twofold.measure.reports import arms, html, numbers
from twofold.measure.reports.numbers import known

_MOST_POINTS = 120


def terminal(data: Mapping[str, Any], width: int | None = None, color: bool | None = None) -> str:
    """The comparison as text that fits into `width` characters; what does not fit side by side is folded.

    Args:
        data: as above.
        width: characters of a line; None: as wide as the terminal.
        color: None: when standard output is a terminal.
    """
    from rich.console import Group
    from rich.text import Text

    from twofold.measure.reports import terminal as shown

    rows = data["rows"]
    columns = [
        shown.Column("", "left", key=True),
        shown.Column("system", "left", key=True, widest=32),
        shown.Column(f"{_metric(data)}\n± 95 %"),
        *(shown.Column(_written(name).replace(" ", "\n", 1)) for name in data.get("beside", ())),
        shown.Column("para-\nmeters"),
        shown.Column("on\ndisk"),
        shown.Column("train\ns"),
        shown.Column("ms\n50 %"),
        shown.Column("ms\n95 %"),
        shown.Column("peak\nMB"),
    ]
    cells = [
        [
            arms.mark(row),
            arms.name(row),
            " ".join(filter(None, (numbers.quality(arms.mean(row)), numbers.spread(row.get("quality"))))),
            *(numbers.quality(value) for value in _beside(data, row)),
            numbers.count(row.get("parameters")),
            numbers.size(row.get("megabytes")),
            numbers.significant(row.get("train_seconds")),
            numbers.milliseconds(arms.latency(row, "median")),
            numbers.milliseconds(arms.latency(row, "p95")),
            numbers.significant(row.get("peak_mb")),
        ]
        for row in rows
    ]
    styles = ["bold" if row.get("recommended") else "dim" if arms.aside(row) else "" for row in rows]
    below = [
        Text(shown.plain(line))
        for line in (
            _facts_line(data),
            arms.legend(rows),
            *(f"{arms.name(r)}: {r['status']}" for r in rows if arms.aside(r)),
            *data.get("notes", ()),
        )
        if line
    ]
    advice = [Text(""), Text(shown.plain(data["recommendation"]), style="bold")] if data.get("recommendation") else []
    table = shown.table(columns, cells, styles=styles, width=width)
    names, lines = _in_use(rows)
    heads = [shown.Column("in use", "left", key=True, widest=32)]
    heads += [shown.Column(name.replace(" behind ", "\nbehind ").replace(" tokens/s", "\ntokens/s")) for name in names]
    use = [Text(""), shown.table(heads, lines, width=width)]
    return shown.text(Group(table, *(use if lines else []), Text(""), *below, *advice), width, color)


def render(data: Mapping[str, Any]) -> str:
    """The comparison as a page: recommendation, quality against latency, table, learning curves, conditions."""
    rows = data["rows"]
    return html.page(
        f"{data['task']}: {_counted(len(rows), 'system')} compared on {data['data'].get('name', 'your data')}",
        [
            _scatter(data),
            html.section("Every system", _table(data)),
            *_use(rows),
            *_details(rows),
            _curves(data),
            html.section("Notes", html.bullets(data.get("notes", ()))),
            html.section("Conditions", html.facts(_conditions(data))),
        ],
        under=_facts_line(data),
        lead=data.get("recommendation"),
        foot="Made by Twofold. Times depend on the machine; compare them within this page only.",
    )


def _scatter(data: Mapping[str, Any]) -> html.Html:
    from twofold.measure.reports import plots

    rows = data["rows"]
    points = [
        plots.Point(
            arms.name(row),
            arms.latency(row, "median"),
            arms.mean(row),
            (row.get("quality") or {}).get("low"),
            (row.get("quality") or {}).get("high"),
            bool(row.get("recommended")),
        )
        for row in rows
    ]
    absent = [p.name for p in points if not (known(p.x) and known(p.y))]
    caption = (
        f"Quality ({_metric(data)}, test part) against the median time of one request. Vertical lines are 95 % "
        "intervals over test items; the steps are the best quality to be had up to that time (the Pareto front); "
        "the star is the recommended system."
    )
    caption += f" Not shown, for want of a figure: {', '.join(absent)}." if absent else ""
    better = data.get("direction", "higher")
    drawing = plots.scatter(points, "median milliseconds a request (logarithmic)", _metric(data), better=better)
    return html.section("Quality against latency", html.figure(drawing, caption))


def _table(data: Mapping[str, Any]) -> html.Html:
    rows = data["rows"]
    columns = [
        "System",
        _metric(data),
        *(_written(name) for name in data.get("beside", ())),
        "Parameters",
        "On disk",
        "Training",
        "Latency, ms (95th percentile)",
        "Peak memory",
    ]
    cells = [
        [
            html.Cell(f"{arms.mark(row)} {arms.name(row)}".strip(), arms.status(row)),
            html.Cell(numbers.quality(arms.mean(row)), arms.ends(row)),
            *(numbers.quality(value) for value in _beside(data, row)),
            numbers.count(row.get("parameters")),
            numbers.size(row.get("megabytes")),
            numbers.seconds(row.get("train_seconds")),
            html.Cell(
                numbers.milliseconds(arms.latency(row, "median")),
                f"({numbers.milliseconds(arms.latency(row, 'p95'))})" if known(arms.latency(row, "p95")) else None,
            ),
            numbers.size(row.get("peak_mb")),
        ]
        for row in rows
    ]
    classes = ["mark" if row.get("recommended") else "faint" if arms.aside(row) else "" for row in rows]
    return html.table(columns, cells, classes=classes, caption=arms.legend(rows, brackets=True))


def _beside(data: Mapping[str, Any], row: Mapping[str, Any]) -> list[float | None]:
    """The figures that stand beside the main one."""
    return [(row.get("figures") or {}).get(name) for name in data.get("beside", ())]


def _in_use(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Titles and lines of what systems cost in use; no lines where nothing is known."""
    names = list(dict.fromkeys(name for row in rows for name in row.get("in_use") or {}))

    def title(name: str) -> str:
        kind, _, context = name.replace("_per_second", "/s").replace("_bytes", "").replace("_", " ").partition("@")
        return f"{kind} behind {int(context):,}" if context else kind

    def figure(row: Mapping[str, Any], name: str) -> str:
        value = row["in_use"].get(name)
        return numbers.size(None if value is None else value / 1e6) if "bytes" in name else numbers.count(value)

    lines = [[arms.name(row), *(figure(row, name) for name in names)] for row in rows if row.get("in_use")]
    return [title(name) for name in names], lines


def _use(rows: Sequence[Mapping[str, Any]]) -> list[html.Html]:
    titles, lines = _in_use(rows)
    return [html.section("In use", html.table(["System", *titles], lines))] if lines else []


def _details(rows: Sequence[Mapping[str, Any]]) -> list[html.Html]:
    """The tables of the recommended arm, such as which classes it confuses."""
    chosen = next((row for row in rows if row.get("recommended")), None)
    return [
        html.section(
            f"{table['title']}: {arms.name(chosen)}, test part",
            html.table(table["columns"], [[_cell(value) for value in line] for line in table["rows"]]),
        )
        for table in (chosen or {}).get("tables") or ()
        if chosen is not None and table["rows"]
    ]


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else numbers.quality(value) if known(value) else str(value)


def _curves(data: Mapping[str, Any]) -> html.Html:
    from twofold.measure.reports import plots

    learning = [row for row in data["rows"] if row.get("trains", True)]

    def drawn(name: str, x: str, y: str) -> list[plots.Line]:
        found = []
        for look, row in enumerate(learning):
            pairs = [(p[x], p[y]) for p in _points(row.get(name)) if known(p.get(x)) and known(p.get(y))]
            xs, ys = _thinned(pairs)
            found.append(plots.Line(arms.name(row), xs, ys, look=look))
        return [line for line in found if line.x]

    parts = []
    validated = f"{_metric(data)} on validation"
    if judged := drawn("validation", "seconds", data["metric"]):
        figure = plots.lines(judged, "seconds of training", validated, markers=True)
        parts.append(
            html.figure(figure, "Quality on the validation part while training. Lines end where training did.")
        )
    raced = drawn("rungs", "share", "validation")
    if any(len(line.x) > 1 for line in raced):
        caption = "Quality on the validation part at every round of the race. Lines end where a system was dropped."
        parts.append(html.figure(plots.lines(raced, "share of the training budget", validated, markers=True), caption))
    if losses := drawn("curve", "seconds", "loss"):
        figure = plots.lines(losses, "seconds of training", "training loss")
        caption = (
            "Training loss. Systems have losses of their own, so heights cannot be compared between them: look at "
            "whether a line still falls where it ends."
        )
        if any(len(row.get("curve") or ()) > _MOST_POINTS for row in data["rows"]):
            caption += f" Long curves are shown as at most {_MOST_POINTS} means of neighbouring steps."
        parts.append(html.figure(figure, caption))
    return html.section("Learning curves", *parts)


def _points(value: Any) -> Sequence[Mapping[str, Any]]:
    """A series of points; nothing where the field holds a single figure."""
    return value if isinstance(value, list | tuple) else ()


def _thinned(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The curve, or means of neighbouring points where it has too many."""
    pieces = -(-len(pairs) // _MOST_POINTS) or 1
    groups = [pairs[i : i + pieces] for i in range(0, len(pairs), pieces)]
    return [sum(x for x, _ in g) / len(g) for g in groups], [sum(y for _, y in g) / len(g) for g in groups]


def _conditions(data: Mapping[str, Any]) -> dict[str, object]:
    source, least = data["data"], (data.get("budget") or {}).get("minimum")
    known_facts = {
        "Data": source.get("name"),
        "Source": source.get("source"),
        "Fingerprint": source.get("fingerprint"),
        "Counts": _counts(source.get("counts")),
        "Budget": _budget(data),
        "Least for the whole data": _amount("minutes", least) if known(least) else None,
        **{str(name): value for name, value in (data.get("environment") or {}).items()},
    }
    return {name: value for name, value in known_facts.items() if value not in (None, "")}


def _facts_line(data: Mapping[str, Any]) -> str:
    source = data["data"]
    parts = [str(source.get("name", "")), _counts(source.get("counts"))]
    parts.append(f"budget {budget}" if (budget := _budget(data)) else "")
    return " · ".join(filter(None, parts))


def _budget(data: Mapping[str, Any]) -> str:
    """`5 min in all, 45 s of training each, raced`."""
    budget = dict(data.get("budget") or {})
    each, raced = budget.pop("each", None), budget.pop("raced", False)
    budget.pop("minimum", None)
    parts = [_amount(name, value) for name, value in budget.items() if value is not None]
    parts = [f"{part} in all" for part in parts] if each else parts
    parts += [f"{_amount(name, value)} of training each" for name, value in (each or {}).items()]
    return ", ".join([*parts, "raced"] if raced else parts)


def _amount(name: str, value: Any) -> str:
    if name in ("seconds", "minutes") and known(value):
        return numbers.seconds(value * (60 if name == "minutes" else 1))
    return f"{value:,} {name}" if known(value) else f"{name} {value}"


def _counts(counts: Mapping[str, Any] | None) -> str:
    """`test: 5,016 documents, 1,060 queries; …` or `5,016 documents, …`."""
    nested, flat = [], []
    for name, value in (counts or {}).items():
        if isinstance(value, Mapping):
            nested.append(f"{name} {_counts(value)}")
        else:
            flat.append(f"{value:,} {name}" if known(value) else f"{name} {value}")
    return "; ".join([*nested, *([", ".join(flat)] if flat else [])])


def _metric(data: Mapping[str, Any]) -> str:
    """The main figure's name."""
    return _written(str(data["metric"]))


def _written(name: str) -> str:
    """`nDCG@10` for "ndcg@10", `macro F1` for "macro_f1": as papers write it."""
    if "@" not in name:
        return name.replace("_f1", " F1").replace("_", " ").replace("r2", "R²")
    written = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "recall": "recall", "precision": "precision"}
    kind, at, cutoff = name.partition("@")
    return written.get(kind, kind.replace("_", " ")) + at + cutoff


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
