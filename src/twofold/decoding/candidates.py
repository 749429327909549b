"""How likely a model finds each of several answers: by the tokens at a mask, by masking in turn, or left to right.

A *prompt* is ids with one *slot* where the answer belongs. A *way* scores answers put into the slot:

    score_candidates(net, prompts, candidates, Masked(mask=tokenizer.mask))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel

Ids = Sequence[int]
_TOKENS = 8192  # places run through the network at a time
_LOGITS = 1 << 24  # logits held at a time (64 MB in float32)


class Way(Protocol):
    """A way to score candidates: log-probabilities, one a candidate, for each (prompt, its candidates)."""

    def __call__(
        self, net: SequenceModel, prompts: Sequence[Ids], candidates: Sequence[Sequence[Ids]]
    ) -> list[list[float]]: ...


def score_candidates(
    net: SequenceModel, prompts: Sequence[Ids], candidates: Sequence[Ids] | Sequence[Sequence[Ids]], how: Way
) -> Float[Tensor, "prompts candidates"]:
    """Log-probability in nats of every candidate for every prompt, float64 on the processor.

    Args:
        net: gives logits over the vocabulary.
        prompts: ids with special tokens, as `how` wants them.
        candidates: ids of each candidate, the same for all prompts, or as many for each prompt.
        how: `Masked`, `PseudoLikelihood` or `Causal`, or `PerToken` around one of them.

    Raises:
        UserError: no candidate, an empty one, or unequally many a prompt.
    """
    for_each: list[Sequence[Ids]]
    if len(candidates) and len(candidates[0]) and not isinstance(candidates[0][0], int):
        for_each = list(candidates)  # type: ignore[arg-type]
    else:
        for_each = [candidates] * len(prompts)  # type: ignore[list-item]
    if len(for_each) != len(prompts):
        raise UserError(f"{len(prompts)} prompts and candidates for {len(for_each)}; give candidates for each prompt")
    counts = {len(c) for c in for_each}
    if len(counts) > 1 or 0 in counts:
        raise UserError(f"prompts have {sorted(counts)} candidates; give every prompt as many, at least one")
    if any(not len(candidate) for each in for_each for candidate in each):
        raise UserError("a candidate has no token; give at least one")
    return torch.tensor(how(net, prompts, for_each), dtype=torch.float64).reshape(len(prompts), -1)


@dataclass(frozen=True)
class Masked:
    """Log-probabilities at the masks: the slot is as many masks as the candidate has tokens, all predicted at once.

    The prompt holds one `mask`, its slot. One pass for each length of candidates; candidates of one token share it.
    """

    mask: int

    def __call__(
        self, net: SequenceModel, prompts: Sequence[Ids], candidates: Sequence[Sequence[Ids]]
    ) -> list[list[float]]:
        slots = [_slot(prompt, self.mask) for prompt in prompts]
        jobs = sorted({(row, len(c)) for row, each in enumerate(candidates) for c in each})
        filled = [_put(prompts[row], slots[row], [self.mask] * size) for row, size in jobs]
        places = [[slots[row] + i for i in range(size)] for row, size in jobs]
        found = dict(zip(jobs, _log_probabilities(net, filled, places, Mask.bidirectional()), strict=True))
        return [[_sum(found[row, len(c)], c) for c in each] for row, each in enumerate(candidates)]


@dataclass(frozen=True)
class PseudoLikelihood:
    """Pseudo-log-likelihood: the candidate stands in the slot, each of its tokens is masked in turn.

    Salazar et al. 2020, https://arxiv.org/abs/1910.14659. With `starts`, the pieces to the right inside the same word
    are masked too, so that the rest of a word does not give a piece away: Kauf & Ivanova 2023,
    https://arxiv.org/abs/2305.10588. The score is the sum over the candidate's tokens; for a whole sentence, the
    prompt is nothing but the slot and special tokens.

    Args:
        mask: the id of the mask token; the prompt holds it once.
        starts: for each id, whether the token begins a word; None: every token is a word of its own.
    """

    mask: int
    starts: Bool[Tensor, "vocab"] | None = None

    def __call__(
        self, net: SequenceModel, prompts: Sequence[Ids], candidates: Sequence[Sequence[Ids]]
    ) -> list[list[float]]:
        filled: list[list[int]] = []
        places: list[list[int]] = []
        for prompt, each in zip(prompts, candidates, strict=True):
            slot = _slot(prompt, self.mask)
            for candidate in each:
                whole = _put(prompt, slot, candidate)
                ends = self._word_ends(candidate)
                for i, end in enumerate(ends):
                    filled.append([*whole[: slot + i], *[self.mask] * (end - i), *whole[slot + end :]])
                    places.append([slot + i])
        found = iter(_log_probabilities(net, filled, places, Mask.bidirectional()))
        return [[sum(_sum(next(found), [token]) for token in c) for c in each] for each in candidates]

    def _word_ends(self, candidate: Ids) -> list[int]:
        """For each token, where its word ends."""
        if self.starts is None:
            return [i + 1 for i in range(len(candidate))]
        ends, end = [], len(candidate)
        for i in reversed(range(len(candidate))):
            ends.append(end)
            if bool(self.starts[candidate[i]]):
                end = i
        return ends[::-1]


@dataclass(frozen=True)
class Causal:
    """Log-probability of the candidate after the prompt, left to right. The prompt runs once for all its candidates."""

    def __call__(
        self, net: SequenceModel, prompts: Sequence[Ids], candidates: Sequence[Sequence[Ids]]
    ) -> list[list[float]]:
        return [self._continued(net, prompt, each) for prompt, each in zip(prompts, candidates, strict=True)]

    @staticmethod
    @torch.inference_mode()
    def _continued(net: SequenceModel, prompt: Ids, candidates: Sequence[Ids]) -> list[float]:
        if not len(prompt):
            raise UserError("a prompt is empty; give at least one token, such as the start token")
        device = next(net.parameters()).device
        longest = max(map(len, candidates))
        cache = net.new_cache(1, len(prompt) + longest)
        first = net.apply_head(net.states(torch.tensor([list(prompt)], device=device), Mask.causal(), cache)[:, -1])
        start = first.float().log_softmax(-1)[0]
        scores = torch.stack([start[c[0]] for c in candidates]).double()
        if longest > 1:
            cache.reorder(torch.zeros(len(candidates), dtype=torch.long, device=device))
            ids = torch.zeros(len(candidates), longest, dtype=torch.long, device=device)
            for row, candidate in enumerate(candidates):
                ids[row, : len(candidate)] = torch.tensor(list(candidate), device=device)
            logits = net.apply_head(net.states(ids[:, :-1], Mask.causal(), cache))
            each = logits.float().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0].double()
            sizes = torch.tensor([len(c) for c in candidates], device=device)
            counted = torch.arange(1, longest, device=device) < sizes[:, None]
            scores = scores + each.masked_fill(~counted, 0.0).sum(1)
        found: list[float] = scores.tolist()
        return found


@dataclass(frozen=True)
class PerToken:
    """The scores of another way, divided by the candidates' numbers of tokens, so that long ones can win."""

    way: Way

    def __call__(
        self, net: SequenceModel, prompts: Sequence[Ids], candidates: Sequence[Sequence[Ids]]
    ) -> list[list[float]]:
        sums = self.way(net, prompts, candidates)
        return [
            [s / len(c) for s, c in zip(row, each, strict=True)] for row, each in zip(sums, candidates, strict=True)
        ]


def _slot(prompt: Ids, mask: int) -> int:
    places = [i for i, token in enumerate(prompt) if token == mask]
    if len(places) != 1:
        raise UserError(f"a prompt has {len(places)} mask tokens; give it exactly one, where the answer belongs")
    return places[0]


def _put(prompt: Ids, slot: int, tokens: Ids) -> list[int]:
    return [*prompt[:slot], *tokens, *prompt[slot + 1 :]]


def _sum(logs: Float[Tensor, "places vocab"], candidate: Ids) -> float:
    return float(logs[range(len(candidate)), list(candidate)].double().sum())


@torch.inference_mode()
def _log_probabilities(
    net: SequenceModel, sequences: Sequence[Ids], places: Sequence[Sequence[int]], mask: Mask
) -> list[Float[Tensor, "places vocab"]]:
    """Log-probabilities over the vocabulary at some places of each sequence; sequences of like length together."""
    device = next(net.parameters()).device
    if net.max_len is not None and sequences and max(map(len, sequences)) > net.max_len:
        raise UserError(
            f"a prompt with its answer has {max(map(len, sequences))} tokens, the network reads {net.max_len}"
        )
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    found: dict[int, Tensor] = {}
    most = max(1, _LOGITS // max(1, net.vocab * max((len(p) for p in places), default=1)))
    while order:
        width = len(sequences[order[0]])
        group = order[: max(1, min(_TOKENS // width, most))]
        order = order[len(group) :]
        ids = torch.zeros(len(group), width, dtype=torch.long)
        real = torch.zeros(len(group), width, dtype=torch.bool)
        for row, i in enumerate(group):
            ids[row, : len(sequences[i])] = torch.tensor(list(sequences[i]))
            real[row, : len(sequences[i])] = True
        states = net.states(ids.to(device), mask & Mask.padding(real.to(device)))
        rows = torch.tensor([row for row, i in enumerate(group) for _ in places[i]], device=device)
        columns = torch.tensor([place for i in group for place in places[i]], device=device)
        logs = net.apply_head(states[rows, columns]).float().log_softmax(-1).cpu()
        for i, piece in zip(group, logs.split([len(places[i]) for i in group]), strict=True):
            found[i] = piece
    return [found[i] for i in range(len(sequences))]
