"""Candidates scored three ways, each against the plain computation."""

from __future__ import annotations

import pytest
import torch

from twofold.decoding import Causal, Masked, PerToken, PseudoLikelihood, score_candidates
from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel, presets

MASK, VOCAB = 3, 40


@pytest.fixture(scope="module")
def encoder() -> SequenceModel:
    torch.manual_seed(0)
    return presets.encoder(VOCAB, 32, 2, 4, head="tied").eval()


@pytest.fixture(scope="module")
def decoder() -> SequenceModel:
    torch.manual_seed(0)
    return presets.decoder(VOCAB, 32, 2, 4).eval()


def at(net: SequenceModel, ids: list[int], place: int, mask: Mask | None = None) -> torch.Tensor:
    with torch.no_grad():
        return net(torch.tensor([ids]), mask)[0, place].log_softmax(-1)


def test_masked_reads_the_logits_at_the_slot(encoder: SequenceModel) -> None:
    prompts = [[1, 7, 8, MASK, 2], [1, 9, MASK, 10, 11, 12, 2]]
    found = score_candidates(encoder, prompts, [[5], [6], [20, 21]], Masked(MASK))
    assert found.shape == (2, 3)
    for row, (prompt, slot) in enumerate(zip(prompts, (3, 2), strict=True)):
        one = at(encoder, prompt, slot)
        torch.testing.assert_close(found[row, :2].float(), one[[5, 6]], rtol=1e-5, atol=1e-5)
        longer = [*prompt[:slot], MASK, MASK, *prompt[slot + 1 :]]
        both = at(encoder, longer, slot)[20] + at(encoder, longer, slot + 1)[21]
        torch.testing.assert_close(found[row, 2].float(), both, rtol=1e-5, atol=1e-5)
    every = score_candidates(encoder, prompts, [[i] for i in range(VOCAB)], Masked(MASK))
    torch.testing.assert_close(every.exp().sum(1), torch.ones(2, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(every[:, [5, 30]].softmax(1).sum(1), torch.ones(2, dtype=torch.float64))


def test_pseudo_likelihood_masks_each_token_in_turn(encoder: SequenceModel) -> None:
    found = score_candidates(encoder, [[1, 7, MASK, 8, 2]], [[5, 6, 9]], PseudoLikelihood(MASK))
    whole = [1, 7, 5, 6, 9, 8, 2]
    expected = sum(at(encoder, [MASK if i == p else t for i, t in enumerate(whole)], p)[whole[p]] for p in (2, 3, 4))
    torch.testing.assert_close(found[0, 0].float(), expected, rtol=1e-5, atol=1e-5)


def test_pseudo_likelihood_hides_the_rest_of_a_word(encoder: SequenceModel) -> None:
    starts = torch.zeros(VOCAB, dtype=torch.bool)
    starts[[5, 9]] = True  # words: 5 6 | 9 10
    way = PseudoLikelihood(MASK, starts)
    found = score_candidates(encoder, [[1, MASK, 2]], [[5, 6, 9, 10]], way)
    seen = ([MASK, MASK, 9, 10], [5, MASK, 9, 10], [5, 6, MASK, MASK], [5, 6, 9, MASK])
    expected = sum(
        at(encoder, [1, *inner, 2], i + 1)[t] for i, (inner, t) in enumerate(zip(seen, (5, 6, 9, 10), strict=True))
    )
    torch.testing.assert_close(found[0, 0].float(), expected, rtol=1e-5, atol=1e-5)
    every = torch.ones(VOCAB, dtype=torch.bool)
    same = [score_candidates(encoder, [[1, MASK, 2]], [[5, 6, 9]], PseudoLikelihood(MASK, s)) for s in (None, every)]
    assert torch.equal(*same)


def test_causal_sums_what_follows_the_prompt(decoder: SequenceModel) -> None:
    prompts, candidates = [[1, 7, 8], [1, 9]], [[[5], [6, 10, 11]], [[12, 13], [14]]]
    found = score_candidates(decoder, prompts, candidates, Causal())
    for row, each in enumerate(candidates):
        for column, candidate in enumerate(each):
            ids, before = [*prompts[row], *candidate], len(prompts[row])
            expected = sum(at(decoder, ids, before + i - 1, Mask.causal())[t] for i, t in enumerate(candidate))
            torch.testing.assert_close(found[row, column].float(), expected, rtol=1e-5, atol=1e-5)
    mean = score_candidates(decoder, prompts, candidates, PerToken(Causal()))
    torch.testing.assert_close(mean * torch.tensor([[1, 3], [2, 1]]), found)


def test_rows_do_not_see_each_other(encoder: SequenceModel) -> None:
    prompts = [[1, 7, MASK, 2], [1, 9, 10, 11, 12, 13, MASK, 2]]
    for way in (Masked(MASK), PseudoLikelihood(MASK)):
        together = score_candidates(encoder, prompts, [[5, 6], [4]], way)
        alone = torch.cat([score_candidates(encoder, [p], [[5, 6], [4]], way) for p in prompts])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_scored_is_refused(encoder: SequenceModel, decoder: SequenceModel) -> None:
    with pytest.raises(UserError, match="2 mask tokens"):
        score_candidates(encoder, [[1, MASK, MASK, 2]], [[5]], Masked(MASK))
    with pytest.raises(UserError, match="no token"):
        score_candidates(encoder, [[1, MASK, 2]], [[5], []], Masked(MASK))
    with pytest.raises(UserError, match="at least one"):
        score_candidates(encoder, [[1, MASK, 2]], [], Masked(MASK))
    with pytest.raises(UserError, match="every prompt as many"):
        score_candidates(encoder, [[1, MASK], [MASK, 1]], [[[5]], [[5], [6]]], Masked(MASK))
    with pytest.raises(UserError, match="prompt is empty"):
        score_candidates(decoder, [[]], [[5]], Causal())
