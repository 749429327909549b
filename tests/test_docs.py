"""The code in the documentation runs, and its commands are ones that exist."""

from __future__ import annotations

import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from twofold.cli import parse
from twofold.trials import pages

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("twofold_docs_page")  # classes look up the module they were made in
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), module.__dict__)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "bash")], ids=lambda p: p.name)
def test_commands_exist(page: Path) -> None:
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["twofold"]:
                parse(words[1:])


def test_results_pages_are_those_of_the_records() -> None:
    for name, text in pages.pages().items():
        assert (ROOT / "docs" / "results" / name).read_text(encoding="utf-8") == text, "run make index"


def test_the_readmes_table_is_that_of_the_records() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert pages.START in readme
    assert pages.with_table(readme) == readme, "run make index"


def test_what_the_speed_page_says_of_attention_is_what_the_mixers_page_measured() -> None:
    mixers, speed = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("mixers.md", "speed.md"))
    rows = re.findall(r"^\| x-transformers' attention \|.*$", mixers, re.M)
    ratios = sorted(float(ratio) for row in rows for ratio in re.findall(r"\(([\d.]+) ×\)", row))
    assert len(ratios) == 6
    assert f"| x-transformers | {ratios[0]:.2f} to {ratios[-1]:.2f} × |" in speed
