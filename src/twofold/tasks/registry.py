"""Tasks by name, and models by reference."""

from __future__ import annotations

import importlib
from pathlib import Path

from twofold import checkpoints
from twofold.catalog import resolve
from twofold.checkpoints import folder
from twofold.errors import UserError, unknown
from twofold.tasks.model import Model
from twofold.tasks.task import Task

_TASKS = {
    "search": "twofold.tasks.search.task:SearchTask",
    "recommend": "twofold.tasks.recommend:RecommendTask",
    "classify": "twofold.tasks.classify:ClassifyTask",
    "draw": "twofold.tasks.draw:DrawTask",
    "language": "twofold.tasks.language:LanguageTask",
    "represent": "twofold.tasks.represent:RepresentTask",
    "rewrite": "twofold.tasks.rewrite:RewriteTask",
    "segment": "twofold.tasks.segment:SegmentTask",
    "solve": "twofold.tasks.solve:SolveTask",
    "store": "twofold.tasks.store:StoreTask",
}


def task(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: no such task; names the nearest.
    """
    if name not in _TASKS:
        raise unknown("task", name, _TASKS)
    module, _, attribute = _TASKS[name].partition(":")
    made: Task = getattr(importlib.import_module(module), attribute)()
    return made


def names() -> tuple[str, ...]:
    """Every task's name."""
    return tuple(_TASKS)


def load(reference: str | Path, device: str = "cpu") -> Model:
    """A model from a Twofold folder, a Hugging Face folder, a GGUF file, or a pulled checkpoint's name.

    Args:
        reference: `model/`, `hf:folder`, `file.gguf`, `minilm` or `smollm2`.
        device: where its weights go.

    Raises:
        UserError: nothing there, or something that cannot be read; says what to do.
    """
    text = str(reference)
    path = Path(text.removeprefix("hf:"))
    if not path.exists():
        if text in checkpoints.KNOWN:
            pulled = checkpoints.pulled(text)
            if pulled is None:
                raise UserError(f"{text} is not here yet; fetch it with: twofold pull {text}")
            path = pulled
        else:
            raise UserError(
                f"no model at {text}: no such folder, and no checkpoint of that name (known: minilm, smollm2)"
            )
    if path.is_dir() and (path / folder.MANIFEST).exists():
        saved = folder.read(path)
        model_task = task(str(saved.task.get("name", "")))
        if saved.network is None:
            maker = resolve(str(saved.history[-1]["id"])) if saved.history else None
            opener = getattr(maker, "restore", None)
            if opener is None:
                raise UserError(f"{path} holds no network, and no installed system can open it")
            model: Model = opener(saved)
        else:
            model = model_task.kind_of(saved.task).restore(saved)
        return model.to(device)
    return _imported(path).to(device)


def _imported(path: Path) -> Model:
    found = checkpoints.open_checkpoint(path)
    name = "search" if found.encoder else "language"
    return task(name).model.imported(found)  # type: ignore[attr-defined]
