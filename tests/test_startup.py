"""Looking at what there is costs next to nothing: none of the heavy packages is loaded for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pydantic", "rich", "scipy", "yaml", "matplotlib", "transformers")

LOADED = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()) as out:
    {statement}
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""


def loaded_by(statement: str) -> list[str]:
    """Which heavy packages a statement loads, in a fresh interpreter."""
    script = LOADED.format(statement=statement, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_searching_does_not_wait_for_statistics_that_it_does_not_need() -> None:
    script = "import sys, twofold.tasks.search; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    "statement",
    [
        "import twofold, twofold.api, twofold.catalog, twofold.errors, twofold.progress, twofold.computing",
        "import twofold; twofold.list(); twofold.find('search by meaning'); twofold.show('gtr'); twofold.cite('gtr')",
        "import twofold; twofold.Arm('gtr'); twofold.Steps(1); twofold.system; twofold.UserError; twofold.__version__",
        *(
            f"from twofold.cli import main; assert main({words}) == 0"
            for words in (["--help"], ["--version"], ["fit", "--help"], ["list"], ["find", "small"], ["show", "gtr"])
        ),
    ],
)
def test_nothing_heavy_is_loaded(statement) -> None:
    assert loaded_by(statement) == []


def test_the_check_would_notice() -> None:
    assert loaded_by("import twofold; twofold.find('x', semantic=False); import yaml, numpy") == ["numpy", "yaml"]


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "twofold", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("twofold ")


def test_public_names() -> None:
    import twofold

    for name in twofold.__all__:
        assert getattr(twofold, name) is not None
    assert set(twofold.__all__) <= set(dir(twofold))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        twofold.fitt  # noqa: B018


def test_public_functions_are_documented() -> None:
    import inspect

    from twofold import api

    for name in api.__all__:
        function = getattr(api, name)
        text = inspect.getdoc(function) or ""
        for parameter in inspect.signature(function).parameters:
            assert f"    {parameter}: " in text or name in ("show", "cite"), f"{name} does not say what {parameter} is"
