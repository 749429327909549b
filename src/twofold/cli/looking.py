"""`list`, `find`, `show`, `cite`: they read the index and load nothing heavy."""

from __future__ import annotations

from twofold import api
from twofold.catalog.index import kinds
from twofold.cli import output
from twofold.errors import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    Card = dict[str, Any]

_TYPES = {"boolean": "true or false", "string": "text", "integer": "whole number", "object": "settings"}
_BACKBONES = {
    "mixer": "mixers, with layers x width: ssd-2x128",
    "system": "systems, with layers x width: swan-gpt-2x128",
    "preset": "encoders for search and classify, with layers x width: t5-2x128",
    "reference": "reference models",
    "checkpoint": "checkpoints; or the folder of one",
}
_COLOURS = {"holds": "green", "leans": "yellow", "fails": "red", "void": "yellow"}


def list_(arguments: Namespace) -> None:
    """A table for each family; or of what a backbone can be, for each kind of name."""
    if arguments.backbones:
        return _backbones(arguments)
    cards = api.list(task=arguments.task, kind=arguments.kind, family=arguments.family)
    if arguments.json:
        return output.as_json(cards)
    for family in dict.fromkeys(card["family"] for card in cards):
        print(output.style(family, "bold"))
        output.table([_row(card) for card in cards if card["family"] == family])
        print()
    print(f"{_counted(len(cards), 'system')}. twofold show ID says more.")


def find(arguments: Namespace) -> None:
    """The best matches, best first."""
    cards = api.find(" ".join(arguments.need), limit=arguments.limit, semantic=arguments.semantic)
    if arguments.json:
        return output.as_json(cards)
    if not cards:
        print("Nothing matches these words. Try others, or: twofold find … --semantic")
    output.table([_row(card) for card in cards], indent="")


def show(arguments: Namespace) -> None:
    """One card."""
    card = api.show(arguments.system)
    if arguments.json:
        return output.as_json(card)
    if card["kind"] == "part":
        print(output.style(card["id"], "bold") + f"  {card['summary']}")
        _show_network(card)
        _show_lines("Remember", [card["note"]] if card["note"] else [])
        return _show_lines("Use", card["use"])
    number = f" [{card['number']}]" if "number" in card else ""
    print(output.style(f"{card['id']}{number}", "bold") + f"  {card['summary']}")
    year = f" ({card['year']})" if "year" in card else ""
    print(f"{card['title']}{year}")
    if card.get("source"):
        print(card["source"])
    *others, last = kinds(card)
    kind = f"{', '.join(others)} and {last}" if others else last
    print(f"{kind} for {', '.join(card['tasks'])}; family {card['family']}")
    _show_network(card)
    _show_options(card)
    _show_claim(card)
    _show_lines("Good for", card.get("needs", ()))
    _show_lines("Simpler than the paper", card.get("simplified", ()))
    _show_lines("Use", _uses(card))
    _show_lines("Use as a backbone", (card.get("network") or {}).get("use", ()))
    _show_lines(f"The backbone that is called {card['id']} too", card.get("namesake", ()))


def cite(arguments: Namespace) -> None:
    """An entry for each system."""
    entries = {system: api.cite(system) for system in arguments.systems}
    if arguments.json:
        return output.as_json(entries)
    print("\n\n".join(entries.values()))


def _row(card: Card) -> tuple[str, ...]:
    verdict = card.get("verdict", "" if card.get("number") is None else "no claim")
    return card["id"], ", ".join(kinds(card)), ", ".join(card["tasks"]), verdict, card["summary"]


def _backbones(arguments: Namespace) -> None:
    """Names by kind, with how each kind is written."""
    if arguments.task or arguments.kind or arguments.family:
        raise UserError("--backbones lists names, not systems; give it without --task, --kind and --family")
    found = api.backbones()
    if arguments.json:
        return output.as_json(found)
    for kind, title in _BACKBONES.items():
        print(output.style(title, "bold"))
        output.table([(each["id"], each["summary"]) for each in found if each["kind"] == kind])
        print()
    print("twofold show NAME draws the blocks of a mixer or a system.")


def _show_network(card: Card) -> None:
    """A drawing of the blocks, and what a token costs."""
    net = card.get("network")
    if net is None:
        return
    _heading("Blocks")
    print("\n".join(f"  {line}" for line in net["blocks"]))
    print()
    rows = []
    if net["flops_per_token"] is not None:
        each = ", ".join(f"{count / 1e6:.2f} M at {int(t):,}" for t, count in net["flops_per_token"].items())
        rows.append(("a token costs", f"{each} tokens (operations; about T^{net['exponent']:g} at the end)"))
    cache = net["cache"]
    if cache is None:
        rows.append(("cache", "none: it needs the whole sequence at once"))
    else:
        sizes = ", ".join(f"{count / 1024:,.0f} kB at {int(t):,}" for t, count in cache["bytes"].items())
        rows.append(("cache grows", f"{cache['growth']}: {sizes}"))
    rows += [("positions", net["positions"]), ("learns by", ", ".join(net["objectives"]))]
    output.table(rows)


def _show_options(card: Card) -> None:
    rows = [
        (name, _value(schema.get("default"), "default" in schema), allowed(schema), schema.get("description", ""))
        for name, schema in card["options"].items()
    ]
    if rows:
        _heading("Options")
        output.table(rows, ("name", "default", "allowed", "what it is"))


def _show_claim(card: Card) -> None:
    claim = card.get("claim")
    if claim is None:
        return
    verdict = card.get("verdict", "not shown yet")
    coloured = output.style(verdict, _COLOURS[verdict]) if verdict in _COLOURS else verdict
    _heading(f"Claim: {coloured}")
    less = claim.get("direction") == "lower"
    effect = f"at most {claim['by']} worse, for less" if claim.get("parity") else f"by at least {claim['by']}"
    rows = [
        ("says", claim["says"]),
        ("paper", claim["paper"]),
        ("baseline", _arm(claim["arms"][0])),
        ("method", _arm(claim["arms"][1])),
        ("figure", f"{claim['metric']} on {claim['data']} ({'lower' if less else 'higher'} is better), {effect}"),
        ("repeats", f"{claim['repeats']}, one a {claim['repeat']}"),
    ]
    if "budget" in claim:
        rows.append(("budget", ", ".join(f"{amount:g} {unit}" for unit, amount in claim["budget"].items())))
    output.table(rows)


def _show_lines(title: str, lines: Any) -> None:
    if lines:
        _heading(title)
        output.table([(line,) for line in lines])


def _heading(text: str) -> None:
    print()
    print(output.style(text, "bold"))


def _arm(arm: Card) -> str:
    options = ", ".join(f"{k}={_value(v)}" for k, v in arm["options"].items())
    return f"{arm['id']} ({options})" if options else str(arm["id"])


def _uses(card: Card) -> tuple[str, ...]:
    ways = {
        "model": f"twofold fit {card['id']} my.jsonl -o model/",
        "transform": f"twofold apply {card['id']} model/ my.jsonl -o changed/",
        "study": f"twofold study {card['id']}",
    }
    return tuple(ways[kind] for kind in kinds(card))


def _value(value: Any, given: bool = True) -> str:
    """An option's value as it is typed after `--set name=`."""
    if not given:
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_value(v) for v in value)
    return str(value)


def allowed(schema: Card) -> str:
    """What a JSON schema allows, in a few words: `number above 0`, `true or false`, `a, b or c`."""
    if "anyOf" in schema:
        return " or ".join("none" if s.get("type") == "null" else allowed(s) for s in schema["anyOf"])
    if "enum" in schema:
        *most, last = map(str, schema["enum"])
        return f"{', '.join(most)} or {last}" if most else last
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {allowed(schema['items'])}" if "items" in schema else "list"
    return f"{_TYPES.get(kind, kind)} {_bounds(schema)}".rstrip()


def _bounds(schema: Card) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {schema[key]:g}" for key, word in words.items() if key in schema)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
