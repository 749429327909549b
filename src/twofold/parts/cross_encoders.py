"""Cross-encoders: a query and a document in one sequence, and the score that is read from its states."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.encoders import Tower
from twofold.parts.heads import Head
from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part
from twofold.parts.pooling import Last
from twofold.parts.stack import Stack

States = Float[Tensor, "batch time dim"]
Real = Bool[Tensor, "batch time"]


class CrossEncoder(Tower, abstract=True):
    """A tower over pairs; `scores` makes one number a pair of what it gives."""

    def scores(self, read: Float[Tensor, "batch out"]) -> Float[Tensor, "batch"]:
        """Scores, higher is better; here the one number that was read."""
        return read[:, 0]


class HeadScorer(CrossEncoder):
    """Pooled states and a head with one output. Nogueira & Cho 2019, https://arxiv.org/abs/1901.04085

    Args:
        model: its own head, if any, is not used.
        pool: `pool(states, real)` -> `[B, D]`.
        head: `[B, D]` -> `[B, 1]`.
    """

    def __init__(self, model: SequenceModel, pool: Part, head: Part) -> None:
        super().__init__()
        self.model, self.pool, self.head = model, pool, head

    def read(self, states: States, real: Real) -> Float[Tensor, "batch 1"]:
        """Pool, then head."""
        read: Tensor = self.head(self.pool(states, real))
        return read


class StepScorer(CrossEncoder):
    """A decoder takes one step and the unnormalised logit of one token is the score: T5 as a ranker.

    Zhuang et al. 2022, https://arxiv.org/abs/2210.10634, section 4.1.1. The decoder starts from one token and attends
    over the encoder's states; its token vectors are the encoder's.

    Args:
        model: the encoder; its own head, if any, is not used.
        decoder: blocks with `CrossAttention`.
        start: the token that the decoder starts from.
        token: whose logit is the score.
    """

    def __init__(self, model: SequenceModel, decoder: Stack, start: int, token: int) -> None:
        super().__init__()
        self.model, self.decoder, self.start, self.token = model, decoder, start, token

    def read(self, states: States, real: Real) -> Float[Tensor, "batch 1"]:
        """One step of the decoder."""
        table = self.model.embedding.table
        if table is None:
            raise UserError("a decoder needs token vectors, and this backbone has none; use another")
        begin = table[self.start].expand(len(states), 1, -1)
        last = self.decoder(begin, Mask.remember(states, real))[:, 0]
        return last @ table[self.token, :, None]


class WordScorer(CrossEncoder):
    """Logits over the vocabulary at the last token; the score is one word's log-probability beside another's.

    Nogueira et al. 2020, https://arxiv.org/abs/2003.06713: `log softmax` over the logits of the two words alone.

    Args:
        model: with a head over its vocabulary.
        yes, no: tokens of the two words.
    """

    def __init__(self, model: SequenceModel, yes: int, no: int) -> None:
        super().__init__()
        if not isinstance(model.head, Head):
            raise UserError("words are read from a head over the vocabulary, and this model has none; give it one")
        self.model, self.last, self.yes, self.no = model, Last(), yes, no

    def read(self, states: States, real: Real) -> Float[Tensor, "batch vocab"]:
        """Logits at the last real token."""
        return self.model.apply_head(self.last(states, real))

    def scores(self, read: Float[Tensor, "batch vocab"]) -> Float[Tensor, "batch"]:
        """The log-probability of `yes`, between the two words."""
        return read[:, [self.yes, self.no]].float().log_softmax(1)[:, 0]
