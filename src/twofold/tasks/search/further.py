"""Training that goes on: a search model that is there, by another system's batches and loss."""

from __future__ import annotations

from twofold.catalog import Steps
from twofold.data.rows import Rows
from twofold.tasks.inputs import freeze
from twofold.tasks.search.data import from_rows
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.search.system import SIDES, SearchSystem
from twofold.training import History, train


def train_further(system: SearchSystem, model: EncoderModel, rows: Rows, steps: int, seed: int) -> History:
    """Trains a model's last layers in place, as many as the system's `tune_layers` says, and makes it ready for use.

    Args:
        system: whose batches, loss and recipe are used.
        rows: pairs, as search reads them.
        seed: of the batches.

    Raises:
        UserError: the model has fewer layers, or the rows are no pairs.
    """
    for side in SIDES:
        freeze(model.net.tower(side).model, system.tune_layers, model.name)
    batches = system.batches(model, from_rows(rows), seed)
    history = train(model.net, system.loss, batches, Steps(steps), system.recipe(), seed=seed)  # type: ignore[arg-type]
    model.net.requires_grad_(True).eval()
    return history
