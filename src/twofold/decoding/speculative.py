"""Greedy decoding with drafts: a cheap network proposes tokens, the one that counts checks many at once.

Leviathan, Kalman & Matias 2023, "Fast Inference from Transformers via Speculative Decoding",
https://arxiv.org/abs/2211.17192 (here the greedy case: a draft stays where it is what the checker would take)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel
from twofold.parts.caches import StackCache


@dataclass(frozen=True)
class Speculated:
    """What came of a prompt.

    Args:
        ids: the new tokens; the stop token, where one ended them, is the last.
        drafted, accepted: tokens that were proposed, and those of them that stayed.
        checks: passes of the network that counts.
    """

    ids: list[int]
    drafted: int
    accepted: int
    checks: int


@torch.inference_mode()
def speculate(
    draft: Callable[[], SequenceModel],
    check: Callable[[], SequenceModel],
    prompt: Sequence[int],
    limit: int,
    *,
    ahead: int = 4,
    stop: Collection[int] = (),
) -> Speculated:
    """Continues a prompt with the tokens that the checking network takes greedily, in fewer of its passes.

    Args:
        draft: gives the network that proposes; called before each of its turns, so that one network may play both
            roles at different widths.
        check: gives the network whose greedy choice counts, likewise.
        prompt: at least one token.
        limit: how many tokens to add at most.
        ahead: tokens that are proposed at a time, at least 1.
        stop: ids that end the text.

    Raises:
        UserError: an empty prompt, nothing to propose, or a cache that cannot take so many tokens back; before anything
            is computed.
    """
    if not len(prompt):
        raise UserError("the prompt is empty; give at least one token, such as the start token")
    if ahead < 1:
        raise UserError(f"ahead is {ahead}; propose at least 1 token at a time")
    known = list(prompt)
    room = len(known) + limit
    drafts, checked = _cache("draft", draft(), room, ahead), _cache("check", check(), room, ahead)
    if len(known) > 1:  # in a call of its own: a state goes back only into short ones
        for net, cache in ((draft, drafts), (check, checked)):
            _logits(net(), cache, known[:-1])
    drafted = accepted = checks = 0
    while len(known) - len(prompt) < limit:
        proposed: list[int] = []
        net = draft()
        for _ in range(min(ahead, limit - (len(known) - len(prompt)) - 1)):
            logits = _logits(net, drafts, [*known, *proposed])
            proposed.append(int(logits[-1].argmax()))
        wanted = _logits(check(), checked, [*known, *proposed])[-len(proposed) - 1 :].argmax(-1).tolist()
        checks += 1
        agreed = next((i for i, (a, b) in enumerate(zip(proposed, wanted, strict=False)) if a != b), len(proposed))
        drafted, accepted = drafted + len(proposed), accepted + agreed
        for token in wanted[: agreed + 1]:
            known.append(token)
            if token in stop:
                return Speculated(known[len(prompt) :], drafted, accepted, checks)
        for cache in (drafts, checked):
            cache.rewind(max(0, cache.length - len(known) + 1))
    return Speculated(known[len(prompt) :], drafted, accepted, checks)


def _cache(role: str, net: SequenceModel, room: int, ahead: int) -> StackCache:
    """A cache from which every draft can be taken back (UserError)."""
    made = net.new_cache(1, room)
    if made.back is None or made.back > ahead:
        return made
    if made.back < 2:
        raise UserError(
            f"the {role} network's cache cannot take tokens back, which drafts need; use one of attention, windows, "
            "convolutions or recurrent states, or generate without drafts"
        )
    raise UserError(
        f"the {role} network's cache takes back tokens of calls of at most {made.back}, and ahead={ahead} makes calls "
        f"of {ahead + 1}; use ahead={made.back - 1} or less"
    )


def _logits(net: SequenceModel, cache: StackCache, tokens: Sequence[int]) -> Tensor:
    """Logits `[new, V]` behind the tokens that the cache does not hold yet."""
    device = next(net.parameters()).device
    return net(torch.tensor([list(tokens[cache.length :])], device=device), Mask.causal(), cache)[0]
