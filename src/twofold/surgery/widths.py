"""Which widths a network of several decoders should have, for a budget of operations and what matters most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from twofold.errors import UserError, unknown
from twofold.parts import SlimNetwork, Widths


def width_search(
    net: SlimNetwork,
    shape: tuple[int, int],
    budget: float,
    preference: Mapping[str, float],
    score: Callable[[], float],
) -> Widths:
    """Widths within a budget: of the decoders by preference, of the encoder's stages by trial.

    Aich et al. 2023, https://arxiv.org/abs/2308.11744. The decoders together may spend the same share as the whole: the
    preferred task's takes the widest that leaves the others their narrowest, then the next one's; tasks that are
    preferred alike are as wide. The encoder has what is left: from its full widths on, the stage is narrowed by one
    whose loss of score is smallest for the operations saved, until the whole fits.

    Args:
        net: a network; it stays at its present widths.
        shape: height and width of an image.
        budget: the share of the full network's operations, in (0, 1].
        preference: how much each task matters, at least 0, not all 0; a task that is left out matters nothing.
        score: how good the network is at its present widths, on some images; more is better.

    Returns:
        A configuration of the network.

    Raises:
        UserError: an unknown task, a preference that is none, or a budget below the smallest network (says how much
            that needs).
    """
    _check(net, budget, preference)
    stages, tasks = len(net.encoder.stages), net.tasks
    wide, before = net.widths - 1, net.configuration
    full = [wide] * len(before)
    allowed = budget * net.flops(full, shape)
    smallest = net.flops([0] * len(before), shape)
    if smallest > allowed:
        least = math.ceil(1000 * smallest / net.flops(full, shape)) / 1000
        raise UserError(f"budget={budget:g} is below the smallest network; it needs {least:g} or more")

    # A decoder counts as the dearest, over features of full width: never too low, and the same for every task.
    features = [own[-1] for own in net.encoder.sizes]
    costs = [max(d.flops(features, width, net.shapes(shape)) for d in net.each_decoder) for width in range(wide + 1)]
    chosen = dict.fromkeys(tasks, 0)
    left = min(len(tasks) * (budget * costs[-1] - costs[0]), allowed - smallest)
    for weight in sorted({preference.get(task, 0.0) for task in tasks} - {0.0}, reverse=True):
        alike = [task for task in tasks if preference.get(task, 0.0) == weight]
        for width in range(wide, 0, -1):
            more = len(alike) * (costs[width] - costs[0])
            if more <= left:
                chosen, left = chosen | dict.fromkeys(alike, width), left - more
                break
    decoders = [chosen[task] for task in tasks]
    encoder = [wide] * stages
    try:
        while (spent := net.flops(encoder + decoders, shape)) > allowed:
            best = (-math.inf, -1)
            now = _scored(net, encoder + decoders, score)
            for stage in range(stages):
                if encoder[stage]:
                    narrower = [w - (i == stage) for i, w in enumerate(encoder)] + decoders
                    saved = spent - net.flops(narrower, shape)
                    gain = (_scored(net, narrower, score) - now) / saved
                    best = max(best, (gain, stage))
            encoder[best[1]] -= 1
    finally:
        net.configure(before)
    return tuple(encoder + decoders)


def _scored(net: SlimNetwork, widths: list[int], score: Callable[[], float]) -> float:
    net.configure(widths)
    return score()


def _check(net: SlimNetwork, budget: float, preference: Mapping[str, float]) -> None:
    if not 0 < budget <= 1:
        raise UserError(f"budget={budget:g} is a share of the full network's operations: above 0, at most 1")
    for task, weight in preference.items():
        if task not in net.tasks:
            raise unknown("task of the network", task, net.tasks)
        if not (weight >= 0 and math.isfinite(weight)):
            raise UserError(f"preference of {task} is {weight}; it must be at least 0")
    if not sum(preference.values()) > 0:
        raise UserError(f"no task is preferred; give one of {', '.join(net.tasks)} a preference above 0")
