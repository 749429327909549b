"""From a causal network to a sequence: one loop, one token at a time, many sequences at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twofold.decoding.choices import Choice, Processor, greedy
from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel


@dataclass(frozen=True)
class Generated:
    """What was generated, a row a prompt.

    Args:
        ids: new tokens `[B, N]`, padded after a row's end; N is the longest row.
        lengths: how many tokens each row has, `[B]`, the stop token counted.
        stopped: whether a stop token ended the row (else the limit did), `[B]`.
        nats: minus the log probability of each row's tokens under the network (before processors), `[B]`.
    """

    ids: Tensor
    lengths: Tensor
    stopped: Tensor
    nats: Tensor

    def sequences(self) -> list[list[int]]:
        """The new tokens of each row, without padding and without the stop token."""
        ends = (self.lengths - self.stopped.long()).tolist()
        return [row[:end] for row, end in zip(self.ids.tolist(), ends, strict=True)]


@torch.inference_mode()
def generate(
    net: SequenceModel,
    prompts: Sequence[Sequence[int]],
    limit: int,
    *,
    choose: Choice = greedy,
    processors: Sequence[Processor] = (),
    stop: Collection[int] = (),
    pad: int = 0,
    cached: bool = True,
) -> Generated:
    """Continues each prompt until a stop token or `limit` new tokens.

    Prompts of unequal length are padded on the left; padding is masked and does not count as a position, so a
    row's tokens do not depend on the rows beside it. Memory for tokens and cache is taken once, before the first step.

    Args:
        net: a causal network that gives logits.
        prompts: token ids, each at least one.
        limit: how many tokens to add at most.
        choose: takes logits `[B, V]`, gives ids `[B]`.
        processors: change the logits first, in this order.
        stop: ids that end a row.
        pad: the id that fills rows; any id will do.
        cached: False computes every step over the whole sequence (slow; for mixers without a cache, and for checks).

    Raises:
        UserError: a prompt is empty, or prompt and limit do not fit the network's positions.
    """
    if limit < 0:
        raise ValueError(f"limit is a number of tokens, got {limit}")
    ids, real = _buffers(prompts, limit, pad, _device(net))
    batch, total = ids.shape
    first = total - limit
    _check_fits(net, int(real.sum(1).max()) + limit)
    padded = not bool(real[:, :first].all())
    stops = torch.tensor(sorted(stop), dtype=torch.long, device=ids.device)
    lengths = torch.full((batch,), limit, device=ids.device)
    running = torch.ones(batch, dtype=torch.bool, device=ids.device)
    nats = torch.zeros(batch, dtype=torch.float64, device=ids.device)
    cache = net.new_cache(batch, total) if cached and limit and not net.recomputes else None
    done, end = 0, first
    for end in range(first, total):
        rule = Mask.causal() & Mask.padding(real[:, done:end]) if padded else Mask.causal()
        logits = net.apply_head(net.newest(ids[:, done:end], rule, cache)).float()
        done = end if cache is not None else 0
        chances = logits
        for process in processors:
            chances = process(chances, ids[:, :end], real[:, :end])
        chosen = choose(chances)
        cost = -logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0].double()
        nats += torch.where(running, cost, 0.0)
        ids[:, end] = torch.where(running, chosen, pad)
        # Rows that ended go on with padding that nobody reads: the batch keeps its shape.
        real[:, end] = True
        ended = running & torch.isin(chosen, stops)
        lengths = torch.where(ended, end + 1 - first, lengths)
        running &= ~ended
        if not running.any():
            break
    longest = int(lengths.max()) if batch else 0
    return Generated(ids[:, first : first + longest], lengths, ~running, nats)


def _buffers(prompts: Sequence[Sequence[int]], limit: int, pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts on the right of `[B, T]`, room for `limit` tokens behind them, and which of it is real."""
    empty = next((i for i, p in enumerate(prompts) if not len(p)), None)
    if empty is not None:
        raise UserError(f"prompt {empty + 1} is empty; give at least one token, such as the start token")
    width = max((len(p) for p in prompts), default=0)
    ids = torch.full((len(prompts), width + limit), pad, dtype=torch.long)
    real = torch.zeros(ids.shape, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) : width] = torch.as_tensor(prompt)
        real[row, width - len(prompt) : width] = True
    return ids.to(device), real.to(device)


def _device(net: SequenceModel) -> torch.device:
    return next((p.device for p in net.parameters()), torch.device("cpu"))


def _check_fits(net: SequenceModel, length: int) -> None:
    room = net.max_len
    if room is not None and length > room:
        raise UserError(f"prompt and new tokens need {length} positions, the network has {room}; shorten either")
