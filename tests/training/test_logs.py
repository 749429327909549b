"""Logs: csv and TensorBoard."""

import csv

import pytest

from twofold.catalog.claims import Steps
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.training import CsvLog, TensorBoardLog, train

from .tiny import Tiny, batches, loss


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_line_a_step(tmp_path):
    history = train(Tiny(), loss, batches, Steps(3), log=tmp_path / "logs" / "run.csv")
    lines = rows(tmp_path / "logs" / "run.csv")
    assert list(lines[0]) == ["step", "seconds", "tokens", "loss", "lr", "double", "gradient_norm"]
    for line, point in zip(lines, history.curve, strict=True):
        assert {name: float(value) for name, value in line.items()} == point


def test_a_late_figure_gets_a_column(tmp_path):
    def late(net, batch):
        result = loss(net, batch)
        return Loss(result.value, {"late": 7.0}) if batch["ids"].shape[1] == 4 else Loss(result.value)

    train(Tiny(), late, batches, Steps(3), log=[tmp_path / "run.csv"])
    assert [line["late"] for line in rows(tmp_path / "run.csv")] == ["", "7.0", ""]


def test_lines_after_the_checkpoint_are_written_anew(tmp_path):
    path = tmp_path / "run.csv"
    expected = train(Tiny(), loss, batches, Steps(6), log=path)
    whole = [line["loss"] for line in rows(path)]
    train(Tiny(), loss, batches, Steps(6), folder=tmp_path / "folder", until=0.5, log=path)
    with path.open("a") as file:
        file.write("4,0.1,64,9.9,0.1,1.0,1.0\n1")  # a step that was not saved, and one that was cut short
    train(Tiny(), loss, batches, Steps(6), folder=tmp_path / "folder", log=path)
    assert [line["loss"] for line in rows(path)] == whole
    assert [line["step"] for line in rows(path)] == [str(p["step"]) for p in expected.curve]


def test_validation_is_logged(tmp_path):
    train(Tiny(), loss, batches, Steps(2), validate=lambda net: {"mrr": 0.5}, log=CsvLog(tmp_path / "run.csv"))
    assert [line["validation/mrr"] for line in rows(tmp_path / "run.csv")] == ["", "0.5", "", "0.5"]


def test_a_log_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        train(Tiny(), loss, batches, Steps(1), log=tmp_path / "file" / "run.csv")


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = train(Tiny(), loss, batches, Steps(3), log=TensorBoardLog(tmp_path))
    events = EventAccumulator(str(tmp_path)).Reload()
    scalars = events.Scalars("loss")
    assert [event.step for event in scalars] == [1, 2, 3]
    assert [event.value for event in scalars] == pytest.approx([p["loss"] for p in history.curve])


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"twofold\[tensorboard\]"):
        train(Tiny(), loss, batches, Steps(1), log=TensorBoardLog(tmp_path))
