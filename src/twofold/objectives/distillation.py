"""Learning from a teacher: its distribution over classes or tokens, or its representations.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531. The teacher never receives a gradient.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from twofold.objectives.loss import Loss, average, full_precision


def kl(
    student_logits: Float[Tensor, "*shape classes"],
    teacher_logits: Float[Tensor, "*shape classes"],
    temperature: float = 1.0,
    direction: Literal["forward", "reverse"] = "forward",
    counted: Bool[Tensor, "*shape"] | None = None,
) -> Loss:
    """Kullback–Leibler divergence between the two distributions, softened by the temperature.

    Forward is KL(teacher ‖ student): cover all that the teacher holds possible. Reverse is
    KL(student ‖ teacher): keep to what it holds likely (Gu et al. 2024, https://arxiv.org/abs/2306.08543).
    Times temperature², so that gradients keep their size when the temperature changes (Hinton et al., section 2).

    Args:
        student_logits: the trained model's scores.
        teacher_logits: the teacher's scores; `-inf` marks classes that cannot be.
        temperature: what both scores are divided by, above 0.
        direction: which distribution the expectation is under.
        counted: False at positions that do not count, such as padding.

    Returns:
        The mean over the positions that count, in nats; figure `loss`.
    """
    student = F.log_softmax(full_precision(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(full_precision(teacher_logits.detach()) / temperature, dim=-1)
    ordered = {"forward": (teacher, student), "reverse": (student, teacher)}
    under, other = ordered[direction]
    # 0 · log 0 is 0.
    surprise = (under - other).masked_fill(under.isneginf(), 0.0)
    value = average((under.exp() * surprise).sum(-1), counted) * temperature**2
    return Loss(value, {"loss": value.detach()})


def mse(
    student: Float[Tensor, "*shape dim"],
    teacher: Float[Tensor, "*shape dim"],
    counted: Bool[Tensor, "*shape"] | None = None,
) -> Loss:
    """Squared difference, averaged over features and over the positions that count; figure `loss`."""
    difference = full_precision(student) - full_precision(teacher.detach())
    value = average(difference.square().mean(-1), counted)
    return Loss(value, {"loss": value.detach()})


def cosine(
    student: Float[Tensor, "*shape dim"],
    teacher: Float[Tensor, "*shape dim"],
    counted: Bool[Tensor, "*shape"] | None = None,
) -> Loss:
    """One minus the cosine of the angle, in [0, 2], averaged over the positions that count; figure `loss`."""
    similarity = F.cosine_similarity(full_precision(student), full_precision(teacher.detach()), dim=-1)
    value = average(1 - similarity, counted)
    return Loss(value, {"loss": value.detach()})
