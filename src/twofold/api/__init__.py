"""What a person does with Twofold, one function a verb. `twofold` itself hands these out; the commands call them.

Importing this loads neither torch nor numpy nor pydantic; the functions import what they need.
"""

from __future__ import annotations

from twofold.errors import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any, TypeAlias

    from twofold.catalog.claims import Arm, Budget
    from twofold.data.rows import Rows
    from twofold.tasks import Evaluation, Model, Report

    Source: TypeAlias = str | Path | Rows
    CardData: TypeAlias = dict[str, Any]


def list(task: str | None = None, kind: str | None = None, family: str | None = None) -> tuple[CardData, ...]:
    """Every system and baseline, or those that serve a task, are of a kind, or belong to a family.

    Args:
        task: such as `search`, `language`, `solve`.
        kind: `model`, `transform` or `study`.
        family: such as `retrieval`; plain ones are in `baselines`.

    Returns:
        Cards, in the order of family and id: `id`, `title`, `kind`, `family`, `tasks`, `summary`, `options` (JSON
        schema by name), and where there is one `number`, `source`, `year`, `claim` and `verdict`.

    Raises:
        UserError: a task, kind or family that no card has; names the nearest.
    """
    from twofold.catalog import index

    return tuple(index.select(task=task, kind=kind, family=family))


def find(need: str, limit: int = 10, semantic: bool = False) -> tuple[CardData, ...]:
    """Systems for a need, said in a person's own words: `find("shrink a BERT without labels")`.

    Args:
        need: what is wanted.
        limit: how many cards at most.
        semantic: rank by meaning, with the checkpoint `minilm`, instead of by words.

    Returns:
        Cards as of `list`, each with a `score`, best first. By words only those that share one are returned;
        by meaning the score is the cosine, in [-1, 1].

    Raises:
        UserError: `need` is empty, or `semantic` and `minilm` has not been pulled.
    """
    if not need.strip():
        raise UserError("say what is needed, such as: find 'search by meaning'")
    if semantic:
        return _find_by_meaning(need, limit)
    from twofold.catalog import search

    return tuple(search.find(need, limit))


def show(system: str) -> CardData:
    """The card of one system, with its options, claim and verdict.

    Args:
        system: an id, also of an installed plug-in, or `./file.py:Class`.

    Raises:
        UserError: no such system; names the nearest.
    """
    from twofold.catalog import index

    for card in index.cards():
        if card["id"] == system:
            return card
    from twofold.catalog import register

    return _described(register.resolve(register.add_file(system) if ".py:" in system else system))


def cite(system: str) -> str:
    """The source of a system as a BibTeX entry.

    Raises:
        UserError: no such system, or one without a source.
    """
    card = show(system)
    source = card.get("source", "")
    if not source:
        raise UserError(f"{system} names no source to cite")
    fields = {"title": f"{{{card['title']}}}", "year": card.get("year"), "url": source}
    if "arxiv.org/abs/" in source:
        fields |= {"eprint": source.rpartition("/")[2], "archivePrefix": "arXiv"}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value is not None]
    key = f"{card['id'].replace('-', '')}{card.get('year', '')}"
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def pull(name: str) -> Path:
    """Fetches a pretrained checkpoint into the cache, once, and gives its folder.

    Args:
        name: `minilm` (a BERT-like sentence encoder, 22M weights) or `smollm2` (a Llama-like decoder, 135M).

    Raises:
        UserError: no such checkpoint, no connection, a file that is not the known one, or a full disk.
    """
    from twofold import checkpoints

    return checkpoints.pull(name)


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
        dtype: `float32` or `bfloat16`, of the forward pass; by default the system's own choice.
        fresh: begin again, and replace the model in `out`.
        options: of the system.

    Raises:
        UserError: an unknown system or option, data that cannot be read, or `out` holds something else.
    """
    from twofold import computing
    from twofold.api import fitting

    run = fitting.plan(system, options, data, task=task, minutes=minutes, budget=budget, seed=seed, columns=columns)
    with computing.on(device, dtype):
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


def evaluate(
    model: Model | str | Path,
    data: Source | None = None,
    *,
    part: str = "test",
    columns: Mapping[str, str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    **setting: Any,
) -> Evaluation:
    """The figures of a model on one part of the data.

    Args:
        model: a model, or where it is.
        data: as in `fit`; the split is the same, so the test part was not trained on.
        part: `train`, `validation` or `test`.
        columns: the task's column names to the data's.
        device: where to compute.
        dtype: `float32` or `bfloat16`.
        setting: what the task's evaluation offers beside this.

    Raises:
        UserError: no such model, part or data.
    """
    from twofold import computing, tasks
    from twofold.data import PARTS
    from twofold.errors import unknown

    if part not in PARTS:
        raise unknown("part", part, PARTS)
    with computing.on(device, dtype), computing.autocast():
        chosen = _model(model)
        job = tasks.task(chosen.task)
        return job.evaluate(chosen, job.read(job.default_data if data is None else data, columns), part, **setting)


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
        return chains.apply(
            systems, options, _model(model), data, columns=columns, seed=seed, out=out, fresh=fresh
        )


def compare(
    task: str,
    data: Source | None = None,
    *,
    systems: Sequence[str] | None = None,
    minutes: float = 5.0,
    out: str | Path = "out",
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    device: str | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Every system that serves a task, on the same data under the same budget, measured side by side.

    Choices are made on the validation part; the figures that are shown come from the test part. The folder `out`
    gets `best/` (the recommended model, ready to use), `report.html`, `compare.json`, and a folder an arm under
    `arms/`. Interrupted, the same call goes on from what is there.

    Args:
        task: such as `search`.
        data: a name, a path, or `Rows`; by default the task's embedded data.
        systems: arms as ids, `id(option=value)` or `./file.py:Class`; by default all that serve the task.
        minutes: wall-clock minutes in all.
        out: the folder to write.
        seed: of weights and batches.
        columns: the task's column names to the data's.
        device: where to compute.
        fresh: throw away what `out` holds of an earlier comparison.

    Returns:
        What the report shows: `rows` (one an arm), `recommendation`, `best`, `notes`, `data`, `budget`,
        `environment`.

    Raises:
        UserError: the data cannot be read, an arm does not serve the task, or `out` holds another comparison.
    """
    from twofold import computing
    from twofold.trials.compare import compare as run

    with computing.on(device):
        return run(
            task, data, systems=systems, minutes=minutes, out=out, seed=seed, columns=columns, fresh=fresh
        )


def reproduce(
    system: str,
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    retune: bool = False,
    timings: bool = False,
    side: bool = True,
    dry_run: bool = False,
    records: str | Path | None = None,
) -> dict[str, Any]:
    """Measures the claim of a system again, baseline and method side by side, and records the outcome.

    Finished runs are kept, so that an interrupted call goes on; the same seeds give the same figures.

    Args:
        system: its id.
        seeds: how many paired repeats; by default as the claim says.
        first_seed: of the first repeat.
        retune: choose tuned options again.
        timings: measure times too; the machine should do nothing else.
        side: run the arms beside the primary comparison as well.
        dry_run: measure without writing a record.
        records: the folder that the record goes to.

    Returns:
        The record: `verdict`, `why`, `effect` with its interval, every repeat of every `arms`, `environment`, …

    Raises:
        UserError: no such system, it has no claim, or the checkout holds changes that are not committed.
    """
    from twofold.trials.reproduce import reproduce as run

    return run(
        system,
        repeats=seeds,
        first_seed=first_seed,
        retune=retune,
        timings=timings,
        side=side,
        dry_run=dry_run,
        folder=records,
    )


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
        subject = None if model is None else _model(model)
        rows = None if data is None else chains.rows(data, columns)
        report: Report = made.run(subject, rows, seed=seed)
        return report


def export(model: Model | str | Path, out: str | Path, to: str = "hf", fresh: bool = False) -> Path:
    """Writes a model in the format of another program.

    Args:
        model: a model, or where it is.
        out: the folder to write.
        to: `hf`, a folder that Hugging Face `transformers` opens.
        fresh: replace what is in `out`.

    Raises:
        UserError: no such format, or a network it cannot hold; names the layer.
    """
    from pathlib import Path

    from twofold import checkpoints
    from twofold.api import places
    from twofold.errors import unknown

    if to != "hf":
        raise unknown("format", to, ("hf",))
    chosen = _model(model)
    places.make_empty(Path(out), fresh)
    return checkpoints.export_hf(chosen.net, chosen.tokenizer, out)


def _described(cls: Any) -> CardData:
    """The card of a class that stands in no index."""
    from pydantic import TypeAdapter

    card = {**cls.card.as_dict(), "module": cls.__module__}
    card["options"] = TypeAdapter(cls).json_schema().get("properties", {})
    if cls.claim is not None:
        card |= {"claim": cls.claim.as_dict(), "verdict": "not shown yet"}
    return card


def _model(model: Model | str | Path) -> Model:
    from twofold import computing, tasks

    return model if isinstance(model, tasks.Model) else tasks.load(model, computing.device())


def _find_by_meaning(need: str, limit: int) -> tuple[CardData, ...]:
    from twofold.catalog import index

    cards = index.cards()
    texts = [f"{c['title']}. {c['summary']}. {', '.join(c.get('needs', ()))}" for c in cards]
    model: Any = load("minilm")
    scores = model.encode([need], side="query").score(model.encode(texts)).squeeze(0)
    best = scores.argsort(descending=True, stable=True).tolist()[:limit]
    return tuple({**cards[i], "score": round(float(scores[i]), 3)} for i in best)
