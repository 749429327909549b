"""A run that is killed with SIGKILL, again and again, ends with the weights of one that was not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_steps_it_ends_with_the_same_bits(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_run", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    outcomes = json.loads(run.stdout)
    assert set(outcomes) == {"Steps", "Tokens"}
    for name, (kills, whole, killed) in outcomes.items():
        assert kills >= 2
        assert killed == whole
        assert len(list((tmp_path / name).iterdir())) == 2  # nothing half-written is left behind
