import contextlib
import platform
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from twofold.errors import UserError
from twofold.measure import costs


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.ones(6))
        self.register_buffer("view", self.scale[2:4])
        self.embedding.weight.requires_grad_(False)
        self.bias = nn.Parameter(torch.zeros(3))


def test_shared_parameters_and_storage_count_once() -> None:
    net = Tied()
    assert costs.parameters(net) == 43
    assert costs.trainable_parameters(net) == 3
    assert costs.tensor_bytes(net) == 4 * (40 + 6 + 3)
    assert costs.tensor_bytes(net.to(torch.bfloat16)) < 4 * 49


def test_bytes_of_networks_without_data() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    assert costs.tensor_bytes(net) == 4 * (15 + 5 + 10 + 2)


def test_folder_bytes(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "inner" / "b").write_bytes(b"x" * 5)
    with contextlib.suppress(OSError):  # not every system lets everybody make links
        (tmp_path / "link").symlink_to(tmp_path / "a")
    assert costs.folder_bytes(tmp_path) == 15
    assert costs.folder_bytes(tmp_path / "a") == 10
    with pytest.raises(UserError, match="nothing here"):
        costs.folder_bytes(tmp_path / "nothing here")


def test_flops_of_a_product_and_of_attention() -> None:
    linear = nn.Linear(8, 3)
    assert costs.flops(linear, torch.zeros(5, 8)) == 2 * 5 * 8 * 3

    def attend(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)

    assert costs.flops(attend, torch.zeros(1, 4, 16, 8)) == 2 * 2 * 4 * 16 * 16 * 8


def test_flops_leaves_the_mode_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 2))
    net[1].eval()
    costs.flops(net, torch.zeros(1, 2))
    assert [m.training for m in net] == [True, False, True]


def test_latency_counts_calls_and_orders_its_figures() -> None:
    calls: list[float] = []

    def work(seconds: float) -> None:
        calls.append(seconds)
        time.sleep(seconds)

    found = costs.latency(work, [0.001] * 9 + [0.02], warmup=3, repeats=2)
    assert len(calls) == 23
    assert found.n == 20
    assert 1 <= found.median < 15 < found.p95
    with pytest.raises(ValueError, match="0 items"):
        costs.latency(work, [])


def test_interleaved_takes_turns_and_gives_ratios() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.006)

    def fast() -> None:
        order.append("fast")
        time.sleep(0.002)

    found = costs.interleaved({"slow": slow, "fast": fast}, rounds=4, warmup=1)
    assert order[2:] == ["slow", "fast", "fast", "slow"] * 2
    assert found.ratios["slow"] == 1
    assert 0.2 < found.ratios["fast"] < 0.8
    assert found.medians["slow"] > found.medians["fast"] >= 2
    assert all(len(times) == 4 for times in found.milliseconds.values())
    with pytest.raises(ValueError, match="0 functions"):
        costs.interleaved({}, 3)


def test_ratios_are_paired_by_round() -> None:
    times = {"a": np.array([1.0, 10.0, 100.0]), "b": np.array([2.0, 20.0, 200.0])}
    assert costs.Interleaved(times, "a").ratios == {"a": 1, "b": 2}


def test_environment_names_the_machine_but_not_whose_it_is() -> None:
    found = costs.environment()
    assert {"twofold", "python", "torch", "system", "cpu", "cores", "threads"} <= set(found)
    assert found["threads"] == torch.get_num_threads()
    assert all(found[name] for name in ("cpu", "cores"))
    words = " ".join(map(str, found.values()))
    assert platform.node() not in words.split()
    assert str(Path.home()) not in words
