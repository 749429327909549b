"""The report of one claim's record: a section of the result pages, or a table for the terminal.

A record is a dict with the keys `id`, `verdict`, `why`, `claim` (as `Claim.as_dict()`), `arms` and `checks` (each
`{id, options, figures: {name: [one a repeat]}, costs: {name: [...]}, tuning: {option: {candidate: score}}}`; a check on
other data is `{data, verdict, why, figures: {baseline: [...], method: [...]}, effect, seeds, commit}`),
`effect` {mean, low, high, level, n}, `tries`, `data` {name, source, fingerprint}, `seeds`, `commit`, `timings` and
`environment`. What is missing is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twofold.measure.reports import numbers
from twofold.measure.reports.numbers import MISSING, known, significant

Record = Mapping[str, Any]

_COSTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "parameters": ("parameters", numbers.count),
    "bytes": ("size", lambda b: numbers.size(b / 1e6 if known(b) else None)),
    "block_bytes": ("blocks", lambda b: numbers.size(b / 1e6 if known(b) else None)),
    "bits_per_weight": ("bits a weight", significant),
    "seconds": ("seconds", significant),
}


def markdown(record: Record) -> str:
    """A section without its heading, in GitHub's Markdown; every text of the record is escaped."""
    claim = record["claim"]
    titles, rows = _table(record)
    parts = [
        f"**{_escaped(str(record['verdict']).capitalize())}.** {_sentence(_escaped(_turned(record)))}",
        _escaped(_asked(claim)),
        _markdown_table(titles, rows),
        *_lists(
            "Other figures of the same runs (means, baseline → method)", [_escaped(line) for line in _others(record)]
        ),
        *_lists("Chosen on validation, with a seed of its own", [_escaped(line) for line in _tuning(record)]),
        *_lists("The same comparison on other data", [_escaped(line) for line in _elsewhere(record)]),
        *_lists("Tried before", [_escaped(line) for line in _tries(record)]),
        _escaped(_timings(record)),
        _escaped(_measured(record)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal(record: Record, width: int | None = None, color: bool | None = None) -> str:
    """The record as text that fits into `width` characters (None: as wide as the terminal)."""
    from rich.console import Group
    from rich.text import Text

    from twofold.measure.reports import terminal as shown

    titles, rows = _table(record)
    words = {"arm"}
    columns = [
        shown.Column(_short(t), "left" if t in words or not t else "right", key=t in words or not t, widest=_widest(t))
        for t in titles
    ]
    head = Text(f"{record['id']}: {record['verdict']}", style="bold")
    above = [
        shown.plain(record["claim"]["says"]),
        shown.plain(_sentence(_turned(record))),
        shown.plain(_asked(record["claim"])),
    ]
    below = [*_others(record), *_tuning(record), *_elsewhere(record), *(f"tried before: {t}" for t in _tries(record))]
    below += [line for line in (_timings(record), _measured(record)) if line]
    lines = [Text(shown.plain(line)) for line in below]
    table = shown.table(columns, rows, width=width)
    return shown.text(Group(head, *map(Text, above), Text(""), table, Text(""), *lines), width, color)


def effect(record: Record) -> str:
    """The effect with its interval, positive where the method is better.

    `+0.031 [+0.012, +0.050]`, or for a claim about a ratio `×1.43 [1.21, 1.70]`.
    """
    found = record.get("effect")
    if not found:
        return MISSING
    ends = [found["mean"], found["low"], found["high"]]
    if record["claim"].get("scale") == "ratio":
        mean, low, high = (f"{math.exp(e):.3g}" for e in ends)
        return f"×{mean} [{low}, {high}]"
    mean, low, high = (f"{e:+.3g}".replace("-", "−") for e in ends)
    return f"{mean} [{low}, {high}]"


def _turned(record: Record) -> str:
    return str(record.get("why") or f"effect {effect(record)}")


def _asked(claim: Mapping[str, Any]) -> str:
    """What the paper reports, and what was asked here."""
    metric, by, ratio = claim["metric"], abs(claim["by"]), claim.get("scale") == "ratio"
    way = "higher" if claim.get("direction", "higher") == "higher" else "lower"
    amount = f"×{math.exp(by):.3g}" if ratio else f"{by:g}"
    if claim.get("parity"):
        saving = claim.get("saving") or {}
        asked = f"{metric} worse by at most {amount}"
        asked += f", with {saving['figure']} at most ×{saving['ratio']:g}" if saving else ""
    else:
        asked = f"{metric} {way} by at least {amount}"
    where = f" on {claim['data']}" if claim.get("data") else ""
    where += f", from {claim['on']}" if claim.get("on") else ""
    budget = ", ".join(f"{value:,} {name}" for name, value in (claim.get("budget") or {}).items())
    where += f", {budget} an arm" if budget else ""
    guards = []
    for guard in claim.get("guards") or ():
        bounds = [
            f"{words} {guard[key]:g}"
            for key, words in (("at_least", "at least"), ("at_most", "at most"))
            if known(guard.get(key))
        ]
        guards.append(f"{guard['figure']} of the {guard.get('of', 'baseline')} {' and '.join(bounds)}")
    condition = f" On condition of {'; '.join(guards)}." if guards else ""
    return f"Paper: {_stopped(str(claim['paper']))} Asked here: {asked}{where}.{condition}"


def _table(record: Record) -> tuple[list[str], list[list[str]]]:
    """The arms: the metric of every repeat, its mean, and what the arm cost."""
    metric, repeat = record["claim"]["metric"], record["claim"].get("repeat", "seed")
    groups = [*zip(("baseline", "method"), record.get("arms", ()), strict=False)]
    groups += [("beside", arm) for arm in _beside(record)]
    paid = [name for name in _COSTS if any(name in (arm.get("costs") or {}) for _, arm in groups)]
    titles = ["", "arm", f"{metric}, every {repeat}", "mean", *(_COSTS[name][0] for name in paid)]
    rows = []
    for role, arm in groups:
        values = (arm.get("figures") or {}).get(metric) or []
        spent = [_COSTS[name][1](_mean((arm.get("costs") or {}).get(name))) for name in paid]
        rows.append([role, _label(arm), _each(values), significant(_mean(values), 4), *spent])
    return titles, rows


def _others(record: Record) -> list[str]:
    """Figures beside the metric: one line each, baseline → method."""
    arms, metric = record.get("arms") or (), record["claim"]["metric"]
    names = list(dict.fromkeys(name for arm in arms for name in arm.get("figures") or () if name != metric))
    return [f"{n}: {' → '.join(significant(_mean((a.get('figures') or {}).get(n))) for a in arms)}" for n in names]


def _tuning(record: Record) -> list[str]:
    lines = []
    for arm in (*record.get("arms", ()), *_beside(record)):
        for option, scores in (arm.get("tuning") or {}).items():
            tried = ", ".join(f"{value} gave {significant(score)}" for value, score in scores.items())
            chosen = (arm.get("options") or {}).get(option, MISSING)
            lines.append(f"{arm['id']}, {option} = {chosen} ({tried})")
    return lines


def _beside(record: Record) -> list[Mapping[str, Any]]:
    """The arms beside the primary comparison."""
    return [check for check in record.get("checks") or () if "data" not in check]


def _elsewhere(record: Record) -> list[str]:
    """The primary comparison on other data, a line each."""
    lines = []
    for check in record.get("checks") or ():
        if "data" in check:
            means = " → ".join(significant(_mean(check["figures"][arm])) for arm in ("baseline", "method"))
            shown = effect({**check, "claim": record["claim"]})
            own = "".join(f", {name} = {value}" for name, value in (check.get("options") or {}).items())
            metric = record["claim"]["metric"]
            lines.append(f"{check['data']['name']}{own}: {check['verdict']}, {shown} ({metric} {means})")
    return lines


def _tries(record: Record) -> list[str]:
    """A line for each try; one that other code repeated to the last digit shares its line."""
    found: dict[tuple[str, ...], tuple[str, list[str]]] = {}
    for tried in record.get("tries") or ():
        between = " → ".join(map(str, tried.get("configuration") or ()))
        shown = effect({**tried, "claim": record["claim"]})
        where = f" on {tried['data']}" if tried.get("data") else ""
        where += "".join(f", {value:,} {name}" for name, value in (tried.get("budget") or {}).items())
        note = where + (f": {tried['why']}" if tried.get("why") else "")
        line = f"{tried.get('verdict', MISSING)}, {shown}{f', {between}' if between else ''}{note}"
        commits = found.setdefault((line, *map(repr, (tried.get("effect") or {}).items())), (line, []))[1]
        commit = str(tried.get("commit"))[:10]
        commits += [commit] if commit not in commits else []
    return [
        f"{line} (the same at {' and '.join(commits)})" if len(commits) > 1 else line
        for line, commits in found.values()
    ]


def _timings(record: Record) -> str:
    timings = record.get("timings")
    if not timings:
        return ""
    each = [
        f"{arm} {significant(t['median_ms'])} ms (95 % within {significant(t['p95_ms'])} ms)"
        for arm, t in timings["arms"].items()
    ]
    return f"Times of a request, alone on the machine, in turns: {', '.join(each)}; ratio ×{timings['ratio']:.3g}."


def _measured(record: Record) -> str:
    """On what data, with which seeds, by which code, on which machine."""
    data, machine = record.get("data") or {}, record.get("environment") or {}
    parts = []
    if data:
        parts.append(f"data {data.get('name')} ({data.get('source')}; fingerprint {str(data.get('fingerprint'))[:16]})")
    if seeds := record.get("seeds"):
        parts.append(f"{record['claim'].get('repeat', 'seed')}s {', '.join(map(str, seeds))}")
    if record.get("commit"):
        parts.append(f"commit {str(record['commit'])[:10]}")
    software = [f"{name} {machine[name]}" for name in ("twofold", "python", "torch") if name in machine]
    hardware = [str(machine["cpu"])] if machine.get("cpu") else []
    hardware += [f"{machine[n]} {n if machine[n] != 1 else n[:-1]}" for n in ("cores", "threads") if n in machine]
    parts += [", ".join(group) for group in (software, hardware) if group]
    return f"Measured: {'; '.join(parts)}." if parts else ""


def _label(arm: Mapping[str, Any]) -> str:
    options = ", ".join(f"{k}={v}" for k, v in (arm.get("options") or {}).items())
    return f"{arm['id']} ({options})" if options else str(arm["id"])


def _each(values: Sequence[float]) -> str:
    return ", ".join(significant(v) for v in values) or MISSING


def _mean(values: Sequence[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def _short(title: str) -> str:
    return title.replace("parameters", "para-\nmeters").replace(", every ", ",\nevery ")


def _widest(title: str) -> int | None:
    return None if title in ("", "mean") or title in {shown for shown, _ in _COSTS.values()} else 34


def _sentence(words: str) -> str:
    return _stopped(words[:1].upper() + words[1:])


def _stopped(words: str) -> str:
    words = words.strip()
    return words if words.endswith((".", "!", "?")) else words + "."


def _lists(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:\n\n" + "\n".join(f"- {line}" for line in lines)] if lines else []


def _markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    words = {0, 1, 2}
    lines = [titles, ["---" if i in words else "--:" for i in range(len(titles))], *rows]
    return "\n".join(
        "| " + " | ".join(_escaped(c) if n != 1 else c for c in line) + " |" for n, line in enumerate(lines)
    )


def _escaped(words: str) -> str:
    """Text without a meaning in Markdown or HTML, on one line."""
    words = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", words)
