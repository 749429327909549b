"""Where a training run writes its figures, step by step."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from twofold.errors import UserError
from twofold.training.checkpoint import replacing


class Log(Protocol):
    """Takes rows of figures: `step`, `seconds`, `tokens`, `lr`, `loss`, and whatever the objective gives."""

    def open(self, step: int) -> None:
        """Begin; after `step` steps when a run goes on. What was written of later steps is void."""

    def write(self, row: Mapping[str, float]) -> None: ...

    def flush(self) -> None:
        """Make what was written outlast the process."""

    def close(self) -> None: ...


class CsvLog:
    """A csv file, one line a step; a figure that turns up later gets a column of its own."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] = []

    def open(self, step: int) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = [row for row in self._rows() if _step(row) <= step] if step and self.path.exists() else []
            self._columns = list(kept[0]) if kept else ["step", "seconds", "tokens", "loss", "lr"]
            self._begin(kept)
        except OSError as error:
            raise UserError(f"the log {self.path} cannot be written ({error}); give another path") from None

    def write(self, row: Mapping[str, float]) -> None:
        if not row.keys() <= set(self._columns):
            self._widen(row)
        self._writer.writerow(row)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _widen(self, row: Mapping[str, float]) -> None:
        self._file.close()
        kept = self._rows()
        self._columns += sorted(row.keys() - set(self._columns))
        self._begin(kept)

    def _rows(self) -> list[dict[str, Any]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        self._file = self.path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self._columns)


class TensorBoardLog:
    """A folder that TensorBoard shows. Needs the extra `tensorboard`."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def open(self, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                "TensorBoard is not installed; pip install 'twofold[tensorboard]', or log to a csv file"
            ) from None
        self._writer = SummaryWriter(str(self.folder), purge_step=step + 1 if step else None)

    def write(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Logs:
    """Several logs as one. A path is a csv file."""

    def __init__(self, given: Log | str | os.PathLike[str] | Sequence[Log | str | os.PathLike[str]] | None) -> None:
        self._logs: list[Log] = []
        for one in given if isinstance(given, list | tuple) else () if given is None else (given,):
            self._logs.append(CsvLog(one) if isinstance(one, str | os.PathLike) else one)

    def open(self, step: int) -> None:
        for log in self._logs:
            log.open(step)

    def write(self, row: Mapping[str, float]) -> None:
        for log in self._logs:
            log.write(row)

    def flush(self) -> None:
        for log in self._logs:
            log.flush()

    def close(self) -> None:
        for log in self._logs:
            log.close()


def _step(row: Mapping[str, Any]) -> float:
    """A line's step; endless for a line that was cut short when the process was killed."""
    return float("inf") if None in row.values() else int(row["step"])
