"""What a model is asked to do: losses, and the corruptions that go with them. One function each."""

from twofold.objectives import classification, distillation, margins, ranking
from twofold.objectives.causal import causal
from twofold.objectives.compatible import aligned
from twofold.objectives.contrastive import info_nce, weighted_info_nce
from twofold.objectives.information import informative_codes
from twofold.objectives.loss import IGNORED, Loss
from twofold.objectives.masked import mask_tokens, masked
from twofold.objectives.matching import drawn_negatives
from twofold.objectives.nested import nested
from twofold.objectives.orthogonal import orthogonal
from twofold.objectives.spans import corrupt_spans, hide_spans, restore
from twofold.objectives.sparsity import flops, quadratic

__all__ = [
    "IGNORED",
    "Loss",
    "aligned",
    "causal",
    "classification",
    "corrupt_spans",
    "distillation",
    "drawn_negatives",
    "flops",
    "hide_spans",
    "info_nce",
    "informative_codes",
    "margins",
    "mask_tokens",
    "masked",
    "nested",
    "orthogonal",
    "quadratic",
    "ranking",
    "restore",
    "weighted_info_nce",
]
