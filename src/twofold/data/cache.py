"""The cache folder, and results kept in it: things that can be made again, made once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cache_dir() -> Path:
    """Where Twofold keeps what it can make or fetch again: `TWOFOLD_CACHE`, else the system's place for it."""
    chosen = os.environ.get("TWOFOLD_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("twofold", appauthor=False))


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, each with its length, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()


def cached_json(kind: str, key: str, make: Callable[[], Any]) -> Any:
    """The JSON value kept under `kind` and `key`; made, and kept for the next time, where there is none.

    A damaged entry is made again, and a cache that cannot be written is done without.
    """
    path = cache_dir() / kind / f"{key}.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    value = make()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))
    return value


def _write(path: Path, data: bytes) -> None:
    """Write so that the file is there whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
