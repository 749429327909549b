"""`fit`, `apply`, `study`."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twofold import api
from twofold.catalog import Arm, Steps
from twofold.cli import files, output
from twofold.cli.values import columns, settings
from twofold.data import NAMES, Rows
from twofold.errors import UserError
from twofold.trials.arms import parse, split_arms

_FLAGS = ("columns", "data", "device", "dtype", "fresh", "json", "minutes", "out", "quiet", "seed", "steps", "task")

if TYPE_CHECKING:
    from twofold.tasks import Model, Report


def fit(arguments: Namespace) -> None:
    """Trains and saves."""
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f"--steps is {arguments.steps}; give at least 1")
    if arguments.steps is not None and arguments.minutes is not None:
        raise UserError("--steps and --minutes both say how long to train; give one of them")
    model = api.fit(
        _arm(arguments),
        arguments.data,
        task=arguments.task,
        **({} if arguments.minutes is None else {"minutes": arguments.minutes}),
        budget=Steps(arguments.steps) if arguments.steps is not None else None,
        seed=arguments.seed,
        out=arguments.out,
        columns=columns(arguments.columns),
        device=arguments.device,
        dtype=arguments.dtype,
        fresh=arguments.fresh,
    )
    _made(model, arguments)
    if not arguments.json:
        words = ["twofold", "evaluate", arguments.out]
        words += [arguments.data] if arguments.data else []
        words += ["--columns", arguments.columns] if arguments.columns else []
        print(f"How good is it? {shlex.join(words)}")


def apply(arguments: Namespace) -> None:
    """Changes and saves; says what each step reported."""
    from twofold.api import chains

    if chains.on_files(arguments.systems, arguments.model):
        return _files(arguments)
    model = api.apply(
        _chain(arguments),
        arguments.model,
        arguments.data,
        seed=arguments.seed,
        columns=columns(arguments.columns),
        device=arguments.device,
        out=arguments.out,
        fresh=arguments.fresh,
    )
    _made(model, arguments)
    if not arguments.json:
        for entry in model.history[-len(split_arms(arguments.systems)) :]:
            print(output.style(entry["id"], "bold"))
            _print_step(entry["report"])


def study(arguments: Namespace) -> None:
    """Reports; with `-o` also as a page."""
    model, data = arguments.model, arguments.data
    if data is None and model is not None and _is_data(model):
        model, data = None, model
    if data is not None and not (data in NAMES or files.is_file(data) or os.path.exists(data)):
        data = Rows.of({"text": [data]}, name="text", source="the command line")
    report = api.study(
        _arm(arguments),
        model,
        data,
        seed=arguments.seed,
        columns=columns(arguments.columns),
        device=arguments.device,
    )
    if arguments.out is not None:
        _write(report, arguments.system, Path(arguments.out))
    if arguments.json:
        output.as_json(report.as_dict())
    else:
        _print(report)
        if arguments.out is not None:
            print(f"Written to {arguments.out}/report.html")


def _files(arguments: Namespace) -> None:
    """Files that are packed or unpacked without being opened as a model."""
    report = api.apply_files(_chain(arguments)[0], arguments.model, arguments.out, fresh=arguments.fresh)
    if arguments.json:
        return output.as_json({"out": arguments.out, **report})
    share = report["coded"] / max(1, report["raw"])
    print(f"{arguments.out}: {report['raw']:,} bytes of safetensors, {report['coded']:,} packed ({share:.1%})")
    _print_step({name: value for name, value in report.items() if isinstance(value, list)})


def _arm(arguments: Namespace) -> Arm:
    """The system with what `--set` says of it."""
    return _set(parse(arguments.system), settings(arguments.set), arguments)


def _chain(arguments: Namespace) -> list[Arm]:
    """Every system of a chain with what `--set` says of it."""
    from twofold.api import chains

    return [_set(arm, own, arguments) for arm, own in chains.steps(arguments.systems, settings(arguments.set))]


def _set(arm: Arm, own: dict[str, Any], arguments: Namespace) -> Arm:
    """The arm with more options: they go with it, so that none is taken for an argument of the call."""
    from twofold.api import chains

    known = [option.name for option in fields(chains.system_class(arm.id))]
    for name, value in own.items():
        if name not in known and name in _FLAGS and hasattr(arguments, name):
            flag = f"--{name}" if isinstance(getattr(arguments, name), bool) else f"--{name} {value}"
            raise UserError(f"{arm.id} has no option {name!r}, the command has: write {flag} instead of --set {name}=…")
    return Arm(arm.id, **{**arm.options, **own})


def _is_data(given: str) -> bool:
    """Whether what stands in the model's place can only be data: a data set's name, or a file that is no checkpoint."""
    return given in NAMES or (os.path.isfile(given) and not given.lower().endswith(".gguf"))


def _made(model: Model, arguments: Namespace) -> None:
    if arguments.json:
        return output.as_json(
            {"out": arguments.out, "task": model.task, "parameters": model.parameters, "history": model.history}
        )
    size = f", {model.parameters:,} parameters" if model.parameters else ""
    print(f"{arguments.out}: a model for {model.task}, made by {model.name}{size}")


def _print(report: Report) -> None:
    from twofold.measure.reports import terminal

    if report.text:
        print(report.text)
        print()
    for table in report.tables:
        print(terminal.text(terminal.table(table.columns, table.rows, title=table.title)))
    output.table([(name.replace("_", " "), output.figure(value)) for name, value in report.figures.items()], indent="")


def _write(report: Report, system: str, out: Path) -> None:
    """`report.html` for a person, `report.json` for a program, and the weights that the study made."""
    from twofold.measure.reports import study as page

    out.mkdir(parents=True, exist_ok=True)
    files.write_text(page.render(report, f"Study: {system}"), out / "report.html")
    files.write_text(output.json_text(report.as_dict()) + "\n", out / "report.json")
    for name, own in report.tensors.items():
        files.write_tensors(own, out / name)


def _print_step(report: dict[str, Any]) -> None:
    """What a transform reported: figures, and a table for each list of entries such as layers."""
    from twofold.measure.reports import terminal

    tables = {
        name: rows for name, rows in report.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)
    }
    output.table([(name, _short(value)) for name, value in report.items() if name not in tables])
    for rows in tables.values():
        names = list(dict.fromkeys(name for row in rows for name in row))
        print(terminal.text(terminal.table(names, [[row.get(name) for name in names] for row in rows])), end="")


def _short(value: Any) -> str:
    return output.figure(value) if isinstance(value, float) else str(value)
