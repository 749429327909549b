"""Results pages, generated from the records: `python -m twofold.trials.pages docs/results`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twofold.catalog import index
from twofold.measure.reports import record as reports
from twofold.trials import records

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


def main(folder: str) -> None:
    """Writes the pages."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (place / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
