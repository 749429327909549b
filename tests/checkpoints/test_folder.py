"""Twofold's own model folder: exact, whole or not at all, and never more than data."""

from __future__ import annotations

import errno
import json
import os
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from twofold import parts
from twofold.checkpoints import folder
from twofold.checkpoints import tensors as weights
from twofold.checkpoints.replace import STALE_SECONDS
from twofold.errors import UserError
from twofold.parts import FFN, Attention, Part, SequenceModel, Stack, TextEncoder


def network(seed: int = 0, hidden: int = 12) -> SequenceModel:
    torch.manual_seed(seed)
    return parts.bert(vocab=40, dim=8, layers=2, heads=2, hidden=hidden, max_len=16, head="mlm").eval()


def write(path: Path, net: Part | None, **changes: Any) -> Path:
    told: dict[str, Any] = {
        "network": net.spec() if net is not None else None,
        "tensors": net.state_dict() if net is not None else {},
        "task": {"name": "search", "query_tokens": 64},
        "tokenizer": {"kind": "bytes"},
        "history": [{"id": "gtr", "options": {"temperature": 0.05}, "report": {}}],
        "card": "# A model\n",
        "notes": {"source": "made here", "licence": "Apache-2.0"},
    }
    return folder.write(path, **{**told, **changes})


def spoil(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / folder.MANIFEST).read_text())
    (path / folder.MANIFEST).write_text(json.dumps({**manifest, **changes}))


def test_round_trip_is_exact(tmp_path: Path) -> None:
    net = network()
    saved = folder.read(write(tmp_path / "model", net))
    assert saved.task == {"name": "search", "query_tokens": 64}
    assert saved.tokenizer == {"kind": "bytes"}
    assert saved.history == [{"id": "gtr", "options": {"temperature": 0.05}, "report": {}}]
    assert saved.notes["licence"] == "Apache-2.0"
    assert (tmp_path / "model" / "README.md").read_text() == "# A model\n"
    again = folder.load_network(saved)
    assert again.spec() == net.spec()
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(net(ids), again(ids))


def test_ragged_and_nested_networks_load_like_any_other(tmp_path: Path) -> None:
    net = TextEncoder(network(), parts.Mean())
    block = net.model.stack.layers[1]
    block.channel = FFN(8, 5)
    block.mixer = Attention(8, 1, head_dim=4, bias=True)
    net.model.stack.layers[0].mixer = None
    again = folder.load_network(folder.read(write(tmp_path / "model", net)))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(net.eval()(ids), again(ids))


def test_every_kind_of_number_survives(tmp_path: Path) -> None:
    kinds = [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool]
    tensors = {str(kind): torch.randint(0, 2, (3, 5)).to(kind) for kind in kinds}
    tensors["not contiguous"] = torch.randn(4, 6).T
    tensors["empty"] = torch.empty(0, 7)
    tensors["nan"] = torch.tensor([float("nan"), float("inf"), -0.0])
    whole = torch.randn(10)
    tensors |= {"view": whole[2:6], "overlapping": whole[4:], "whole": whole, "again": whole}
    saved = folder.read(write(tmp_path / "model", None, tensors=tensors)).tensors()
    assert saved.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert saved[name].dtype == tensor.dtype
        assert torch.equal(saved[name].view(torch.uint8), tensor.contiguous().view(torch.uint8)), name
    assert saved["whole"].data_ptr() == saved["again"].data_ptr()


class TiedPair(Part):
    """Two names for one parameter, and a table that is not saved."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, dim, bias=False)
        self.second = nn.Linear(dim, dim, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("table", torch.arange(dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.table  # type: ignore[operator]


def test_what_was_tied_stays_tied_and_tables_are_made_again(tmp_path: Path) -> None:
    net = TiedPair(4)
    path = write(tmp_path / "model", net)
    again = folder.load_network(folder.read(path))
    assert again.first.weight is again.second.weight
    assert torch.equal(again.table, net.table)
    assert torch.equal(again(torch.ones(4)), net(torch.ones(4)))
    assert (path / folder.WEIGHTS).stat().st_size < 2 * 4 * 4 * 4 + 200


def test_a_shared_block_is_stored_once(tmp_path: Path) -> None:
    net = network()
    block = net.stack.layers[0]
    net = SequenceModel(net.embedding, Stack([block, block]))
    again = folder.load_network(folder.read(write(tmp_path / "model", net)))
    assert again.stack.layers[0] is again.stack.layers[1]
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(net.eval()(ids), again(ids))


def test_loaded_weights_can_be_trained_without_touching_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model", network())
    before = (path / folder.WEIGHTS).read_bytes()
    net = folder.load_network(folder.read(path))
    net(torch.tensor([[1, 2, 3]])).sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert (path / folder.WEIGHTS).read_bytes() == before
    write(path, net)  # from weights mapped from the very folder that is replaced
    again = folder.load_network(folder.read(path))
    assert torch.equal(again.state_dict()["head.bias"], net.state_dict()["head.bias"])


def test_models_without_a_network_and_more_files(tmp_path: Path) -> None:
    def index(new: Path) -> None:
        (new / "index").mkdir()
        (new / "index" / "documents.jsonl").write_text("{}\n")

    saved = folder.read(write(tmp_path / "model", None, tokenizer=None, files=index))
    assert saved.network is None
    assert saved.tokenizer is None
    assert "index/documents.jsonl" in saved.files
    with pytest.raises(UserError, match="no network"):
        folder.load_network(saved)


def test_replacing_keeps_what_a_person_put_there_and_drops_what_was_ours(tmp_path: Path) -> None:
    def index(new: Path) -> None:
        (new / "index").mkdir()
        (new / "index" / "vectors").write_text("old")

    path = write(tmp_path / "model", network(0), files=index)
    (path / "notes.txt").write_text("mine")
    (path / "run").mkdir()
    (path / "run" / "state").write_text("mine too")
    write(path, network(1))
    assert (path / "notes.txt").read_text() == "mine"
    assert (path / "run" / "state").read_text() == "mine too"
    assert not (path / "index").exists()
    assert os.listdir(tmp_path) == ["model"]


def test_places_that_are_taken(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write(tmp_path / "photos", None)  # empty is free
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(UserError, match="not a Twofold model"):
        write(tmp_path / "thesis", network())
    (tmp_path / "thesis" / "model.json").write_text("{}")
    with pytest.raises(UserError, match="format number"):
        write(tmp_path / "thesis", network())
    assert (tmp_path / "thesis" / "chapter1.tex").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        write(tmp_path / "file", network())


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
    """Runs `work` in a process that dies, as by SIGKILL, at its n-th change of the file system; False: it got through."""
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


def test_newer_and_older_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model", None)
    spoil(path, format=folder.FORMAT + 1)
    with pytest.raises(UserError, match=r"newer Twofold.*upgrade"):
        folder.read(path)
    with pytest.raises(UserError, match="newer Twofold"):
        write(path, None)
    assert sorted(folder.MIGRATIONS) == list(range(1, folder.FORMAT))
    spoil(path, format=1, notes=None, remarks={"source": "made here"})
    monkeypatch.setattr(folder, "FORMAT", 2)
    monkeypatch.setitem(folder.MIGRATIONS, 1, lambda old: {**old, "notes": old["remarks"]})
    assert folder.read(path).notes == {"source": "made here"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": None}, "format number"),
        ({"format": True}, "format number"),
        ({"network": []}, "network"),
        ({"task": None}, "task"),
        ({"history": ["gtr"]}, "history"),
        ({"files": {}}, "files"),
        ({"network": {"part": "Sequencemodel"}}, "Did you mean 'SequenceModel'"),
        ({"network": {"part": "FFN", "dim": 8}}, "hidden"),
        ({"network": {"part": "FFN", "dim": 8, "hidden": 2**62}}, "FFN"),
        ({"network": {"part": "FFN", "dim": 8, "hidden": 9}}, "tensors do not belong"),
    ],
    ids=str,
)
def test_damaged_manifests(tmp_path: Path, changes: Mapping[str, Any], says: str) -> None:
    path = write(tmp_path / "model", network())
    spoil(path, **changes)
    with pytest.raises(UserError, match=says):
        folder.load_network(folder.read(path))


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    net = network()
    state = dict(net.state_dict())
    lacking = {name: t for name, t in state.items() if name != "stack.layers.1.mixer.key.bias"}
    with pytest.raises(UserError, match=r"stack\.layers\.1\.mixer\.key\.bias"):
        folder.load_network(folder.read(write(tmp_path / "a", net, tensors=lacking)))
    with pytest.raises(UserError, match="surplus"):
        folder.load_network(folder.read(write(tmp_path / "b", net, tensors={**state, "surplus": torch.ones(1)})))
    wrong = {**state, "head.bias": torch.ones(7)}
    with pytest.raises(UserError, match=r"head\.bias.*\[7\].*\[40\]"):
        folder.load_network(folder.read(write(tmp_path / "c", net, tensors=wrong)))


def test_missing_and_partial_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model"):
        folder.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no model\.json"):
        folder.read(tmp_path / "empty")
    path = write(tmp_path / "model", network())
    (path / "README.md").unlink()
    folder.read(path)
    for name in ("tokenizer.json", "tensors.safetensors"):
        (path / name).unlink()
        with pytest.raises(UserError, match=f"incomplete: {name}"):
            folder.read(path)
        write(tmp_path / "other", network())
        (tmp_path / "other" / name).rename(path / name)
    (path / "model.json").unlink()
    with pytest.raises(UserError, match=r"no model\.json"):
        folder.read(path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.write_text, (tmp_path / "exploded", "boom"))

    path = write(tmp_path / "model", network())
    for legacy in (True, False):
        torch.save(Bomb(), path / "tensors.safetensors", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError, match=r"pickled.*safetensors"):
            folder.load_network(folder.read(path))
    assert not (tmp_path / "exploded").exists()


def test_random_damage_is_always_an_error_that_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "model", network())
    random.seed(0)
    for name in ("tensors.safetensors", "model.json", "tokenizer.json"):
        whole = (path / name).read_bytes()
        offsets = {0, 1, 7, 8, 9, len(whole) - 1, *random.sample(range(len(whole)), min(60, len(whole)))}
        cut = [whole[:offset] for offset in sorted(offsets)]
        noise = [random.randbytes(n) for n in (1, 8, 64, 4096)]
        flipped = []
        for offset in random.sample(range(len(whole))[:4000], min(120, len(whole))):
            flipped.append(whole[:offset] + bytes([whole[offset] ^ (1 << random.randrange(8))]) + whole[offset + 1 :])
        for damaged in [*cut, *noise, *flipped]:
            (path / name).write_bytes(damaged)
            try:
                saved = folder.read(path)
                folder.load_network(saved)
            except UserError as error:
                assert "\n" not in str(error)
            else:
                assert damaged in flipped or damaged.rstrip() == whole.rstrip(), "a cut or random file was accepted"
        (path / name).write_bytes(whole)
    folder.load_network(folder.read(path))
