"""Measuring: systems side by side, one model, a published claim. Each imports what it needs when it is called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any, TypeAlias

    from twofold.data.rows import Rows
    from twofold.tasks import Evaluation, Model

    Source: TypeAlias = str | Path | Rows


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
    dtype: str = "auto",
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
        dtype: `float32`, `bfloat16`, or `auto`, whichever is faster here.
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
            task,
            data,
            systems=systems,
            minutes=minutes,
            out=out,
            seed=seed,
            columns=columns,
            fresh=fresh,
            dtype=dtype,
        )


def evaluate(
    model: Model | str | Path,
    data: Source | None = None,
    *,
    part: str = "test",
    columns: Mapping[str, str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
    rerank: Model | str | Path | None = None,
    run: str | Path | None = None,
    engine: str | None = None,
    built_by: Model | str | Path | None = None,
    **setting: Any,
) -> Evaluation:
    """The figures of a model on one part of the data; or of an index, on queries and judgements from files.

    With `queries` and `qrels`, what the index holds is ranked for every query that both files have, as trec_eval
    counts it: documents that are judged and not in the index were not found.

    Args:
        model: a model, or where it is; with `queries`, an index, or a model with an index.
        data: as in `fit`; the split is the same, so the test part was not trained on.
        part: `train`, `validation` or `test`.
        columns: the task's column names to the data's.
        device: where to compute.
        dtype: `float32`, `bfloat16`, or `auto`, whichever is faster here.
        queries: a file of queries with their ids (tsv, BEIR's jsonl, TREC topics).
        qrels: a file of judgements (TREC's, BEIR's).
        rerank: with `queries`, a search model that puts the best 100 in order again.
        run: with `queries`, a file to write the ranking to, in TREC's format.
        engine: with `queries`, that of the index, as in `index`.
        built_by: with `queries`, the model that built the index, where it is not where it was.
        setting: what the task's evaluation offers beside this.

    Raises:
        UserError: no such model, part or data.
    """
    from pathlib import Path

    from twofold import computing, tasks
    from twofold.api.making import opened
    from twofold.data import PARTS
    from twofold.errors import UserError, unknown

    if part not in PARTS:
        raise unknown("part", part, PARTS)
    if (queries is None) != (qrels is None):
        raise UserError("an index is measured on queries and judgements; give both --queries and --qrels")
    if queries is not None and qrels is not None and data is not None:
        raise UserError("give data, or --queries and --qrels, not both")
    if built_by is not None and queries is None:
        raise UserError("--built-by is the model of an index; measure one with --queries and --qrels")
    if engine is not None and queries is None:
        raise UserError("--engine is that of an index; measure one with --queries and --qrels")
    with computing.on(device, dtype), computing.autocast():
        if queries is not None and qrels is not None:
            from twofold.tasks.search import judged

            index = judged.searcher(model, engine, judged.reader(built_by))
            return judged.evaluate(index, Path(queries), Path(qrels), judged.reader(rerank), run)
        if isinstance(model, str | Path) and (Path(model) / "index.json").is_file():
            raise UserError(f"{model} is an index; measure it with --queries and --qrels")
        chosen = opened(model)
        job = tasks.task(chosen.task)
        return job.evaluate(chosen, job.read(job.default_data if data is None else data, columns), part, **setting)


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
    data: str | None = None,
    columns: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
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
        data: other data than the claim's: a file, a folder or a name. What comes out goes into the record's checks; its
            verdict stays.
        columns: the task's column names to those of the other data.
        options: with other data, in place of both arms' own, such as a backbone that knows its words.

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
        data=data,
        columns=columns,
        options=options,
    )
