"""Cross-encoders as search models: a cheap index finds candidates, the network reads each with the query."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from twofold import computing, progress
from twofold.data import batches
from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.parts import CrossEncoder
from twofold.tasks.inputs import Inputs, StateInputs, TokenInputs
from twofold.tasks.search import lexical
from twofold.tasks.search.index import Index, LexicalIndex
from twofold.tasks.search.model import SearchModel
from twofold.tasks.search.stages import PairScorer, Stage, StagedIndex

Ids = list[int]
_LONGEST_TOKEN = 32  # characters; cutting a text before it is tokenized keeps a megabyte cheap
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Template:
    """How a query and a document stand in one sequence.

    Query and document are cut, never what stands around them.

    Args:
        text: holds `{query}` and after it `{document}`.
        query_tokens, document_tokens: both are cut there.
        separator: the token that ends both texts; None: nothing stands between them.
        ending: tokens at the very end.

    Raises:
        UserError: a text without the two places, in that order.
    """

    text: str
    query_tokens: int
    document_tokens: int
    separator: int | None = None
    ending: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^{}]*\{query\}[^{}]*\{document\}[^{}]*", self.text):
            raise UserError(
                f"template={self.text!r} needs {{query}} and then {{document}}, each once, and no other braces"
            )

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Template:
        """The template that a model's settings hold."""
        return cls(**{**spec, "ending": tuple(spec["ending"])})

    def spec(self) -> dict[str, Any]:
        """As a model's settings hold it, JSON-able."""
        return {**asdict(self), "ending": list(self.ending)}

    def join(self, tokenizer: Tokenizer, queries: Sequence[str], documents: Sequence[str]) -> list[Ids]:
        """Ids of each query with the document at its side.

        Raises:
            UserError: an empty text.
        """
        before, between, after = re.split(r"\{query\}|\{document\}", self.text)
        pieces = tokenizer.encode([before.rstrip(), between.rstrip(), after.rstrip()], specials=False)
        begin = [] if tokenizer.cls is None else [tokenizer.cls]
        close = [] if self.separator is None else [self.separator]
        asked = _encoded(tokenizer, queries, self.query_tokens, "query")
        found = _encoded(tokenizer, documents, self.document_tokens, "document")
        return [
            [*begin, *pieces[0], *asked[q], *close, *pieces[1], *found[d], *close, *pieces[2], *self.ending]
            for q, d in zip(queries, documents, strict=True)
        ]


def _encoded(tokenizer: Tokenizer, texts: Sequence[str], limit: int, what: str) -> dict[str, Ids]:
    """Each text's ids, as they stand after a space."""
    unique = list(dict.fromkeys(texts))
    if any(not text.strip() for text in unique):
        raise UserError(f"a {what} is an empty text; leave it out")
    ids = tokenizer.encode([f" {text.strip()[: limit * _LONGEST_TOKEN]}" for text in unique], specials=False)
    return {text: found[:limit] for text, found in zip(unique, ids, strict=True)}


class LowerStates:
    """States of sequences behind frozen layers, kept once they were computed (in float32).

    Args:
        layers: how many are frozen; 0: nothing is kept, the ids are handed on.
        limit: bytes that are kept at most; beyond them states are computed anew each time.
    """

    def __init__(self, layers: int, limit: int = 1 << 29) -> None:
        self.layers, self.room = layers, limit
        self._states: dict[tuple[int, ...], torch.Tensor] = {}

    def __deepcopy__(self, memo: Any) -> LowerStates:
        return LowerStates(self.layers)  # whoever copies a network may change its lower layers

    def inputs(self, net: CrossEncoder, sequences: Sequence[Ids], pad: int) -> Inputs:
        """The sequences on their way through the network: ids, or states behind its frozen layers."""
        ids, real = batches.pad(sequences, pad)
        if not self.layers:
            return TokenInputs(ids, real)
        keys = [tuple(sequence) for sequence in sequences]
        new = {key: self._states[key] for key in keys if key in self._states}
        missing = list(dict.fromkeys(key for key in keys if key not in new))
        device = next(net.parameters()).device
        for group in batches.buckets([len(key) for key in missing], 1024):
            some, known = batches.pad([missing[i] for i in group], pad)
            with torch.no_grad(), computing.autocast():
                states = net.lower(some.to(device), known.to(device), self.layers).float().cpu()
            for row, i in enumerate(group):
                new[missing[i]] = states[row, : len(missing[i])].clone()
                self._keep(missing[i], new[missing[i]])
        table = torch.zeros(*ids.shape, new[keys[0]].shape[-1])
        for row, key in enumerate(keys):
            table[row, : len(key)] = new[key]
        return StateInputs(table, real, self.layers)

    def _keep(self, key: tuple[int, ...], states: torch.Tensor) -> None:
        if states.nbytes <= self.room:
            self.room -= states.nbytes
            self._states[key] = states


@lru_cache(maxsize=2)
def lower_states(name: str, seed: int, layers: int) -> LowerStates:
    """States behind the frozen layers of a backbone with a fixed name: the runs of a comparison share them."""
    return LowerStates(layers)


class PairModel(SearchModel):
    """A network that reads a query and a document together. BM25 finds what it puts in order.

    The task's settings: `pairs` (the `Template`), `depth` (candidates of a query that are read), and `window` and
    `stride` (sentences; a document is read in overlapping windows and scores as its best one; None: as a whole).
    """

    lower: LowerStates | None = None

    @property
    def net(self) -> CrossEncoder:
        net = super().net
        assert isinstance(net, CrossEncoder)
        return net

    @property
    def template(self) -> Template:
        """How it reads a pair."""
        return Template.of(self.spec["pairs"])

    def pair_scores(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """The score of each query with the document at its side, `[n]`; of a document in windows, the best one's."""
        assert self.tokenizer is not None
        window = self.spec.get("window")
        cut = {d: [d] if window is None else windows(d, window, self.spec["stride"]) for d in dict.fromkeys(documents)}
        owners = np.repeat(np.arange(len(documents)), [len(cut[d]) for d in documents])
        asked = [queries[i] for i in owners.tolist()]
        sequences = self.template.join(self.tokenizer, asked, [w for d in documents for w in cut[d]])
        scores = np.full(len(documents), -np.inf, np.float32)
        np.maximum.at(scores, owners, self._scores(sequences))
        return scores

    def _scores(self, sequences: Sequence[Ids]) -> np.ndarray:
        net, lower = self.net.eval(), self.lower or LowerStates(0)
        pad = (self.tokenizer.pad if self.tokenizer is not None else 0) or 0
        found = np.zeros(len(sequences), np.float32)
        with progress.stage(f"read {len(sequences):,} pairs", total=len(sequences)) as stage:
            for group in batches.buckets([len(s) for s in sequences]):
                inputs = lower.inputs(net, [sequences[i] for i in group], pad).to(self.device)
                with computing.inference():
                    found[group] = net.scores(inputs.embed(net)).float().cpu().numpy()
                stage.advance(len(group))
        return found

    def build_index(self, documents: Sequence[str]) -> Index:
        return self._staged(LexicalIndex(lexical.fit_bm25(documents)), documents)

    def open_index(self, path: Path) -> Index:
        return self._staged(LexicalIndex.open(path), self._texts)

    def _staged(self, first: Index, documents: Sequence[str]) -> Index:
        return StagedIndex(first, [Stage(PairScorer(self, documents), int(self.spec["depth"]))])

    def copy(self) -> Self:
        other = super().copy()
        other.lower = None
        return other


def windows(document: str, size: int, stride: int) -> list[str]:
    """Overlapping runs of `size` sentences, each `stride` after the one before, so that every sentence is in one.

    Nogueira et al. 2020, https://arxiv.org/abs/2003.06713, section 3: 10 and 5.
    """
    sentences = [s for s in _SENTENCE.split(document.strip()) if s] or [document]
    last = max(0, len(sentences) - size)
    return [" ".join(sentences[at : at + size]) for at in (*range(0, last, stride), last)]
