"""Whatever happens while a model is written, one whole model is there."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from tests.checkpoints.models import network, write
from twofold.checkpoints import folder
from twofold.checkpoints import tensors as weights
from twofold.checkpoints.replace import STALE_SECONDS
from twofold.errors import UserError
from twofold.parts import SequenceModel


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
    ids=["python", "native"],
)
def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    path = write(tmp_path / "model", network(0))

    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(UserError, match=r"disk is full.*untouched"):
        write(path, network(1))
    monkeypatch.undo()
    assert_is(path, network(0))
    assert os.listdir(tmp_path) == ["model"]


def test_control_c_leaves_the_old_model(tmp_path: Path) -> None:
    path = write(tmp_path / "model", network(0))

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, network(1), files=interrupted)
    assert_is(path, network(0))
    assert os.listdir(tmp_path) == ["model"]


def assert_is(path: Path, *candidates: SequenceModel) -> int:
    """The folder holds one of the candidates, whole; which."""
    net = folder.load_network(folder.read(path))
    table = net.state_dict()["embedding.tokens.weight"]
    found = [i for i, each in enumerate(candidates) if torch.equal(table, each.embedding.table)]
    assert found
    same = zip(net.state_dict().values(), candidates[found[0]].state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    return found[0]


def dies_at(step: int, work: Callable[[], Any]) -> bool:
    """Runs `work` in a process that dies, as by SIGKILL, at its n-th change of the file system; False: it did not."""
    child = os.fork()
    if child == 0:
        left = step

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[1], str) and arguments[1] not in ("r", "rb")
            if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link"):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(watch)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_step_one_whole_model_is_there(tmp_path: Path) -> None:
    nets = network(0), network(1)
    path = write(tmp_path / "model", nets[0])
    (path / "notes.txt").write_text("mine")
    found, step = [], 0
    while dies_at(step, lambda: write(path, nets[1])):
        found.append(assert_is(path, *nets))
        assert (folder.read(path).path / "notes.txt").read_text() == "mine"
        write(path, nets[0])  # goes on from whatever the dead one left
        assert_is(path, nets[0])
        step += 1
    assert assert_is(path, nets[1]) == 0
    assert step > 10
    assert set(found) == {0, 1}


def test_leftovers_of_killed_runs_are_cleared_when_they_are_old(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".model.partial-aa", tmp_path / ".model.partial-bb"
    for place in (old, fresh):
        place.mkdir()
        (place / "tensors.safetensors").write_bytes(b"half")
    os.utime(old, (0, os.stat(fresh).st_mtime - STALE_SECONDS - 1))
    write(tmp_path / "model", None)
    assert not old.exists()
    assert fresh.exists()
