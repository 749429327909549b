"""Code and the texts that describe it, for one network that reads, judges and writes them.

Wang et al. 2023, "CodeT5+", https://arxiv.org/abs/2305.07922
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from twofold import computing
from twofold.data import batches
from twofold.data.batches import Order
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.decoding import generate
from twofold.errors import UserError, unknown
from twofold.objectives import corrupt_spans
from twofold.parts import WritingEncoder
from twofold.tasks.inputs import TokenInputs
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.search.terms import around

TASKS = {"denoise": "<denoise>", "rest": "<rest>", "code": "<to-code>", "text": "<to-text>", "match": "<match>"}
"""What the decoder's first token says it is to do."""
SENTINELS = tuple(f"<span-{n}>" for n in range(32))
Name = Literal["denoise", "prefix", "alone", "contrast", "match", "to-code", "to-text"]
ON_CODE: tuple[Name, ...] = ("denoise", "prefix", "alone")
"""Code without its text: hidden spans, the rest of a beginning, and all of it from nothing."""
ON_PAIRS: tuple[Name, ...] = ("contrast", "match", "to-code", "to-text")
"""Text and code together."""
To = Literal["rest", "code", "text"]


@dataclass(frozen=True)
class WritingBatch:
    """Rows for one objective.

    Attributes:
        kind: which.
        source: what the encoder reads; None: nothing.
        code: codes as the encoder reads them, where the source is their texts and they are compared.
        target: what the decoder reads, each row from its task's token to the end token.
        pairs: equal numbers mark rows whose text or code belong together, `[B]`.
    """

    kind: Name
    source: TokenInputs | None
    code: TokenInputs | None
    target: TokenInputs | None
    pairs: Int[Tensor, "batch"]

    @property
    def tokens(self) -> int:
        return sum(each.tokens for each in (self.source, self.code, self.target) if each is not None)

    def shard(self, rank: int, world: int) -> WritingBatch:
        """One process's share."""
        mine = torch.arange(len(self.pairs))[rank::world]
        source, code, target = (each and each.rows(mine) for each in (self.source, self.code, self.target))
        return WritingBatch(self.kind, source, code, target, self.pairs[mine])

    def to(self, device: torch.device) -> WritingBatch:
        """The same on another device."""
        source, code, target = (each and each.to(device) for each in (self.source, self.code, self.target))
        return WritingBatch(self.kind, source, code, target, self.pairs.to(device))


class WritingBatches:
    """Pairs of text and code for one objective after another; pure in the step.

    Args:
        model: whose tokenizer has the tokens of tasks and the sentinels.
        kinds: what is asked, one a step, in turn.
        size: rows in a batch.
        rate, mean: share of tokens that spans hide, and their mean length.
    """

    def __init__(
        self,
        model: EncoderModel,
        data: SearchData,
        kinds: Sequence[Name],
        size: int,
        rate: float,
        mean: float,
        seed: int,
    ) -> None:
        tokenizer = model.tokenizer
        assert isinstance(tokenizer, SubwordTokenizer)
        self.kinds, self.rate, self.mean, self.seed = kinds, rate, mean, seed
        self.limits = {"text": int(model.spec["query_tokens"]), "code": int(model.spec["document_tokens"])}
        before, after = around(tokenizer)
        framed = tokenizer.encode(["a"])[0]
        self.lead, self.trail = framed[:before], framed[len(framed) - after :]
        self.tasks = {name: tokenizer.index(token) or 0 for name, token in TASKS.items()}
        self.sentinels = [tokenizer.index(each) or 0 for each in SENTINELS]
        self.pad, self.end = tokenizer.pad, tokenizer.eos or 0
        self.pairs, self.together = data.pairs, belonging(data)
        self.order = Order(len(self.pairs), min(size, len(self.pairs)), seed)
        self.ids = {
            "text": _encoded(tokenizer, data.queries, self.pairs[:, 0], self.limits["text"]),
            "code": _encoded(tokenizer, data.documents, self.pairs[:, 1], self.limits["code"]),
        }

    def __call__(self, step: int, progress: float) -> WritingBatch:
        kind, random = self.kinds[step % len(self.kinds)], np.random.default_rng((self.seed, step))
        chosen = self.order(step)
        texts = [self.ids["text"][i] for i in self.pairs[chosen, 0]]
        codes = [self.ids["code"][i] for i in self.pairs[chosen, 1]]
        pairs = torch.from_numpy(self.together[chosen])
        if kind == "denoise":
            hidden = [self._hidden(code, random) for code in codes]
            return self._made(kind, [s for s, _ in hidden], "denoise", [t for _, t in hidden], pairs)
        if kind == "prefix":
            cuts = [max(1, round(random.uniform(0.05, 1.0) * len(code))) for code in codes]
            cut = list(zip(codes, cuts, strict=True))
            return self._made(kind, [code[:n] for code, n in cut], "rest", [code[n:] for code, n in cut], pairs)
        if kind == "alone":
            return WritingBatch(kind, None, None, self._target("rest", codes), pairs)
        if kind == "to-text":
            return self._made(kind, codes, "text", texts, pairs)
        if kind == "to-code":
            return self._made(kind, texts, "code", codes, pairs)
        target = self._target("match", codes) if kind == "match" else None
        return WritingBatch(kind, self._read(texts), self._read(codes), target, pairs)

    def _made(
        self, kind: Name, source: Sequence[list[int]], task: str, target: Sequence[list[int]], pairs: Tensor
    ) -> WritingBatch:
        return WritingBatch(kind, self._read(source), None, self._target(task, target), pairs)

    def _hidden(self, code: list[int], random: np.random.Generator) -> tuple[list[int], list[int]]:
        """Code with spans hidden, and what they were; code of one token is copied."""
        return corrupt_spans(code, random, self.sentinels, self.rate, self.mean) if len(code) > 1 else (code, code)

    def _read(self, rows: Sequence[list[int]]) -> TokenInputs:
        """Rows as the encoder gets every text."""
        return TokenInputs(*batches.pad([[*self.lead, *row, *self.trail] for row in rows], self.pad))

    def _target(self, task: str, rows: Sequence[list[int]]) -> TokenInputs:
        return TokenInputs(*batches.pad([[self.tasks[task], *row, self.end] for row in rows], self.pad))


def belonging(data: SearchData) -> np.ndarray:
    """A number for each training pair; pairs that share a text or a code, at any remove, have the same one, `[n]`."""
    queries, documents = np.unique(data.pairs[:, 0], return_inverse=True)[1], data.pairs[:, 1]
    count = int(queries.max()) + 1
    size = count + int(documents.max()) + 1
    links = coo_array((np.ones(len(queries)), (queries, count + documents)), shape=(size, size))
    found: np.ndarray = connected_components(links, directed=False)[1][queries]
    return found.astype(np.int64)


def _encoded(tokenizer: SubwordTokenizer, texts: Sequence[str], places: np.ndarray, limit: int) -> dict[int, list[int]]:
    """Ids of the texts at `places`, without special tokens, so cut that with those they have at most `limit`."""
    unique, around_it = np.unique(places), sum(around(tokenizer))
    encoded = tokenizer.encode([texts[i][: 32 * limit] for i in unique], specials=False)
    return {int(i): ids[: max(1, limit - around_it)] for i, ids in zip(unique, encoded, strict=True)}


class WritingModel(EncoderModel):
    """An encoder that also writes, and tells whether a text and a code belong together.

    The setting `writes` names the tokens of what it was taught: `rest`, `code`, `text`, `match`.
    """

    @property
    def net(self) -> WritingEncoder:
        net = super().net
        assert isinstance(net, WritingEncoder)
        return net

    def generate(self, texts: str | Sequence[str], to: To = "code", limit: int | None = None) -> str | list[str]:
        """What follows from a text, or from each of many; the likeliest token each time.

        Args:
            texts: descriptions (`to="code"`), codes (`to="text"`), or beginnings of code (`to="rest"`).
            limit: tokens that are written at most; by default as many as such texts were cut at in training.

        Raises:
            UserError: a text is empty, or this was not taught.
        """
        task, many = self._taught(to), [texts] if isinstance(texts, str) else list(texts)
        assert self.tokenizer is not None
        most = int(self.spec["query_tokens" if to == "text" else "document_tokens"]) if limit is None else limit
        written = []
        for group in range(0, len(many), 16):
            memory, real = self._states(many[group : group + 16], "query" if to == "code" else "document")
            decoder = self.net.eval().recalling(memory, real)
            stop, pad = [self.tokenizer.eos or 0], self.tokenizer.pad or 0
            made = generate(decoder, [[task]] * len(memory), most, stop=stop, pad=pad)
            written += [self.tokenizer.decode(row) for row in made.sequences()]
        return written[0] if isinstance(texts, str) else written

    def match(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """The probability that each text and the code at its side belong together, `[n]`.

        Raises:
            UserError: a text is empty, or this was not taught.
        """
        task = self._taught("match")
        assert isinstance(self.tokenizer, SubwordTokenizer)
        limit = int(self.spec["document_tokens"])
        codes = _encoded(self.tokenizer, documents, np.arange(len(documents)), limit)
        found = []
        for start in range(0, len(queries), 64):
            memory, seen = self._states(queries[start : start + 64], "query")
            rows = [[task, *codes[i], self.tokenizer.eos or 0] for i in range(start, start + len(memory))]
            ids, real = (each.to(self.device) for each in batches.pad(rows, self.tokenizer.pad))
            with computing.inference():
                found.append(self.net.eval().matched(memory, seen, ids, real).float().softmax(1)[:, 1].cpu().numpy())
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def pair_scores(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """The probability of a match where that was taught, else the similarity of vectors."""
        if "match" in self.spec["writes"]:
            return self.match(queries, documents)
        return super().pair_scores(queries, documents)

    def _taught(self, task: str) -> int:
        known = self.spec["writes"]
        if not known:
            raise UserError("this model was taught to write nothing; train it with more objectives")
        if task not in known:
            raise unknown("task of this model", task, known)
        return int(known[task])

    def _states(self, texts: Sequence[str], side: Literal["query", "document"]) -> tuple[Tensor, Tensor]:
        assert self.tokenizer is not None
        ids, real = (each.to(self.device) for each in batches.pad(self.tokens(texts, side), self.tokenizer.pad))
        with computing.inference():
            return self.net.eval().model.states(ids, real), real
