"""An encoder of texts with a decoder at its side: vectors for search, a verdict on a pair, and new text."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.parts.encoder_decoder import Recalling
from twofold.parts.encoders import TextEncoder
from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part
from twofold.parts.pooling import Last

Ids = Int[Tensor, "batch time"]
Real = Bool[Tensor, "batch time"]


class WritingEncoder(TextEncoder):
    """A `TextEncoder` whose states a decoder can look at. Wang et al. 2023, https://arxiv.org/abs/2305.07922

    Args:
        model, pool, project, normalise: as `TextEncoder` has them.
        decoder: some of its mixers are `CrossAttention`; with a head over the vocabulary.
        match: states of the decoder `[B, D]` -> logits `[B, 2]` (no, yes).
        momentum: what only training needs; None where that is over.
    """

    def __init__(
        self,
        model: SequenceModel,
        pool: Part,
        project: Part | None,
        decoder: SequenceModel,
        match: Part,
        momentum: Part | None = None,
        normalise: bool = True,
    ) -> None:
        super().__init__(model, pool, project, normalise)
        self.decoder, self.match, self.momentum = decoder, match, momentum
        self.last = Last()

    def recalling(self, memory: Float[Tensor, "batch source dim"], real: Bool[Tensor, "batch source"]) -> Recalling:
        """The decoder, with the states of a source in mind."""
        made = Recalling(self.decoder.embedding, self.decoder.stack, self.decoder.head)
        made.memory, made.real = memory, real
        return made.train(self.training)

    def alone(self, rows: int) -> Recalling:
        """The decoder with nothing in mind, for `rows` sequences: a language model."""
        like = next(self.model.parameters())
        nothing = like.new_zeros(rows, 0, self.model.dim)
        return self.recalling(nothing, nothing.new_zeros(rows, 0).bool())

    def matched(
        self, memory: Float[Tensor, "batch source dim"], seen: Bool[Tensor, "batch source"], ids: Ids, real: Real
    ) -> Float[Tensor, "batch two"]:
        """Logits of no and yes, read at the last token: only it has seen the whole target and the source."""
        states = self.recalling(memory, seen).states(ids, Mask.causal())
        logits: Tensor = self.match(self.last(states, real))
        return logits
