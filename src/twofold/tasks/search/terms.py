"""What systems with vectors over a vocabulary share: a head to begin from, where texts begin and end, stop words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold import computing
from twofold.data import batches
from twofold.data.tokenizers import Tokenizer
from twofold.data.tokenizers.base import ROLES
from twofold.objectives import Loss, flops
from twofold.parts import MLMHead, Part, SparseEncoder, TermLikelihoods, TiedHead
from twofold.parts.encoders import Side
from twofold.tasks import backbones
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.lexical import STOP_WORDS
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.search.system import PairBatch


def head(chosen: backbones.Chosen) -> Part:
    """The masked-language-model head that the backbone was trained with, or a tied one to begin from.

    The latter starts near lexical search: a token speaks loudest for itself, and few other terms are above 0.
    """
    known = chosen.head
    if isinstance(known, TiedHead) and known.bias is None:
        return TiedHead(chosen.model.vocab, bias=True)  # the same logits; a bias lets a term fall silent
    if known is not None:
        return known
    made = MLMHead(chosen.model.dim, chosen.model.vocab)
    with torch.no_grad():
        nn.init.eye_(made.transform.weight)
        nn.init.zeros_(made.transform.bias)
        nn.init.constant_(made.bias, -3.0)
    return made


@dataclass(frozen=True)
class PressedBatch:
    """Pairs, and how much the sparsity of their vectors counts by now, 0 to 1."""

    pairs: PairBatch
    pressure: float

    @property
    def tokens(self) -> int:
        return self.pairs.tokens

    def shard(self, rank: int, world: int) -> PressedBatch:
        """One process's share."""
        return PressedBatch(self.pairs.shard(rank, world), self.pressure)

    def to(self, device: torch.device) -> PressedBatch:
        """The same on another device."""
        return PressedBatch(self.pairs.to(device), self.pressure)


def with_sparsity(
    rank: Loss,
    queries: Float[Tensor, "batch vocab"],
    documents: Float[Tensor, "candidates vocab"],
    weight: float,
    query_ratio: float,
) -> Loss:
    """A ranking loss plus `weight` times the sparsity of both sides, the queries' counted `query_ratio` times.

    Formal et al. 2022, https://arxiv.org/abs/2205.04733, section 2.1.
    """
    value = rank.value + weight * (query_ratio * flops(queries) + flops(documents))
    terms = {
        "query_terms": (queries.detach() > 0).sum(1).float().mean(),
        "document_terms": (documents.detach() > 0).sum(1).float().mean(),
    }
    return Loss(value, {**rank.figures, "loss": value.detach(), "ranking": rank.value.detach(), **terms})


def silent_tokens(tokenizer: Tokenizer) -> list[int]:
    """Tokens with a role: they are no terms."""
    return sorted({id for id in (getattr(tokenizer, role) for role in ROLES) if id is not None})


def stop_tokens(tokenizer: Tokenizer) -> list[int]:
    """Tokens that are stop words by themselves, at the beginning of a text or after a space."""
    spelled = [text for word in sorted(STOP_WORDS) for text in (word, f" {word}", f"a {word}")]
    return sorted({ids[-1] for ids in tokenizer.encode(spelled, specials=False) if _stands_alone(tokenizer, ids[-1])})


def _stands_alone(tokenizer: Tokenizer, id: int) -> bool:
    return tokenizer.decode([id]).strip() in STOP_WORDS


def around(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many tokens with a role stand before and after every text."""
    whole, bare = (tokenizer.encode(["a"], specials=kept)[0] for kept in (True, False))
    before = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return before, len(whole) - len(bare) - before


def settle(model: EncoderModel, data: SearchData, terms: int, texts: int = 256) -> None:
    """Starts a head's bias so that a text says `terms` terms on average, and every term is said equally often.

    The bias of a term becomes minus the quantile of its largest logits in training texts (`texts` documents and as
    many queries) that is exceeded in a share of `terms / V` of them. A bias that was trained, one that is not the
    same for all terms, is left as it is.
    """
    net = model.net
    assert isinstance(net, SparseEncoder)
    bias: Tensor | None = getattr(net.model.head, "bias", None)
    if bias is None or not bool((bias == bias[0]).all()):
        return
    with torch.no_grad():
        bias.zero_()
    asked, pool = data.asked("train")[:texts], data.pool("train")[:texts]
    found = [
        *_largest(model, [data.queries[i] for i in asked], "query"),
        *_largest(model, [data.documents[i] for i in pool], "document"),
    ]
    logits = torch.cat(found)
    share = min(1.0, terms / logits.shape[1])
    with torch.no_grad():
        bias.copy_(-torch.quantile(logits.double(), 1 - share, dim=0).to(bias))


def _largest(model: EncoderModel, texts: list[str], side: Side) -> list[Tensor]:
    """The largest logit of each term in each text, `[some texts, V]` a batch."""
    net, pad = model.net.eval(), (model.tokenizer.pad or 0 if model.tokenizer is not None else 0)
    assert isinstance(net, SparseEncoder)
    found = []
    sequences = model.tokens(texts, side)
    for start in range(0, len(sequences), 32):
        ids, real = batches.pad(sequences[start : start + 32], pad)
        with computing.inference():
            found.append(net.largest(net.model.states(ids, real), real).float())
    net.train()
    return found


def pieces(tokenizer: Tokenizer) -> list[int]:
    """Tokens that are no word by themselves: they go on with a word, or hold something other than letters."""
    a = tokenizer.encode(["a"], specials=False)[0]
    joined = (tokenizer.decode([*a, id]) for id in range(tokenizer.vocab_size))
    return [id for id, text in enumerate(joined) if not (text.startswith("a ") and text[2:].isalpha() and text[3:])]


def base_rates(model: EncoderModel, data: SearchData, texts: int = 256) -> None:
    """Starts the bias of a head of likelihoods so that each term is as likely as it is frequent in training texts.

    From `texts` documents and as many queries; a bias that was trained is left as it is.
    """
    net = model.net
    assert isinstance(net, TermLikelihoods)
    bias: Tensor | None = getattr(net.model.head, "bias", None)
    if bias is None or not bool((bias == bias[0]).all()):
        return
    pad = (model.tokenizer.pad if model.tokenizer is not None else 0) or 0
    sequences = model.tokens([data.queries[i] for i in data.asked("train")[:texts]], "query")
    sequences += model.tokens([data.documents[i] for i in data.pool("train")[:texts]], "document")
    held, logits = torch.zeros(len(bias), dtype=torch.float64), torch.zeros(len(bias), dtype=torch.float64)
    with computing.inference():
        bias.zero_()
        for start in range(0, len(sequences), 32):
            ids, real = batches.pad(sequences[start : start + 32], pad)
            held += (net.counts(ids, real) > 0).sum(0)
            logits += net.eval().logits(ids, real).double().sum(0)
    net.train()
    rates = (held + 0.5) / (len(sequences) + 1)
    with torch.no_grad():
        bias.copy_(torch.logit(rates) - logits / len(sequences))
