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
        limit: how many tokens to add at most, none at 0.
        ahead: tokens that are proposed at a time, at least 1.
        stop: ids that end the text.

    Raises:
        UserError: an empty prompt, nothing to propose, more tokens than a network has positions for, or a network
            without a cache, or with one that cannot take so many tokens back; before anything is computed.
    """
    if not len(prompt):
        raise UserError("the prompt is empty; give at least one token, such as the start token")
    if ahead < 1:
        raise UserError(f"ahead is {ahead}; propose at least 1 token at a time")
    if limit < 0:
        raise UserError(f"limit is {limit}; give a number of tokens to add, at least 0")
    known = list(prompt)
    room, most = len(known) + limit, max(0, min(ahead, limit - 1))  # the last token is the checker's alone
    drafts, checked = _cache("draft", draft(), room, most), _cache("check", check(), room, most)
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
            if (wrong := cache.length - len(known) + 1) > 0:
                cache.rewind(wrong)
    return Speculated(known[len(prompt) :], drafted, accepted, checks)


def _cache(role: str, net: SequenceModel, room: int, most: int) -> StackCache:
    """A cache for `room` tokens from which calls of `most` drafts can be taken back (UserError)."""
    if net.max_len is not None and room > net.max_len:
        raise UserError(
            f"prompt and new tokens need {room} positions, the {role} network has {net.max_len}; shorten either"
        )
    others = "use one of attention, windows, convolutions or recurrent states"
    try:
        made = net.new_cache(1, room)
    except UserError as reason:
        raise UserError(f"the {role} network cannot go token by token ({reason}); {others}") from reason
    if made.back is None or made.back > most or most == 0:
        return made
    if made.back < 2:
        raise UserError(
            f"the {role} network's cache cannot take tokens back, which drafts need; {others}, or generate without "
            "drafts"
        )
    raise UserError(
        f"the {role} network's cache takes back tokens of calls of at most {made.back}, and ahead={most} makes calls "
        f"of {most + 1}; use ahead={made.back - 1} or less"
    )


def _logits(net: SequenceModel, cache: StackCache, tokens: Sequence[int]) -> Tensor:
    """Logits `[new, V]` behind the tokens that the cache does not hold yet."""
    device = next(net.parameters()).device
    return net(torch.tensor([list(tokens[cache.length :])], device=device), Mask.causal(), cache)[0]
