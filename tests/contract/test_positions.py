"""Positions beyond the longest input, experts beyond tokens: harmless, or refused with a fix that works as typed."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import torch

from twofold.catalog import Steps, configure, index
from twofold.cli.values import settings
from twofold.errors import UserError
from twofold.tasks import ModelSystem
from twofold.tasks import task as task_named
from twofold.tasks.examples import rows_for, small_images, small_problems, small_rows

FAMILIES = ("mixers", "capacity")
FAR = (1_000_000, 1_000_001)  # even and odd

REFUSED: dict[str, dict[str, Any]] = {
    "conv": {},
    "crate.patch": {},
    "combiner.width": {},
    "kernel": {},
    "laughing-hyena.order": {},
    "length": {},
    "masformer.width": {},
    "mblm.patches.1": {},
    "short": {},
    "sparse-transformer.summary": {"attention": "fixed"},
    "stride": {},
    "vcc.sizes": {},
    "window": {},
}
"""Positions that are refused where they are too many, by option, system and option, or number in a list; and what else
must be set for them to count."""

HARMLESS = {
    "banyan.tokens": "sentences are cut there",
    "chunk": "changes speed only, and a text is one piece",
    "mblm.chunks": "there are no more pieces than patches",
    "mblm.patches.0": "patches that are not there cost nothing",
    "pixelbytes.length": "in front of a caption the window is padded",
    "source_tokens": "texts are cut there",
    "target_tokens": "texts are cut there",
    "vcc.before_time": "short sequences are no longer than those of the data",
    "vcc.first": "a text of important tokens is read whole",
    "vcc.last": "a text of important tokens is read whole",
    "vcc.rows": "shorter texts are read whole",
    "vcc.tokens": "texts are cut there",
}
"""Positions that may be more than there are, and why."""

OTHER = {
    "widths": "banyan.width channels components decoder dim dims expand group head_dim hidden lowrank-ffn.sizes state "
    "wave-rnn.positions widths",
    "heads": "heads kernels kv_heads mixer_heads token_heads",
    "layers": "attention_every decoder_layers depths encoder_layers every full_layers head_layers iterations layers "
    "stacks tail_layers tune_layers",
    "experts": "experts k pyramid",
    "data": "activation_bits batch budget colours examples judged study_texts study_vocab texts vocab",
    "rounds": "before between given pool queries repeats starts steps study_rounds study_steps table",
}
"""Whole numbers that are no positions of the input, by what they count; a ring's positions are its state's width."""

CHEAP = {"batch": 2, "before": 0, "backbone": "attention-1x32"}
"""Options, where a system has them, with which it trains in a moment."""


def integers(option: dict[str, Any]) -> list[str]:
    """An empty text for a whole number, ".0", ".1", … for those of a list; none for what is neither."""
    ways = [option, *option.get("anyOf", [])]
    if any(way.get("type") == "integer" for way in ways):
        return [""]
    items = [way.get("items", {}).get("type") for way in ways if way.get("type") == "array"]
    return [f".{place}" for place in (0, 1)] if "integer" in items else []


def names(id: str, option: str) -> list[str]:
    """What a table may call a system's option, or a number of a list: `patches.0` is also `patches`."""
    bare = option.partition(".")[0]
    return [f"{id}.{option}", f"{id}.{bare}", bare]


EVERY = [
    (card["id"], option + place)
    for family in FAMILIES
    for card in index.select(kind="model", family=family)
    for option, schema in card["options"].items()
    for place in integers(schema)
]
"""Systems and their whole numbers."""


def entry(table: dict[str, Any], id: str, option: str) -> Any:
    return next(table[name] for name in names(id, option) if name in table)


def cases(table: Any) -> list[tuple[str, str]]:
    """The whole numbers that a table speaks of."""
    return [case for case in EVERY if not set(table).isdisjoint(names(*case))]


@cache
def small(id: str) -> Any:
    return configure(id).small()


@cache
def data_for(id: str) -> tuple[Any, ...]:
    """A little of everything that a system can learn from."""
    system = small(id)
    made: dict[str, list[Any]] = {"solve": [small_problems(), "loose-pair(time=32)"], "language": [small_rows()]}
    made["classify"] = [{"text": small_rows, "image": small_images}[kind]() for kind in system.reads]
    tasks = [name for name in system.card.tasks if name in ("classify", "language", "solve")] or [system.card.tasks[0]]
    read = [task_named(name).read(rows) for name in tasks for rows in made.get(name, [rows_for(system)])]
    return tuple(data for data in read if system.serves(data) is None)


def refusal(system: ModelSystem, data: Any) -> str | None:
    try:
        system.check()
    except UserError as error:
        return str(error)
    return system.serves(data)


def advised(message: str) -> list[dict[str, Any]]:
    """The settings that a message says to use, each as it would be typed."""
    ways = re.split(r",? or ", message.partition("; use ")[2])
    pairs = (re.findall(r"\b\w+=(?:\[[\d,]+\]|\d+)", way) for way in ways)
    return [settings(each) for each in pairs if each]


def far(id: str, option: str, value: int, more: dict[str, Any]) -> Any:
    """The small system with so many positions, or as many as the option takes.

    Raises:
        UserError: what `configure` says.
    """
    name, _, place = option.partition(".")
    options = {**small(id).options(), **more}
    schema = index.card(id)["options"][name]
    new: Any = min(value, schema.get("maximum", value))
    if place:
        new = list(options[name])
        new[int(place)] = value
    return configure(id, **{**options, name: new})


def test_every_whole_number_is_known() -> None:
    known = {*REFUSED, *HARMLESS, *(name for those in OTHER.values() for name in those.split())}
    unknown = [case for case in EVERY if known.isdisjoint(names(*case))]
    assert not unknown, "say what these count: positions that are refused, harmless ones, or something else"
    assert known <= {name for case in EVERY for name in names(*case)}, "no system has these"


@pytest.mark.parametrize(("id", "option"), [case for case in cases(REFUSED) if case not in cases(HARMLESS)])
def test_too_many_are_refused_with_what_works(id: str, option: str) -> None:
    more = entry(REFUSED, id, option)
    for value in FAR:
        system = far(id, option, value, more)
        refusals = {message: data for data in data_for(id) if (message := refusal(system, data)) is not None}
        assert refusals
        for message, data in refusals.items():
            fixed = [configure(id, **{**system.options(), **fix}) for fix in advised(message)]
            for each in fixed:
                each.check()
            assert None in [each.serves(data) for each in fixed], message


@pytest.mark.parametrize(("id", "option"), cases(HARMLESS))
def test_what_is_harmless_trains(id: str, option: str) -> None:
    assert entry(HARMLESS, id, option)
    for data in data_for(id):
        system = far(id, option, FAR[0], {name: CHEAP[name] for name in CHEAP if name in small(id).options()})
        assert refusal(system, data) is None
        model = system.fit(data, Steps(1)).model
        assert all(torch.isfinite(p).all() for p in model.net.parameters())


@pytest.mark.parametrize("id", ["moe-lm", "mh-moe", "deepspeed-moe"])
@pytest.mark.parametrize("k", [1, 4, 12, 1000])
@pytest.mark.parametrize("experts", [6, 100, 10_000])
@pytest.mark.parametrize("router", ["softmax-topk", "switch"])
def test_experts_and_how_many_a_token_meets_are_refused_at_once(id: str, k: int, experts: int, router: str) -> None:
    many = {"pyramid": [experts, experts + 1]} if id == "deepspeed-moe" else {"experts": experts}
    shape = {"dim": 16, "heads": 2, "layers": 2, "batch": 1, "length": 8}
    options: dict[str, Any] = {**shape, **many, "k": k, "router": router}
    try:
        configure(id, **options).check()
    except UserError as error:
        fixes = advised(str(error))
        assert fixes
        for fix in fixes:
            configure(id, **{**options, **fix}).check()
    else:
        assert k <= max(experts, 16)
