"""Vectors of texts from kept states of the layers that training leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from twofold import computing
from twofold.data import batches
from twofold.parts.encoders import Side
from twofold.tasks.inputs import Kept, TokenStore
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.search.vectors import Dense


def frozen_vectors(model: EncoderModel, texts: Sequence[str], side: Side, kept: Kept, layers: int) -> Dense:
    """As a dense model's `encode`, but what lies below its trained layers is computed once for all who ask for it.

    Args:
        model: one vector a text.
        kept: where those states are.
        layers: blocks below the trained ones; 0: nothing is kept.
    """
    tower, sequences = model.net.eval().tower(side), model.tokens(texts, side)
    pad = (model.tokenizer.pad if model.tokenizer is not None else 0) or 0
    inputs = kept.store(tower, sequences, pad, layers) if layers else TokenStore(sequences, pad)
    groups = batches.buckets([len(s) for s in sequences])
    with computing.inference():
        found = torch.cat([inputs.take(group).to(model.device).embed(tower).float().cpu() for group in groups])
    return Dense(found[torch.from_numpy(np.argsort(np.concatenate(groups)))])
