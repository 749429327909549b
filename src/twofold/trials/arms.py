"""One arm of a comparison: what is to be run, and what was measured of it, kept on disk."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from twofold.catalog import Arm, configure, resolve
from twofold.catalog import index as catalog_index
from twofold.catalog.register import add_file, own
from twofold.data.cache import digest
from twofold.errors import UserError
from twofold.tasks import ModelSystem, backbone_names

_WITH_OPTIONS = re.compile(r"(?P<id>[^()]+)\((?P<options>.*)\)", re.DOTALL)
_LONGEST = 60  # characters of an arm's folder, before what tells it from others


class Typed(Arm):
    """An arm as it is typed: `parse` reads its label as the same arm."""

    @property
    def label(self) -> str:
        """`gtr`, or `gtr (temperature=0.1, backbone=[{mixer: ssd, times: 2}])`."""
        if not self.options:
            return self.id
        return f"{self.id} ({', '.join(f'{name}={_written(value)}' for name, value in self.options.items())})"


class _Flow(yaml.SafeDumper):
    """YAML on one line, in which brackets outside quotes are always closed."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    odd = set(text) & set("\"'") or text.count("(") != text.count(")") or _pieces(text) != [text]
    style = '"' if "\n" in text else "'" if odd else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Flow.add_representer(str, _text)


def _written(value: Any) -> str:
    """A value as `parse` reads it."""
    text = yaml.dump(
        [value], Dumper=_Flow, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True
    )
    return text.strip()[1:-1]


@dataclass
class Measured:
    """An arm's figures so far; what is not measured yet is None.

    Args:
        id: of the system or baseline; `label` names its options too.
        status: "measured", "dropped at … of the budget", "left out: …" or "failed: …".
        share: of the training budget that it has spent.
        validation: the main figure on the validation part, which took `validate_seconds`.
        quality: the main figure on the test part, with its interval.
        tables: what else the test part showed, each with title, columns and rows.
        in_use: what else it costs, by name; `training_tokens_per_second` where tokens were counted.
    """

    id: str
    label: str
    options: dict[str, Any]
    title: str
    trains: bool
    status: str = "waiting"
    share: float = 0.0
    validation: float | None = None
    quality: dict[str, float] | None = None
    figures: dict[str, float] = field(default_factory=dict)
    parameters: int | None = None
    megabytes: float | None = None
    train_seconds: float | None = None
    validate_seconds: float | None = None
    latency_ms: dict[str, float] | None = None
    peak_mb: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    rungs: list[dict[str, float]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    in_use: dict[str, float] = field(default_factory=dict)
    pareto: bool = False
    recommended: bool = False

    @property
    def alive(self) -> bool:
        """Whether it is still in the comparison."""
        return not self.status.startswith(("left out", "dropped", "failed"))


class Place:
    """The folder of one arm: `figures.json`, `items.npz`, `training/` and `model/`."""

    def __init__(self, folder: Path, arm: Arm) -> None:
        slug = re.sub(r"[^a-z0-9.]+", "-", arm.label.lower()).strip("-")
        if arm.options:  # signs and brackets are lost, and a pattern may be longer than names of files are
            slug = f"{slug[:_LONGEST]}-{digest(arm.label)[:8]}"
        self.folder = folder / slug
        self.folder.mkdir(parents=True, exist_ok=True)
        self.training, self.model = self.folder / "training", self.folder / "model"
        self._figures, self._items = self.folder / "figures.json", self.folder / "items.npz"

    def load(self) -> Measured | None:
        """What was measured before, if anything."""
        if not self._figures.exists():
            return None
        return Measured(**json.loads(self._figures.read_text(encoding="utf-8")))

    def save(self, measured: Measured) -> None:
        """Keeps the figures."""
        write_json(self._figures, asdict(measured))

    def save_items(self, **items: np.ndarray) -> None:
        """Keeps the figures of single items, by part."""
        known = self.items()
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False, suffix=".npz") as file:
            np.savez(file, **{**known, **items})  # type: ignore[arg-type]
        os.replace(file.name, self._items)

    def items(self) -> dict[str, np.ndarray]:
        """The figures of single items, by part."""
        if not self._items.exists():
            return {}
        with np.load(self._items, allow_pickle=False) as saved:
            return dict(saved)


def write_json(path: Path, data: Any) -> None:
    """Writes JSON so that a reader sees the old or the new file, never half of one."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(data, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def parse(text: str) -> Arm:
    """An arm as written on the command line: `gtr`, `gtr(temperature=0.1, lr=2e-4)` or `./mine.py:Mine`.

    Raises:
        UserError: options that cannot be read, or one that is given twice.
    """
    text = text.strip()
    found = _WITH_OPTIONS.fullmatch(text)
    id, listed = (found["id"].strip(), found["options"]) if found else (text, "")
    if ".py:" in id:
        id = add_file(id)
    options: dict[str, Any] = {}
    for pair in filter(None, (p.strip() for p in _pieces(listed))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise UserError(f"cannot read the option {pair!r} of {id}; write {id}(name=value)")
        if name in options:
            raise UserError(f"{id} has the option {name} twice; give it once")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            reason = " ".join(str(getattr(error, "problem", None) or error).split())
            raise UserError(f"cannot read {name}={value} of {id} as YAML ({reason}); quote it") from None
    return Typed(id, **options)


def split_arms(text: str) -> list[str]:
    """Cuts `a,b(x=1,y=2),c` at the commas outside parentheses."""
    return [part for part in _pieces(text) if part.strip()]


def _pieces(text: str) -> list[str]:
    """Cuts at the commas that stand in no brackets and no quotes: `x=f(1,2), y={a: 1, b: 2}` in two.

    A quote opens where a value may begin, so that an apostrophe inside a word is none.
    """
    pieces, depth, quote, escaped, last = [""], 0, "", False, ","
    for character in text:
        if quote:
            # Two single quotes inside single ones close them and open them again.
            if character == quote and not escaped:
                quote = ""
            escaped = quote == '"' and character == "\\" and not escaped
            pieces[-1] += character
            last = character
            continue
        if character in "\"'" and (last in ",=([{:" or last == character):
            quote, escaped = character, False
        depth += (character in "([{") - (character in ")]}")
        last = last if character.isspace() else character
        if character == "," and depth <= 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def choose(task: str, systems: Sequence[str] | None) -> list[tuple[Arm, ModelSystem]]:
    """The arms that were named, or every model and baseline that serves the task but those `by_name`; baselines first.

    `["all"]` names every one that there is.

    Raises:
        UserError: an unknown system, or one that does not serve the task.
    """
    if systems is None or list(systems) == ["all"]:
        cards = [c["id"] for c in catalog_index.select(task=task, kind="model")]
        mine = [i for i, cls in own().items() if task in cls.card.tasks and cls.kind == "model"]  # type: ignore[attr-defined]
        arms: list[Arm] = [
            Typed(i) for i in [*cards, *mine] if systems is not None or not getattr(resolve(i), "by_name", False)
        ]
    else:
        arms = [parse(s) for s in systems]
    chosen = []
    for arm in arms:
        chosen.append((arm, _configured(arm, task)))
    if not chosen:
        raise UserError(f"no system serves {task!r}")
    return sorted(chosen, key=lambda pair: pair[1].trains)


def _configured(arm: Arm, task: str) -> ModelSystem:
    """The arm's system; a backbone that is none for the task is refused with the arm that it can be."""
    try:
        cls: Any = resolve(arm.id)
    except UserError:
        if backbone_names.as_arm(arm.id, task) is None:
            if backbone_names.sized(arm.id):
                raise UserError(f"{arm.id} is no arm of {task!r}; {backbone_names.fix(arm.id, task)}") from None
            if (meant := backbone_names.nearest(arm.id, task)) is None:
                raise
            raise UserError(f'unknown system {arm.id!r}. Did you mean the backbone --systems "{meant}"?') from None
        raise UserError(f"{arm.id} is no system by itself; {backbone_names.fix(arm.id, task)}") from None
    if cls.kind != "model" or task not in cls.card.tasks:
        serves = ", ".join(cls.card.tasks)
        raise UserError(
            f"{arm.id} does not serve {task!r}: it is a {cls.kind} for {serves}; {backbone_names.fix(arm.id, task)}"
        )
    made: ModelSystem = configure(arm)
    if arm.options:
        try:
            made.check()
        except UserError as error:
            raise UserError(f"{arm.label}: {error}") from None
    return made
