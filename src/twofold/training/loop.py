"""The one training loop."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from twofold import progress
from twofold.catalog.claims import Budget
from twofold.errors import UserError
from twofold.training import distributed, interrupts, schedule, seeds
from twofold.training.checkpoint import Checkpoints
from twofold.training.clock import Clock
from twofold.training.history import History
from twofold.training.logs import Log, Logs
from twofold.training.recipe import Recipe
from twofold.training.run import Batches, LossFunction, Run
from twofold.training.validation import Validation


def train(
    net: nn.Module,
    loss: LossFunction,
    batches: Batches,
    budget: Budget,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    until: float | None = None,
    validate: Validation | Callable[[nn.Module], Mapping[str, float]] | None = None,
    save_every: float = 60.0,
    log: Log | str | os.PathLike[str] | Sequence[Log | str | os.PathLike[str]] | None = None,
    identity: Mapping[str, Any] | None = None,
) -> History:
    """Train a network in place until the budget is spent; it is left in evaluation mode.

    Only parameters that require gradients change, and buffers. Torch's generators are set from (seed, step) for
    every batch, and given back as they were: a run that was stopped and goes on from `folder` takes the same
    steps as one that was not, to the bit under a budget of steps or tokens. What else changes as training goes
    on must be a buffer, or follow from the step.

    Auxiliary losses that parts add (`twofold.parts.add_aux`) are added to the loss, and logged as `aux/<name>`.
    Under `torchrun` each process works on its share of every batch (see `twofold.training.distributed`).

    Args:
        net: the network.
        loss: gives the `Loss` of the network on one batch.
        batches: gives a batch from its number, counted from 0, and the share of the budget that is spent. The
            number must decide alone, but for curricula that follow the share. With accumulation, step s has the
            batches s · accumulate to (s + 1) · accumulate − 1.
        budget: `Steps`, `Seconds` or `Tokens`. Seconds are of training only, over all resumptions. Tokens are
            `batch.tokens`, or the elements of the batch's first tensor of integers.
        recipe: learning rate and the like.
        seed: of all randomness.
        folder: where checkpoints are kept. If there is one, training goes on from it.
        until: stop at this share of the budget, in (0, 1]; the schedule stays that of the whole budget, so that
            a later call with the same folder goes on as if nothing had happened.
        validate: what to measure during training; a plain function is called at each quarter of the budget.
        save_every: seconds between checkpoints. One is also saved at the end, and at Ctrl-C.
        log: csv files by path, or logs such as `TensorBoardLog(folder)`.
        identity: what else must be the same to go on from a checkpoint, such as the data's fingerprint; JSON-able.

    Returns:
        The history of the whole run, earlier calls included.

    Raises:
        UserError: nothing to train, a budget that cannot be spent, a loss that is not finite, a checkpoint that
            belongs to other settings or cannot be written.
        KeyboardInterrupt: Ctrl-C, after the step in hand and a checkpoint.
    """
    schedule.check(budget)
    goal = 1.0 if until is None else until
    if not 0 < goal <= 1:
        raise UserError(f"training until {until} of the budget is impossible; give a share above 0 and at most 1")
    if validate is not None and not isinstance(validate, Validation):
        validate = Validation(validate)
    rank, _ = distributed.join()
    run = Run(net, loss, batches, budget, recipe, seed, validate)
    checkpoints = None if folder is None else Checkpoints(folder, run.configuration(identity or {}))
    _resume(run, checkpoints)
    logs = Logs(log if rank == 0 else None)
    logs.open(run.spent.steps)
    quiet = progress.listening(None) if rank else contextlib.nullcontext()
    with contextlib.closing(logs), quiet, seeds.untouched(run.device):
        _go(run, goal, checkpoints if rank == 0 else None, save_every, logs)
    return run.finish()


def _resume(run: Run, checkpoints: Checkpoints | None) -> None:
    saved = checkpoints.load() if checkpoints else None
    if saved is not None:
        run.restore(saved)
    if distributed.agreed(run.spent.steps, run.device) != run.spent.steps:
        raise UserError("not every process sees the same checkpoint; give a folder that all can read")


def _go(run: Run, goal: float, checkpoints: Checkpoints | None, save_every: float, logs: Logs) -> None:
    """Step by step to the goal, with validations, checkpoints, logs and progress on the way."""
    saved, saved_at = run.spent.steps, time.monotonic()

    def save() -> None:
        nonlocal saved, saved_at
        if checkpoints is not None and saved != run.spent.steps:
            logs.flush()
            checkpoints.save(run.state())
            saved, saved_at = run.spent.steps, time.monotonic()

    def validate() -> None:
        row = run.validate()
        if row is not None:
            logs.write(row)

    clock = Clock(run.spent.seconds)
    began, began_at = run.fraction, clock.seconds
    run.net.train()
    with interrupts.deferred() as interrupt, progress.stage("train", run.budget.amount * goal) as stage:
        stage.advance(run.spent.of(run.budget))
        try:
            with clock.paused():
                validate()  # one that an interrupt prevented
            while run.fraction < goal and not interrupt.asked:
                before = run.spent.of(run.budget)
                for row in run.step(clock):
                    logs.write(row)
                    stage.text = f"loss {row['loss']:.4g}"
                with clock.paused():
                    validate()
                    if run.settled and time.monotonic() - saved_at >= save_every:
                        save()
                stage.remaining = (clock.seconds - began_at) * (goal - run.fraction) / (run.fraction - began)
                stage.advance(run.spent.of(run.budget) - before)
        except KeyboardInterrupt:
            # Raised by a batch, a loss or a validation; or by a second Ctrl-C, which does not wait for a file.
            if run.whole and not interrupt.asked:
                save()
            raise
        for row in run.settle(alone=interrupt.asked):
            logs.write(row)
        save()
