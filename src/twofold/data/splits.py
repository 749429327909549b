"""Train, validation and test parts that stay the same wherever, whenever and in whatever order they are made."""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from twofold.data.rows import PARTS, Rows, is_empty, listed
from twofold.errors import UserError

Parts = tuple[float, float, float]

FOR_SEARCH: Parts = (0.5, 0.1, 0.4)
"""Search needs a pool: test queries look among the documents of the test part."""

_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def part_name(name: object) -> str | None:
    """ "train", "validation" or "test" for what people write ("dev", "val", "Training"); None for other words."""
    return _NAMES.get(str(name).strip().casefold())


def adopt(rows: Rows) -> Rows:
    """Rows with the splits of their own `split` column, where they have one.

    Raises UserError for a value that names no part.
    """
    if rows.splits is not None or "split" not in rows.columns:
        return rows
    splits = []
    for index, value in enumerate(rows.columns["split"]):
        part = part_name(value)
        if part is None:
            raise UserError(
                f"{rows.source}: column 'split' says {str(value)[:40]!r} in row {index + 1}; use train, validation "
                "or test, or give the column another name if it means something else (--columns other=split)"
            )
        splits.append(part)
    return replace(rows, splits=splits)


def split(rows: Rows, parts: Parts = (0.8, 0.1, 0.1), strata: Sequence[object] | None = None) -> Rows:
    """Rows with `.splits`, about `parts` of the *groups* in train, validation and test.

    A group goes whole into one part, decided by a hash of its name: its `group` value, else (no such column, or
    an empty cell) the normalised example, that is its `document`, else its `text`, else all its cells, without
    regard to case and white space. So neither the order of the rows nor the machine matters, and a group keeps
    its part when rows are added.

    A part is never empty while there are at least as many groups as parts asked for: groups lie in the order of
    their hashes, and where a part would get none the cuts between the parts slide over as few groups as that takes.

    Splits that the rows bring with them (a `split` column, train/validation/test files) are kept; a part that they
    lack is cut from their train rows. Raises UserError for parts that do not add up to 1 or too few groups.

    With `strata`, one value a row (its class, say), each stratum is split for itself, so that none is missing from a
    part by chance; a group belongs to the stratum of its first row. A stratum of fewer groups than parts goes into
    the first part asked for.
    """
    if len(parts) != 3 or min(parts) < 0 or abs(sum(parts) - 1) > 1e-6:
        raise UserError(f"parts {parts} must be three shares (train, validation, test) that add up to 1")
    rows = adopt(rows)
    if rows.splits is None:
        return replace(rows, splits=_cut(rows, range(len(rows)), parts, strata))
    lacking = [share if name not in rows.splits else 0.0 for name, share in zip(PARTS, parts, strict=True)]
    if not any(lacking[1:]):
        return rows
    if "train" not in rows.splits:
        raise UserError(f"{rows.source} has no train rows (found: {listed(sorted(set(rows.splits)))}); add some")
    train = [index for index, name in enumerate(rows.splits) if name == "train"]
    cut = (1 - lacking[1] - lacking[2], lacking[1], lacking[2])
    splits = list(rows.splits)
    for index, name in zip(train, _cut(rows, train, cut, strata), strict=True):
        splits[index] = name
    return replace(rows, splits=splits)


def place(group: str) -> float:
    """A group's place in [0, 1): the first 53 bits of the SHA-256 of its name (in NFC, as UTF-8)."""
    name = unicodedata.normalize("NFC", group).encode(errors="surrogatepass")
    return (int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 11) / 2**53


def groups(rows: Rows) -> list[str]:
    """Each row's group: the name that `split` hashes."""
    given = rows.columns.get("group")
    column = next((name for name in ("document", "text") if name in rows.columns), None)
    examples = [rows.columns[column]] if column else [v for k, v in sorted(rows.columns.items()) if k != "split"]
    names = []
    for index in range(len(rows)):
        if given is not None and not is_empty(given[index]):
            names.append(str(given[index]))
        else:
            text = "\n".join(str(values[index]) for values in examples)
            names.append(" ".join(unicodedata.normalize("NFKC", text).casefold().split()))
    return names


def _cut(rows: Rows, indices: Sequence[int], parts: Parts, strata: Sequence[object] | None) -> list[str]:
    """The part of each of those rows."""
    every = groups(rows)
    names = [every[index] for index in indices]
    if strata is None:
        return _by_group(rows, names, parts)
    stratum_of: dict[str, object] = {}
    for name, index in zip(names, indices, strict=True):
        stratum_of.setdefault(name, strata[index])
    members: dict[object, list[str]] = {}
    for name, stratum in stratum_of.items():
        members.setdefault(stratum, []).append(name)
    asked = [part for part, share in zip(PARTS, parts, strict=True) if share > 0]
    part_of: dict[str, str] = {}
    for inside in members.values():
        enough = len(inside) >= len(asked)
        part_of |= dict(
            zip(inside, _by_group(rows, inside, parts) if enough else [asked[0]] * len(inside), strict=True)
        )
    return [part_of[name] for name in names]


def _by_group(rows: Rows, names: Sequence[str], parts: Parts) -> list[str]:
    places = {name: place(name) for name in set(names)}
    ordered = sorted(places, key=lambda name: (places[name], name))
    asked = sum(share > 0 for share in parts)
    if len(ordered) < asked:
        count = len(ordered)
        if "group" in rows.columns:
            few = f"the 'group' column holds {count} different group{'s' * (count > 1)}"
            fix = "add data, make the groups smaller"
        else:
            few = f"there {'are' if count > 1 else 'is'} {count} different row{'s' * (count > 1)}"
            fix = f"add data (a long text can be cut into {asked} files or more)"
        raise UserError(f"{rows.source}: {few}, too few for {asked} parts; {fix}, or give a 'split' column")
    hashes = [places[name] for name in ordered]
    first = bisect_left(hashes, parts[0])
    second = bisect_left(hashes, parts[0] + parts[1]) if parts[2] else len(hashes)
    wants = [int(share > 0) for share in parts]
    first = min(max(first, wants[0]), len(hashes) - wants[1] - wants[2])
    second = min(max(second, first + wants[1]), len(hashes) - wants[2])
    part_of = {
        name: PARTS[0] if rank < first else PARTS[1] if rank < second else PARTS[2] for rank, name in enumerate(ordered)
    }
    return [part_of[name] for name in names]
