"""What a column of labels means: one class a row, several, or a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from twofold.data.rows import Rows, is_empty, listed, shown
from twofold.errors import UserError
from twofold.tasks.classify.targets import ManyLabels, Number, OneLabel, Target

COLUMNS = ("label", "labels", "number")
SEPARATOR = "|"
_MOST_NUMERIC = 50  # so many different whole numbers are still taken for names of classes


def column_of(rows: Rows) -> str:
    """The column to predict: `label` (a class), `labels` (several), or `number`.

    Raises:
        UserError: none of them, or more than one.
    """
    found = [name for name in COLUMNS if name in rows.columns]
    if not found:
        rows.require("label")
    if len(found) > 1:
        raise UserError(
            f"{rows.source} has the columns {' and '.join(found)}, of which one is predicted; rename the others, "
            f"such as --columns other={found[1]}"
        )
    return found[0]


def read_labels(rows: Rows, column: str) -> tuple[str, list[Any]]:
    """The kind of target ("one", "many" or "number") and each row's value: a name, a list of names, or a number.

    A `label` that is a list means several. A `label` of fractions, or of very many numbers, is a number to regress.
    A cell of `labels` is a list, or names with `|` between them; an empty one means none.

    Raises:
        UserError: a cell that cannot be read; names the row.
    """
    cells = rows.columns[column]
    if column == "number":
        return "number", [_number(cell, rows, i) for i, cell in enumerate(cells)]
    if column == "labels" or any(isinstance(cell, list | tuple) for cell in cells):
        return "many", [_names(cell, rows, column, i) for i, cell in enumerate(cells)]
    values = _floats(cells)
    if values is not None:
        fractions = any(value != int(value) for value in values)
        if fractions or len(set(values)) > _MOST_NUMERIC:
            return "number", values
    return "one", [_name(cell) for cell in cells]


def target(kind: str, values: Sequence[Any], training: np.ndarray, rows: Rows) -> Target:
    """What is to be predicted, from the training rows alone.

    Args:
        values: as `read_labels` gives them.
        training: indices of the training rows.

    Raises:
        UserError: one class only, fewer examples than make sense, or numbers that are all alike.
    """
    known = [values[i] for i in training]
    if kind == "number":
        numbers = np.array(known, dtype=np.float64)
        spread = float(numbers.std())
        if spread == 0:
            raise UserError(f"{rows.source}: every number to learn from is {numbers[0]:g}; there is nothing to predict")
        return Number(float(numbers.mean()), spread)
    counts = Counter(known) if kind == "one" else Counter(name for names in known for name in names)
    names = _ordered(counts)
    if len(names) < 2 and kind == "one":
        raise UserError(
            f"{rows.source}: every row to learn from has the label {shown(names[0])!r}; a classifier needs two or more"
        )
    if not names:
        raise UserError(f"{rows.source}: no row has any label; there is nothing to predict")
    if len(names) > max(2, len(known) / 2):
        raise UserError(
            f"{rows.source}: {len(names)} different labels in {len(known)} rows to learn from, fewer than two examples "
            f"each ({listed(names[:3])}, …); is this the right column? Name another with --columns label=…, or "
            "predict a number with --columns number=…"
        )
    return OneLabel.from_counts(names, [counts[n] for n in names]) if kind == "one" else ManyLabels(tuple(names))


def encode(target: Target, values: Sequence[Any]) -> np.ndarray:
    """Values as `Target` takes them; a class that the target does not know is -1."""
    if isinstance(target, Number):
        return np.array(values, dtype=np.float32)
    place = {name: i for i, name in enumerate(target.labels)}
    if isinstance(target, OneLabel):
        return np.array([place.get(name, -1) for name in values], dtype=np.int64)
    table = np.zeros((len(values), len(place)), dtype=np.bool_)
    for row, names in enumerate(values):
        table[row, [place[name] for name in names if name in place]] = True
    return table


def _ordered(counts: Counter[str]) -> list[str]:
    """Names in the order a person expects: as numbers where they are some, else by the alphabet."""
    numbers = _floats(list(counts))
    if numbers is not None:
        return [name for _, name in sorted(zip(numbers, counts, strict=True))]
    return sorted(counts)


def _floats(cells: Sequence[Any]) -> list[float] | None:
    """The cells as finite numbers; None where one is none."""
    found = []
    for cell in cells:
        if isinstance(cell, bool):
            return None
        try:
            value = float(cell)
        except (TypeError, ValueError):
            return None
        if not np.isfinite(value):
            return None
        found.append(value)
    return found


def _name(cell: Any) -> str:
    if isinstance(cell, float) and cell == int(cell):
        return str(int(cell))
    return " ".join(str(cell).split())


def _names(cell: Any, rows: Rows, column: str, index: int) -> list[str]:
    if cell is None or (isinstance(cell, str | float) and is_empty(cell)):
        return []
    cells = cell.split(SEPARATOR) if isinstance(cell, str) else cell
    if not isinstance(cells, list | tuple):
        raise UserError(
            f"{rows.source}: column {column!r} holds {shown(cell)!r} in row {index + 1} where a list of labels is "
            f"needed; write them with {SEPARATOR} between"
        )
    return sorted({_name(each) for each in cells if not is_empty(each)})


def _number(cell: Any, rows: Rows, index: int) -> float:
    found = _floats([cell])
    if found is None:
        raise UserError(
            f"{rows.source}: column 'number' holds {shown(cell)!r} in row {index + 1}; give finite numbers, or predict "
            "classes with --columns label=…"
        )
    return found[0]
