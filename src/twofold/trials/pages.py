"""Results pages and the README's table, generated from the records: `python -m twofold.trials.pages docs/results`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twofold.catalog import index
from twofold.measure.reports import record as reports
from twofold.trials import records

START, END = "<!-- systems:start -->", "<!-- systems:end -->"
"""Between these the README's table stands."""

VERDICTS = {
    "holds": "the effect was measured, at least as large as asked",
    "leans": "the effect was measured, but not surely or not as large as asked",
    "fails": "no such effect at this scale",
    "void": "a condition was not met, so the comparison says nothing",
    "not shown yet": "no record",
}


def pages() -> dict[str, str]:
    """{file name: Markdown} of the index page and one page a family."""
    families: dict[str, list[dict[str, Any]]] = {}
    for card in index.cards():
        if "claim" in card:
            families.setdefault(card["family"], []).append(card)
    out = {"index.md": _overview(families)}
    for family, cards in families.items():
        parts = [f"# Results: {family}\n"]
        for card in sorted(cards, key=lambda c: str(c["id"])):
            record = records.read(card["id"])
            body = reports.markdown(record) if record is not None else "Not shown yet.\n"
            parts.append(f"## {card['id']}: {card['title']}\n\n{card['claim']['says']}\n\n{body}")
        out[f"{family}.md"] = "\n".join(parts)
    return out


def _overview(families: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["# Results\n", "Every claim, measured again beside its baseline, whichever way it came out.\n"]
    lines += [f"- **{name}**: {meaning}" for name, meaning in VERDICTS.items()]
    lines += ["", "| system | family | claim | verdict | effect |", "|---|---|---|---|---|"]
    for family, cards in sorted(families.items()):
        for card in sorted(cards, key=lambda c: str(c["id"])):
            record = records.read(card["id"])
            shown = reports.effect(record) if record is not None else "–"
            verdict = record["verdict"] if record else "not shown yet"
            lines.append(f"| [{card['id']}]({family}.md) | {family} | {card['claim']['says']} | {verdict} | {shown} |")
    return "\n".join(lines) + "\n"


def table() -> str:
    """The README's table: every system with what is claimed of it and the verdict."""
    cards = [card for card in index.cards() if "claim" in card]
    lines = ["| system | kind | claim | verdict |", "|---|---|---|---|"]
    for card in sorted(cards, key=lambda c: (str(c["family"]), str(c["id"]))):
        record = records.read(card["id"])
        kinds = ", ".join(index.kinds(card))
        verdict = f"{record['verdict']}, {reports.effect(record)}" if record else "not shown yet"
        lines.append(f"| `{card['id']}` [{card['number']}] | {kinds} | {card['claim']['says']} | {verdict} |")
    return "\n".join(lines) + "\n"


def with_table(readme: str) -> str:
    """A README with the table between its two marks."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    return f"{before}{start}\n{table()}{end}{after}" if end else readme


def main(folder: str) -> None:
    """Writes the pages, and the table of the README two folders above."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (place / name).write_text(text, encoding="utf-8")
    readme = place.resolve().parent.parent / "README.md"
    if readme.is_file():
        readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
