import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("twofold.measure", {"torch", "numpy", "matplotlib", "rich", "ir_measures", "scipy"}),
        ("twofold.measure.reports.compare", {"torch", "matplotlib", "rich"}),
        ("twofold.measure.reports.plots", {"torch", "matplotlib"}),
        ("twofold.measure.retrieval", {"torch", "matplotlib", "ir_measures", "pandas"}),
        ("twofold.measure.verdicts", {"torch", "matplotlib", "scipy"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not unwanted & set(done.stdout.split())
