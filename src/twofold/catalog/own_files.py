"""What a person's own file defines, named as `./mine.py:name`. Light: standard library only."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from twofold.errors import UserError, unknown


def own_module(reference: str, what: str, form: str) -> tuple[ModuleType, str]:
    """The module that a reference names, imported now, and the name in it.

    Args:
        reference: `./mine.py:name`.
        what, form: what is asked for and how it is named there, for the error: `systems`, `ClassName`.

    Raises:
        UserError: no such file, or it cannot be imported.
    """
    place, _, name = reference.rpartition(":")
    path = Path(place)
    if not place or not path.is_file():
        raise UserError(f"no file {place or reference!r}; own {what} are named as ./file.py:{form}")
    spec = importlib.util.spec_from_file_location(f"twofold_own_{path.stem}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{place} could not be imported: {type(error).__name__}: {error}") from error
    return module, name


def own_function(reference: str, what: str) -> Callable[..., Any]:
    """The function that `./mine.py:function` names.

    Raises:
        UserError: no such file or function, or the file cannot be imported.
    """
    module, name = own_module(reference, what, "function")
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        named = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise unknown(f"function in {reference.rpartition(':')[0]}", name, named)
    return function
