"""trainable-updates: a classifier with trained directions that is fine-tuned on what comes in, some old images with it.

Rebuffi et al. 2017 for the images that are kept, https://arxiv.org/abs/1611.07725
"""

from __future__ import annotations

from twofold.catalog import baseline
from twofold.objectives import Loss
from twofold.parts import Directions, Headed, Part
from twofold.tasks.classify.system import LabelledBatch
from twofold.tasks.classify.updates import UpdatedClassifier


@baseline(
    "trainable-updates",
    title="Sequential fine-tuning with a trained classifier",
    tasks=("classify",),
    source="https://arxiv.org/abs/1611.07725",
    needs=("fine-tune an image classifier on new classes",),
)
class TrainableUpdates(UpdatedClassifier):
    """Image classifier that is updated by fine-tuning, its classifier with it."""

    def directions(self, used: int) -> Directions:
        return Directions(self.classes - 1, self.classes, used)

    def objective(self, net: Headed, old: Part | None, batch: LabelledBatch) -> Loss:
        """Cross-entropy alone."""
        return self.classified(net, batch.inputs.embed(net.encoder), batch.values)  # type: ignore[arg-type]
