"""What the study of feed-forward depth shows: each decoder's figures, and its loss when the fastest has ended."""

from __future__ import annotations

from dataclasses import dataclass

from twofold.measure.scaling import value_at
from twofold.tasks import Plot, Report, Table


@dataclass(frozen=True)
class Trained:
    """One decoder of the study.

    Args:
        k, blocks: linear maps of a feed-forward part, and blocks.
        weights: of the blocks; `parameters`: of all.
        flops: of training.
        seconds: of training.
        training_loss: mean of the last steps, nats a token.
        bits: of unseen text, a byte.
        validation_loss: nats a byte of the validation part.
        curve: seconds and training loss along the way.
    """

    k: int
    blocks: int
    weights: int
    parameters: int
    flops: float
    seconds: float
    training_loss: float
    bits: float
    validation_loss: float
    curve: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        return f"{self.k} maps, {self.blocks} blocks"


def report(found: list[Trained]) -> Report:
    """Figures of each decoder (without a name where there is one alone), a table, and loss against time."""
    figures: dict[str, float] = {}
    soonest = min(t.seconds for t in found)
    rows = []
    for t in found:
        at_equal = value_at(t.curve, soonest)
        own = {
            "training_loss": t.training_loss,
            "bits_per_byte": t.bits,
            "validation_loss": t.validation_loss,
            "parameters": float(t.parameters),
            "flops": t.flops,
        }
        suffix = "" if len(found) == 1 else f".{t.k}x{t.blocks}"
        figures |= {f"{name}{suffix}": value for name, value in own.items()}
        rows.append((t.k, t.blocks, t.weights, t.parameters, t.flops, t.seconds, t.training_loss, at_equal, t.bits))
    columns = (
        "linear maps",
        "blocks",
        "weights in blocks",
        "weights",
        "training operations",
        "seconds",
        "training loss",
        "loss when the fastest ends",
        "bits per byte",
    )
    plot = Plot("Training loss by time", "seconds", "nats a token", {t.name: t.curve for t in found})
    return Report(figures, (Table("Feed-forward depth", columns, tuple(rows)),), (plot,))
