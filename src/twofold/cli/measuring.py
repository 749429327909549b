"""`compare`, `evaluate`, `reproduce`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from twofold import api
from twofold.cli import output
from twofold.cli.values import columns, settings
from twofold.errors import UserError


def compare(arguments: Namespace) -> None:
    """The table, the recommendation, and how to use the best one."""
    from twofold.measure.reports import compare as report
    from twofold.trials.arms import split_arms

    data = api.compare(
        arguments.task,
        arguments.data,
        systems=None if arguments.systems is None else split_arms(arguments.systems),
        minutes=arguments.minutes,
        out=arguments.out,
        seed=arguments.seed,
        columns=columns(arguments.columns),
        device=arguments.device,
        dtype=arguments.dtype,
        fresh=arguments.fresh,
    )
    if arguments.json:
        return output.as_json(data)
    print(report.terminal(data))
    print(f"Report: {Path(arguments.out) / 'report.html'}")
    if data.get("best"):
        use = {
            "search": 'search {} "what you look for"',
            "language": 'generate {} "once upon"',
            "classify": "predict {} yours.csv",
            "recommend": "recommend {} USER",
        }
        chosen: dict[str, Any] = next((row for row in data["rows"] if row["recommended"]), {})
        if data["task"] == "language" and not chosen.get("parameters"):
            del use["language"]  # what only measures texts
        print("Use it: twofold " + use.get(data["task"], "evaluate {} YOURS").format(data["best"]))


def evaluate(arguments: Namespace) -> None:
    """Figures by name."""
    found = api.evaluate(
        arguments.model,
        arguments.data,
        part=arguments.part,
        columns=columns(arguments.columns),
        device=arguments.device,
        dtype=arguments.dtype,
        queries=arguments.queries,
        qrels=arguments.qrels,
        rerank=arguments.rerank,
        run=arguments.run,
        engine=arguments.engine,
        built_by=arguments.built_by,
    )
    if arguments.queries is not None:
        return _judged(found, arguments)
    if arguments.json:
        return output.as_json({"part": arguments.part, "items": len(found.items), "figures": found.figures})
    output.table([(name, output.figure(value)) for name, value in found.figures.items()], indent="")
    print(f"over {len(found.items):,} items of the {arguments.part} part")


def _judged(found: Any, arguments: Namespace) -> None:
    if arguments.json:
        return output.as_json({"queries": len(found.items), "figures": found.figures})
    output.table([(name, output.figure(value)) for name, value in found.figures.items()], indent="")
    print(f"over {len(found.items):,} queries of {arguments.queries}")


def reproduce(arguments: Namespace) -> int:
    """The verdict with its effect, and every repeat."""
    if arguments.pending == (arguments.system is not None):
        raise UserError("name one system, such as: reproduce gtr, or every one that waits: reproduce --pending")
    if arguments.pending:
        return _pending(arguments)
    if arguments.data is not None and (arguments.timings or arguments.retune):
        raise UserError(
            "--data takes the options that the record names and measures no times; leave out --retune, --timings"
        )
    if arguments.seeds is not None and arguments.seeds < 1:
        raise UserError(f"--seeds is {arguments.seeds}; give at least 1")
    record = api.reproduce(
        arguments.system,
        seeds=arguments.seeds,
        first_seed=arguments.first_seed,
        retune=arguments.retune,
        timings=arguments.timings,
        side=not arguments.no_side,
        dry_run=arguments.dry_run,
        records=arguments.records,
        data=arguments.data,
        columns=columns(arguments.columns),
        options=settings(arguments.set),
    )
    if arguments.json:
        output.as_json(record)
    else:
        _print(record)
    return 0


def _pending(arguments: Namespace) -> int:
    from twofold.trials.reproduce import pending

    verdicts = pending(arguments.jobs, folder=arguments.records)
    if arguments.json:
        output.as_json(verdicts)
    elif verdicts:
        output.table(list(verdicts.items()), indent="")
    else:
        print("Every claim has a fresh record.")
    return 1 if any(verdict.startswith("failed") for verdict in verdicts.values()) else 0


def _print(record: dict[str, Any]) -> None:
    from twofold.measure.reports import terminal

    claim, effect = record["claim"], record["effect"]
    metric = claim["metric"]
    print(f"{record['id']}: {record['verdict']}")
    print(claim["says"])
    rows = [
        row
        for arm, role in zip(record["arms"], ("baseline", "method"), strict=True)
        for row in _rows(arm, metric, role)
    ]
    rows += [row for arm in record["checks"] if "id" in arm for row in _rows(arm, metric, "beside")]
    print()
    print(terminal.text(terminal.table(("arm", "role", metric, "each repeat"), rows)), end="")
    print()
    print(f"effect {effect['mean']:+.4f}, 95 % interval {effect['low']:+.4f} to {effect['high']:+.4f}: {record['why']}")
    for check in record["checks"]:
        if "data" in check:
            print(f"on {check['data']['name']}: {check['verdict']}, {check['why']}")


def _rows(arm: dict[str, Any], metric: str, role: str) -> list[tuple[str, str, float, str]]:
    """An arm's lines: one, or one for each `metric.name` of a study that measures several things at once."""
    options = ", ".join(f"{k}={v}" for k, v in arm["options"].items())
    name = f"{arm['id']} ({options})" if options else arm["id"]
    found = []
    for figure, values in arm["figures"].items():
        if figure == metric or figure.startswith(f"{metric}."):
            shown = name if figure == metric else f"{arm['id']}: {figure.removeprefix(f'{metric}.')}"
            found.append((shown, role, sum(values) / len(values), "  ".join(f"{v:.4f}" for v in values)))
    return found
