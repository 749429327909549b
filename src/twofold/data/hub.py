"""Data sets through the `datasets` library: by name, or from a folder that it wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twofold.data.columns import Table, concatenate
from twofold.data.rows import listed
from twofold.data.splits import part_name
from twofold.errors import UserError, did_you_mean


def read_hub(name: str) -> tuple[Table, list[str] | None]:
    """The rows of `name`, written `<name>[:split]`, and the part of each where train, validation or test say so.

    `name` is a folder (what `save_to_disk` wrote, or data files that `datasets` reads) or a name on the hub, with
    a configuration as a third piece (`owner/set/configuration`). Class labels come as their names. Splits under
    other names are read when asked for, else left aside. Raises UserError where the extra `hub` is not installed
    or the data set cannot be had.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(f"hf:{name} needs the datasets library; pip install 'twofold[hub]'") from None
    place, wanted = _parse(name)
    if not place:
        raise UserError("hf: needs a name or a folder, as in hf:owner/set or hf:./folder:train")
    try:
        found = _load(datasets, place)
    except Exception as error:  # the library raises errors of its own, of its file formats and of the network
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"hf:{place} cannot be loaded ({reason}); check the name, the folder or the network") from None
    sets = dict(found) if isinstance(found, dict) else {"train": found}
    if wanted is not None:
        if wanted not in sets:
            known = f"{did_you_mean(wanted, sets)} It has: {listed(sets)}"
            raise UserError(f"hf:{place} has no split {wanted!r}.{known}")
        return _columns(sets[wanted], place), None
    parts = {key: part for key in sets if (part := part_name(key))}
    if not parts:
        raise UserError(f"hf:{place} has only the splits {listed(sets)}; name one, as in hf:{place}:{next(iter(sets))}")
    tables = {key: _columns(sets[key], place) for key in parts}
    splits = [part for key, part in parts.items() for _ in range(len(sets[key]))]
    return concatenate(tables.values()), splits if len(set(splits)) > 1 else None


def _parse(name: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(.*[^:]):(\w[\w.-]*)", name)
    if match and not Path(name).exists():
        return match[1], match[2]
    return name, None


def _load(datasets: Any, place: str) -> Any:
    path = Path(place).expanduser()
    if path.is_dir():
        written = any((path / file).is_file() for file in ("dataset_dict.json", "state.json"))
        return datasets.load_from_disk(str(path)) if written else datasets.load_dataset(str(path))
    if path.is_absolute() or place.startswith("."):
        raise FileNotFoundError("there is no such folder")
    pieces = place.split("/")
    if len(pieces) == 3:
        return datasets.load_dataset("/".join(pieces[:2]), pieces[2])
    return datasets.load_dataset(place)


def _columns(data: Any, place: str) -> Table:
    try:
        table = data.with_format(None)[:]
    except Exception as error:  # columns of images or sound need libraries to decode
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"hf:{place} has columns that cannot be read ({reason}); remove them from the set") from None
    for name, feature in data.features.items():
        labels = getattr(feature, "names", None)
        if labels is not None:
            table[name] = [labels[value] if value is not None and value >= 0 else None for value in table[name]]
    return {name: list(values) for name, values in table.items()}
