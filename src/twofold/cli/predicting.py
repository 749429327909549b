"""`predict`: over texts, tables, and files or folders of images; what answers for every pixel is written as images."""

from __future__ import annotations

import inspect
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twofold.cli import files, output
from twofold.cli.using import as_json, using, write, written
from twofold.cli.values import columns, settings
from twofold.data import Rows, read
from twofold.data.images import is_image
from twofold.data.rows import listed
from twofold.errors import UserError, unknown
from twofold.measure.reports.terminal import plain

_FEW = 3  # probabilities that a person sees of one input
_NAMES = ("prediction", "probability")


def predict(arguments: Namespace) -> None:
    """What each input is, with its probability; a table keeps its columns and gains these two."""
    with using(arguments, "predict") as model:
        if hasattr(model, "write"):
            return _pixels(model, arguments)
        files.check_ending(arguments.out)
        chosen = _settings(model, arguments)
        kind = model.spec.get("input", {}).get("kind", "text")
        found = (
            _images(arguments)
            if kind == "image"
            else files.given(arguments.inputs, ("text",), columns(arguments.columns))
        )
        wanted = "image" if kind == "image" else "text"
        inputs = files.texts(found, (wanted,))
        told = model.predict(list(inputs), **chosen)
    kept = found.columns if isinstance(found, Rows) else {wanted: inputs}
    taken = [name for name in _NAMES if name in kept]
    if taken:
        raise UserError(f"the data already have a column {listed(taken)}; rename it before predicting")
    flat = arguments.out is not None and arguments.out.lower().endswith((".csv", ".tsv"))
    rows = []
    for i, each in enumerate(told):
        answer = "|".join(each.answer) if flat and isinstance(each.answer, list) else each.answer
        row = {name: values[i] for name, values in kept.items()} | {"prediction": answer}
        if each.probability is not None:
            row["probability"] = round(each.probability, 6)
        rows.append(row)
    if arguments.out is not None:
        write(rows, arguments)
    elif arguments.json:
        more = [
            {**row, "probabilities": {k: round(v, 6) for k, v in each.probabilities.items()}}
            if each.probabilities
            else row
            for row, each in zip(rows, told, strict=True)
        ]
        as_json(more, found)
    else:
        output.table([_line(each, str(text)) for each, text in zip(told, inputs, strict=True)], indent="")


def _pixels(model: Any, arguments: Namespace) -> None:
    """What every pixel of each image is: in a few words, or as images in a folder."""
    _settings(model, arguments)
    found = _images(arguments)
    inputs = files.texts(found, ("image",))
    if arguments.out is not None:
        if files.is_file(arguments.out) or Path(arguments.out).suffix:
            raise UserError(f"answers for every pixel are images; give -o a folder, not {arguments.out}")
        made = model.write(inputs, arguments.out)
        return written(f"{len(made):,} images", arguments)
    targets, answers = model.targets, model.predict(list(inputs))
    told = [{name: targets[name].summary(own) for name, own in answer.items()} for answer in answers]
    if arguments.json:
        as_json([{"image": str(path)} | each for path, each in zip(inputs, told, strict=True)], found)
    else:
        pairs = zip(inputs, told, strict=True)
        output.table([(name, said, plain(str(path))) for path, each in pairs for name, said in each.items()], indent="")


def _settings(model: Any, arguments: Namespace) -> dict[str, Any]:
    """What `--set` says, if the model's `predict` takes it."""
    chosen = settings(arguments.set)
    known = [name for name in inspect.signature(model.predict).parameters if name != "inputs"]
    for name in chosen:
        if name not in known:
            raise unknown(f"setting of predicting with {model.name}", name, known)
    if isinstance(chosen.get("labels"), str):
        chosen["labels"] = [label.strip() for label in chosen["labels"].split(",")]
    return chosen


def _images(arguments: Namespace) -> Rows | list[str]:
    """Paths of images: those that were typed, those in a folder, or the column `image` of a table."""
    words: list[str] = arguments.inputs
    if len(words) == 1 and os.path.isdir(words[0]):
        paths = sorted(str(path) for path in Path(words[0]).rglob("*") if is_image(path))
        if not paths:
            raise UserError(f"{words[0]} holds no images")
        return Rows.of({"image": paths}, name=words[0], source=words[0])
    if len(words) == 1 and not is_image(Path(words[0])):
        rows = read(words[0], columns=columns(arguments.columns))
        rows.require("image")
        return rows
    return words


def _line(told: Any, text: str) -> tuple[str, str, str]:
    answer: Any = told.answer
    if isinstance(answer, float):
        return f"{answer:.4g}", "", plain(text)
    said = " | ".join(answer) if isinstance(answer, list) else answer
    return said or "(none)", _likeliest(told.probabilities), plain(text)


def _likeliest(probabilities: Mapping[str, float]) -> str:
    best = sorted(probabilities.items(), key=lambda pair: -pair[1])[:_FEW]
    return "  ".join(f"{label} {value:.2f}" for label, value in best)
