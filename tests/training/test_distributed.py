"""Two gloo processes, started by torchrun, follow one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from twofold.objectives import ranks
from twofold.training import distributed

from .two_processes import STEPS, trainings


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--module"]
    run = subprocess.run(
        [sys.executable, *command, "tests.training.two_processes", str(folder)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return trainings(tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("name", ["causal", "uneven", "contrastive"])
def test_two_processes_follow_one(two, one, name):
    net, history = one[name]
    followed = json.loads((two / f"{name}.json").read_text())
    assert followed["steps"] == history.steps == STEPS
    assert followed["tokens"] == history.tokens
    for point, expected in zip(followed["curve"], history.curve, strict=True):
        assert point["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert history.curve[-1]["loss"] < 0.95 * history.curve[0]["loss"]
    weights = load_file(two / f"{name}.safetensors")
    for key, expected in net.state_dict().items():
        assert torch.linalg.norm(weights[key] - expected) <= 1e-4 * torch.linalg.norm(expected), key


def test_one_process_writes_and_all_read(two):
    assert len((two / "causal.csv").read_text().splitlines()) == 1 + STEPS - 15
    assert sorted(path.name for path in (two / "causal").iterdir()) == ["checkpoint-2.safetensors", "checkpoint.json"]
    assert not list(two.glob("**/*.part"))


def test_gathered_rows_get_the_gradients_of_every_process(two):
    first, second = (json.loads((two / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first["world"] == second["world"] == 2
    assert first["gathered"] == [0, 1, 0, 1, 2, 0, 3, 0]  # 1 · position + 2 · position
    assert second["gathered"] == [0, 1, 0, 1, 2, 6, 9, 12]


def test_a_budget_of_seconds_ends_for_all_at_the_same_step(two):
    first, second = (json.loads((two / f"rank-{rank}.json").read_text())["timed steps"] for rank in (0, 1))
    assert first == second >= 1


def test_alone_nothing_is_joined():
    rows = torch.ones(2, 3)
    assert distributed.world() == distributed.join() == (0, 1)
    assert distributed.gather(rows) is rows
    assert torch.equal(ranks.total(rows), rows)
    assert distributed.agreed(3.5, torch.device("cpu")) == 3.5
