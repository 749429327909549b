"""Runs the tests that belong to what changed since the last commit: the quick check before a commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALWAYS = ["tests/test_startup.py"]


def tests_of(changed: list[str]) -> list[str]:
    """Test files and folders for changed files: a test itself, or the folder named as the changed package."""
    chosen: list[str] = []
    for name in changed:
        path = Path(name)
        if path.parts[:1] == ("tests",) and path.name.startswith("test_"):
            chosen.append(name)
        elif path.parts[:2] == ("src", "twofold") and len(path.parts) > 3:
            package = path.parts[2]
            own = f"tests/systems/test_{path.stem}.py"
            chosen.append(own if package == "systems" else f"tests/{package}")
    return sorted({t for t in chosen if (ROOT / t).exists()} | {t for t in ALWAYS if (ROOT / t).exists()})


def main() -> int:
    listed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tests = tests_of([line[3:] for line in listed.stdout.splitlines()])
    return subprocess.call([sys.executable, "-m", "pytest", "-x", *tests], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
