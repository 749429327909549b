"""Systems with their options set, and transforms one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twofold import data as sources
from twofold import progress
from twofold.api import places
from twofold.catalog import Arm, configure, resolve
from twofold.checkpoints.folder import MANIFEST
from twofold.checkpoints.packed import PLAIN, SUFFIXES
from twofold.data.rows import Rows
from twofold.errors import UserError, did_you_mean
from twofold.tasks import Model, backbone_names, task
from twofold.trials.arms import parse, split_arms

Source = str | Path | Rows

_WAYS = {"model": "fit", "transform": "apply", "study": "study"}


def system_class(id: str) -> type:
    """The class of a system.

    Raises:
        UserError: no such system; names the nearest, or how a backbone of that name is trained.
    """
    try:
        return resolve(id)
    except UserError:
        if (command := backbone_names.trained(id)) is None:
            raise
        raise UserError(f"{id} is no system by itself but a backbone; train it with: {command}") from None


def configured(system: str | Arm, options: Mapping[str, Any], kind: str) -> Any:
    """A system of the kind that is wanted, with its options checked.

    Args:
        system: an id, `id(option=value)`, `./file.py:Class`, or an arm.
        options: by name; dots reach into an option (`schedule.lr`), and `a,b` is a list where a list is wanted.
        kind: `model`, `transform` or `study`.

    Raises:
        UserError: an unknown system or option, a value that is not allowed, or another kind.
    """
    arm = parse(system) if isinstance(system, str) else system
    cls: Any = system_class(arm.id)
    if kind not in cls.card.kinds:
        way = _WAYS[cls.kind]
        raise UserError(f"{arm.id} is a {cls.kind}, not a {kind}; use it with: twofold {way} {arm.id}")
    return configure(arm.id, **_lists(cls, _nested({**arm.options, **options})))


def apply(
    systems: str | Arm | Sequence[str | Arm],
    options: Mapping[str, Any],
    model: Model,
    data: Source | None,
    *,
    columns: Mapping[str, str] | None,
    seed: int,
    out: str | Path | None,
    fresh: bool,
) -> Model:
    """Every transform in turn; all are checked before the first begins."""
    chain: list[Any] = [configured(arm, own, "transform") for arm, own in steps(systems, options)]
    if out is not None:
        places.check_free(Path(out), fresh)
    calibration = Rows.of({})
    if any(transform.calibrates for transform in chain):
        whole = rows(task(model.task).default_data if data is None else data, columns)
        calibration = sources.split(whole, task(model.task).shares).part("train")
    given = model
    with progress.stage("apply", total=len(chain)) as stage:
        for transform in chain:
            stage.note(transform.id)
            model = transform.apply(model, calibration, seed=seed)
            stage.advance()
    model = model.renewed(given)
    if out is not None:
        model.save(out)
    return model


def on_files(systems: str | Arm | Sequence[str | Arm], reference: str | Path) -> bool:
    """Whether `apply` of these means `apply_files`: one packer, on weight files, or a folder that is not our model."""
    arms = [arm for arm, _ in steps(systems, {})]
    if len(arms) != 1 or not hasattr(system_class(arms[0].id), "apply_files"):
        return False
    path = Path(reference)
    return path.suffix in (PLAIN, *SUFFIXES) if path.is_file() else path.is_dir() and not (path / MANIFEST).is_file()


def steps(systems: str | Arm | Sequence[str | Arm], options: Mapping[str, Any]) -> list[tuple[Arm, dict[str, Any]]]:
    """The arms of a chain, each with the options that are meant for it: `stat.keep` is `keep` of `stat`.

    Raises:
        UserError: an option that says no step of a chain of several.
    """
    every: Sequence[str | Arm] = [systems] if isinstance(systems, str | Arm) else systems
    arms = [
        arm
        for entry in every
        for arm in ([parse(text) for text in split_arms(entry)] if isinstance(entry, str) else [entry])
    ]
    if not arms:
        raise UserError("no transform is named; see: twofold list --kind transform")
    own: list[dict[str, Any]] = [{} for _ in arms]
    ids = [arm.id for arm in arms]
    for name, value in options.items():
        step, _, rest = name.partition(".")
        if step in ids and rest:
            own[ids.index(step)][rest] = value
        elif len(arms) == 1:
            own[0][name] = value
        else:
            raise UserError(
                f"option {name!r} names no step of {','.join(ids)}.{did_you_mean(step, ids)} "
                f"Write it as {ids[0]}.{rest or name}"
            )
    return list(zip(arms, own, strict=True))


def rows(data: Source, columns: Mapping[str, str] | None = None) -> Rows:
    """The rows of a name, a path, or rows."""
    return data if isinstance(data, Rows) else sources.read(data, columns=columns)


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    out: dict[str, Any] = {}
    for name, value in options.items():
        *path, last = name.split(".")
        inner = out
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return out


def _lists(cls: type, options: dict[str, Any]) -> dict[str, Any]:
    """A value given for an option that takes a list, as a list."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(cls).json_schema().get("properties", {})
    return {name: _listed(value) if takes_list(schema.get(name, {})) else value for name, value in options.items()}


def takes_list(schema: Mapping[str, Any]) -> bool:
    """Whether a JSON schema takes a list and no text."""
    kinds = {choice.get("type") for choice in schema.get("anyOf", [schema])}
    return "array" in kinds and "string" not in kinds


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return [piece.strip() for piece in value.split(",")]
    return [value] if isinstance(value, int | float | bool) else value
