"""Twofold's own model folder: exact, whole or not at all, and never more than data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.checkpoints.models import network, write
from twofold import parts
from twofold.checkpoints import folder
from twofold.errors import UserError
from twofold.parts import FFN, Attention, Part, SequenceModel, Stack, TextEncoder


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
