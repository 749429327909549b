"""One training run: what is trained, a step of it, and where it stands."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from twofold.catalog.claims import Budget, Seconds, Tokens
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import collect_aux
from twofold.training import checkpoint, distributed, seeds
from twofold.training.batch import move, shard, tokens_in
from twofold.training.checkpoint import Checkpoint
from twofold.training.clock import Clock
from twofold.training.figures import Figures
from twofold.training.history import Curve, History
from twofold.training.recipe import Recipe, optimizer
from twofold.training.schedule import Spent, learning_rate
from twofold.training.validation import Validation

LossFunction = Callable[[nn.Module, Any], Loss]
Batches = Callable[[int, float], Any]
Row = dict[str, float]


class Run:
    """The state of a run: weights, optimizer, what is spent, figures; all that a checkpoint holds."""

    def __init__(
        self,
        net: nn.Module,
        loss: LossFunction,
        batches: Batches,
        budget: Budget,
        recipe: Recipe,
        seed: int,
        validation: Validation | None,
    ) -> None:
        self.net, self.budget = net, budget
        self._batches, self._recipe, self._seed, self._validation = batches, recipe, seed, validation
        self._names = {p: name for name, p in net.named_parameters() if p.requires_grad}
        if not self._names:
            raise UserError("there is nothing to train: every parameter is frozen; set requires_grad on some")
        self.device = next(iter(self._names)).device
        self._optimizer = optimizer(self._names, recipe)
        self._module = distributed.replicated(_Objective(net, loss))
        self._figures = Figures(self.device)
        self.spent = Spent()
        self._curve = Curve()
        self._validated: list[Row] = []
        self._seen = 0.0  # the share of the budget whose validations are done
        self._best: Row | None = None
        self._best_tensors: dict[str, Tensor] = {}
        self.whole = True  # False while a step is half done

    @property
    def fraction(self) -> float:
        """The share of the budget that is spent."""
        return self.spent.fraction(self.budget)

    @property
    def settled(self) -> bool:
        """Whether the figures of all steps are read, so that the run can be saved."""
        return len(self._figures) == 0

    def step(self, clock: Clock) -> list[Row]:
        """One update. Gives the figures that are read by now: one row a step, often none on an accelerator."""
        figures, tokens = self._gradients()
        if isinstance(self.budget, Tokens) and tokens == 0:
            raise UserError("batches hold no tokens to count; give them a number `tokens`, or a budget of Steps")
        if self._recipe.clip:
            norm = nn.utils.clip_grad_norm_(self._names, self._recipe.clip)
            figures.append({"gradient_norm": norm})
        seconds = clock.seconds
        if isinstance(self.budget, Seconds):
            seconds = distributed.agreed(seconds, self.device)
        spent = Spent(self.spent.steps + 1, seconds, self.spent.tokens + tokens)
        lr = learning_rate(self._recipe, spent.fraction(self.budget))

        self.whole = False
        position = {"step": spent.steps, "seconds": spent.seconds, "tokens": spent.tokens, "lr": lr}
        self._figures.add(position, figures)
        rows = self.settle() if self._figures.due else []
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.spent = spent
        self.whole = True
        return rows

    def _gradients(self) -> tuple[list[Mapping[str, Tensor | float]], int]:
        """Gradients of a step's batches, averaged; the figures of each, and the tokens in all."""
        count = self._recipe.accumulate
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self._recipe.dtype == "bfloat16")
        rank, world = distributed.world()
        share, tokens = self.fraction, 0
        gathered: list[Mapping[str, Tensor | float]] = []
        for part in range(count):
            index = self.spent.steps * count + part
            seeds.plant(self._seed, index, "batch", self.device)
            batch = self._batches(index, share)
            tokens += tokens_in(batch)
            batch = move(shard(batch, rank, world), self.device)
            seeds.plant(self._seed, index, f"network {rank}", self.device)
            last = part == count - 1
            with contextlib.nullcontext() if last else distributed.unsynchronised(self._module):
                with half:
                    value, figures = self._module(batch)
                (value / count).backward()
            gathered.append(figures)
        return gathered, tokens

    def settle(self, alone: bool = False) -> list[Row]:
        """Read the figures of the steps since the last time. `alone`: without the other processes."""
        rows = self._figures.read(alone)
        for row in rows:
            for name in ("loss", "gradient_norm"):
                if not math.isfinite(row.get(name, 0.0)):
                    raise _not_finite(name.replace("_", " "), row[name], row["step"], row["lr"])
            self._curve.add(row)
        return rows

    def validate(self) -> Row | None:
        """Validate where it is due; the figures if it was."""
        validation = self._validation
        if validation is None or not validation.due(self._seen, self.fraction):
            return None
        seeds.plant(self._seed, self.spent.steps, "validation", self.device)
        figures = validation.figures(self.net)
        spent = {"step": self.spent.steps, "seconds": self.spent.seconds, "tokens": self.spent.tokens}
        entry = {"fraction": self.fraction, **spent, **figures}
        if validation.better(figures, self._best):
            self._best = entry
            tensors = checkpoint.network_state(self.net)
            self._best_tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._validated.append(entry)
        self._seen = self.fraction
        return spent | {f"validation/{name}": value for name, value in figures.items()}

    def configuration(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """What must be the same for the run to go on from a checkpoint."""
        return {
            "budget": {"kind": type(self.budget).__name__, "amount": self.budget.amount},
            "recipe": asdict(self._recipe),
            "seed": self._seed,
            "network": checkpoint.fingerprint(self.net),
            "identity": dict(identity),
        }

    def state(self) -> Checkpoint:
        """All that it takes to go on."""
        self._check_weights()
        state = {
            "spent": asdict(self.spent),
            "curve": asdict(self._curve),
            "validated": self._validated,
            "seen": self._seen,
            "best": self._best,
        }
        groups = {
            "network": checkpoint.network_state(self.net),
            "optimizer": checkpoint.optimizer_state(self._optimizer, self._names),
            "best": self._best_tensors,
        }
        return Checkpoint(state, {f"{g}/{name}": t for g, named in groups.items() for name, t in named.items()})

    def restore(self, saved: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}, "best": {}}
        for path, tensor in saved.tensors.items():
            group, name = path.split("/", 1)
            groups[group][name] = tensor
        self._put(groups["network"])
        checkpoint.restore_optimizer(self._optimizer, self._names, groups["optimizer"])
        self._best_tensors = {name: tensor.to(self.device) for name, tensor in groups["best"].items()}
        state = saved.state
        self.spent, self._curve = Spent(**state["spent"]), Curve(**state["curve"])
        self._validated, self._seen, self._best = state["validated"], state["seen"], state["best"]

    def finish(self) -> History:
        """Leave the network ready for use, with the best weights where those were kept."""
        self._check_weights()
        if self._best is not None:
            self._put(self._best_tensors)
        self.net.eval()
        spent = self.spent
        return History(
            steps=spent.steps,
            seconds=spent.seconds,
            tokens=spent.tokens,
            fraction=self.fraction,
            curve=self._curve.drawn(),
            validation=list(self._validated),
            best=self._best,
        )

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in checkpoint.network_state(self.net).items():
                tensor.copy_(tensors[name])

    def _check_weights(self) -> None:
        for parameter, name in self._names.items():
            if not torch.isfinite(parameter).all():
                lr = self._optimizer.param_groups[0]["lr"]
                raise _not_finite(f"parameter {name}", "not finite", self.spent.steps, lr)


class _Objective(nn.Module):
    """The loss as one forward pass, auxiliary losses included: what data-parallel training wraps."""

    def __init__(self, net: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.net, self._loss = net, loss

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor | float]]:
        with collect_aux() as auxiliary:
            result = self._loss(self.net, batch)
        value, figures = result.value, dict(result.figures)
        for name, extra in auxiliary.items():
            value = value + extra
            figures[f"aux/{name}"] = extra.detach()
        figures["loss"] = value.detach()
        return value, figures


def _not_finite(what: str, value: float | str, step: float, lr: float) -> UserError:
    return UserError(
        f"training broke down at step {step:.0f}: the {what} is {value} (learning rate {lr:.3g}); lower the learning "
        "rate, or look for bad values in the data. What was saved before is kept"
    )
