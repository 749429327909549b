"""Language models: what a text costs in nats, and how it goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from twofold import computing, progress
from twofold.checkpoints import Imported
from twofold.data import batches
from twofold.data.tokenizers import Tokenizer
from twofold.decoding import generate, sampling
from twofold.errors import UserError
from twofold.measure.costs import active_parameters, context_costs
from twofold.measure.inversion import inversion_error
from twofold.measure.language import bits_per_byte
from twofold.parts import Mask, SequenceModel
from twofold.parts.ready import for_batches, for_steps
from twofold.parts.streamed import FEW
from twofold.tasks.model import Model

_WORTH = 32  # tokens from which on a network is made ready for single steps
_LOGITS = 1 << 24  # logits held at a time while scoring (64 MB in float32)


@dataclass(frozen=True)
class Score:
    """How many nats each text cost, and how many UTF-8 bytes it has; `[n]` each."""

    nats: np.ndarray
    bytes: np.ndarray

    @property
    def total(self) -> float:
        """Nats of all texts together."""
        return float(self.nats.sum())

    @property
    def bits_per_byte(self) -> float:
        """Of all texts together: total nats / ln 2 / total bytes."""
        return bits_per_byte(self.total, int(self.bytes.sum()))

    @property
    def each(self) -> np.ndarray:
        """Bits per byte of each text, `[n]`."""
        return self.nats / math.log(2) / self.bytes


def start_token(tokenizer: Tokenizer) -> int:
    """The token before every text: the tokenizer's start token, else its end token (as in GPT-2).

    Raises:
        UserError: the tokenizer has neither.
    """
    for token in (tokenizer.bos, tokenizer.eos):
        if token is not None:
            return token
    raise UserError("the tokenizer has no start token, so its model can neither score nor generate")


class LanguageModel(Model):
    """A causal network over text. The task's setting `length` is the context it reads at most, in tokens."""

    task: ClassVar[str] = "language"

    @property
    def net(self) -> SequenceModel:
        net = super().net
        assert isinstance(net, SequenceModel)
        return net

    @property
    def length(self) -> int:
        """The longest context, in tokens."""
        return int(self.spec["length"])

    def costs(self) -> dict[str, float]:
        """As every model's, with what one token meets in one pass over the whole context: `flops_per_token`, and
        `active_parameters` (a mixture of experts has more weights than these); and `cache_bytes`, what a whole context
        takes in the cache of a network that works step by step."""
        active = {"active_parameters": float(active_parameters(self.net))}
        return super().costs() | context_costs(self.net, self.length) | active

    @property
    def text(self) -> Tokenizer:
        """The tokenizer."""
        assert self.tokenizer is not None
        return self.tokenizer

    @property
    def start(self) -> int:
        """The token before every text."""
        return start_token(self.text)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens around it."""
        return self.text.encode(texts, specials=False)

    @torch.inference_mode()
    def score(self, texts: Sequence[str], stride: int | None = None) -> Score:
        """What the texts cost under the model: nats by its own tokens, set against UTF-8 bytes, so that models compare
        whatever their tokens are.

        A text's tokens are predicted after the start token; its end is not. A text longer than the context is read in
        windows that begin every `stride` tokens (half the context unless said); each token is counted once, in the
        first window that reaches it, so all but the first window's tokens have at least `length - stride` before them.

        Raises:
            UserError: a text is empty, or the stride does not lie between 1 and the context.
        """
        length = sizes(texts)
        stride = stride or max(1, self.length // 2)
        if not 1 <= stride <= self.length:
            raise UserError(f"stride is {stride}; it must lie between 1 and the context, {self.length}")
        windows = [
            (row, *window)
            for row, ids in enumerate(self.tokens(texts))
            for window in _windows([self.start, *ids], self.length, stride)
        ]
        nats = np.zeros(len(texts))
        net, pad = self.net.eval(), self.text.pad or 0
        with progress.stage(f"score {len(texts):,} texts", total=len(windows)) as stage:
            for group in batches.buckets([len(ids) for _, ids, _ in windows]):
                ids, real = batches.pad([windows[i][1] for i in group], pad)
                fresh = torch.tensor([windows[i][2] for i in group])
                counted = real[:, 1:] & (torch.arange(ids.shape[1] - 1) >= fresh[:, None])
                costs = _costs(net, ids.to(self.device), counted.to(self.device))
                np.add.at(nats, [windows[i][0] for i in group], costs.cpu().numpy())
                stage.advance(len(group))
        return Score(nats, length)

    @torch.inference_mode()
    def far(self, texts: Sequence[str], first: int, last: int, most: int | None = None) -> float:
        """Bits per byte of the tokens at places `first` to `last` of long texts, read in one piece whatever the context
        in training was; shorter texts are left out, and all but the first `most` long ones.

        Raises:
            UserError: no text is longer than `first` tokens.
        """
        long = [ids[:last] for ids in self.tokens(texts) if len(ids) > first][:most]
        if not long:
            raise UserError(f"no text is longer than {first:,} tokens; give longer texts or a smaller first place")
        nats, size = 0.0, 0
        for group in batches.buckets([len(ids) + 1 for ids in long]):
            ids, real = batches.pad([[self.start, *long[i]] for i in group], self.text.pad or 0)
            counted = real[:, 1:] & (torch.arange(ids.shape[1] - 1) >= first)
            nats += float(_costs(self.net.eval(), ids.to(self.device), counted.to(self.device)).sum())
            size += sum(len(utf8(self.text.decode(long[i][first:]))) for i in group)
        return bits_per_byte(nats, size)

    def inversion_error(self, texts: Sequence[str], count: int, tokens: int, steps: int) -> float:
        """Share of tokens that cannot be found again from the hidden states of the first so many texts, each cut to
        so many tokens, by `measure.inversion.invert_input` in so many steps.

        Raises:
            UserError: too few texts that are so long.
        """
        long = [ids[:tokens] for ids in self.tokens(texts) if len(ids) >= tokens][:count]
        if len(long) < count:
            raise UserError(f"{len(long)} texts have {tokens} tokens, and {count} are asked; ask fewer or shorter ones")
        return inversion_error(self.net.eval(), torch.tensor(long, device=self.device), steps)

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        limit: int = 64,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str | list[str]:
        """How a text, or each of many, goes on; without the prompt. Ends at the tokenizer's end token.

        A prompt that does not fit the context beside `limit` loses its beginning.

        Args:
            limit: tokens to add at most.
            temperature: 0 takes the most likely token each time; above 0 draws.
            top_k, top_p: what is drawn from.
            seed: of the draws.

        Raises:
            UserError: a setting out of its range.
        """
        if not 1 <= limit < self.length:
            raise UserError(f"{limit} tokens cannot be added; give from 1 to {self.length - 1}, the context less one")
        if temperature < 0:
            raise UserError(f"temperature is {temperature}; it must be at least 0 (0 takes the most likely token)")
        try:
            choose, processors = sampling(temperature, top_k, top_p, seed)
        except ValueError as error:
            raise UserError(str(error)) from None
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        room = self.length - limit - 1
        ids = [[self.start, *(tokens[-room:] if room else [])] for tokens in self.tokens(prompts)]
        stop = [self.text.eos] if self.text.eos is not None else []
        net = self.generating(len(prompts), limit)
        with computing.inference():
            made = generate(net, ids, limit, choose=choose, processors=processors, stop=stop, pad=self.text.pad or 0)
        out = [self.text.decode(tokens) for tokens in made.sequences()]
        return out[0] if isinstance(prompt, str) else out

    def generating(self, rows: int, limit: int) -> SequenceModel:
        """The network in the form that is fastest for so many rows and tokens, counting that it must be made once."""
        net = self.net.eval()
        if computing.dtype() == "bfloat16":
            return self.ready(net, "bfloat16", lambda net: for_batches(net, "bfloat16"))
        return self.ready(net, "steps", for_steps) if rows <= FEW and limit >= _WORTH else net

    @classmethod
    def imported(cls, found: Imported) -> LanguageModel:
        """A decoder from a checkpoint, with a context of at most 2,048 tokens (memory grows with it)."""
        length = min(found.net.max_len or 2048, 2048)
        return cls(
            found.net.eval(),
            found.tokenizer,
            {"length": length},
            notes={"source": found.source, **found.notes, "config": found.config},
        )


def utf8(text: str) -> bytes:
    """The text's bytes; a lone surrogate counts as the three bytes it would be."""
    return text.encode("utf-8", "surrogatepass")


def sizes(texts: Sequence[str]) -> np.ndarray:
    """How many UTF-8 bytes each text has, `[n]`.

    Raises:
        UserError: a text is empty.
    """
    empty = next((i for i, text in enumerate(texts) if not text), None)
    if empty is not None:
        raise UserError(f"text {empty + 1} is empty; leave it out")
    return np.array([len(utf8(text)) for text in texts], dtype=np.int64)


def _windows(ids: Sequence[int], length: int, stride: int) -> list[tuple[Sequence[int], int]]:
    """Pieces of at most `length + 1` tokens (inputs and targets), each with its first prediction that counts."""
    pieces: list[tuple[Sequence[int], int]] = []
    reached = 0
    for begin in range(0, max(1, len(ids) - 1), stride):
        if reached >= len(ids) - 1:
            break
        piece = ids[begin : begin + length + 1]
        pieces.append((piece, reached - begin))
        reached = begin + len(piece) - 1
    return pieces


def _costs(net: SequenceModel, ids: Tensor, counted: Tensor) -> Tensor:
    """Nats of the counted predictions, summed a row: ids `[B, T]`, counted `[B, T-1]` -> float64 `[B]`."""
    states = net.states(ids[:, :-1], mask=Mask.causal())[counted]
    targets = ids[:, 1:][counted]
    vocabulary = int(net.apply_head(states[:1]).shape[-1]) if len(states) else 1
    cost = [
        torch.nn.functional.cross_entropy(net.apply_head(s).float(), t, reduction="none").double()
        for s, t in zip(*(x.split(max(1, _LOGITS // vocabulary)) for x in (states, targets)), strict=True)
    ]
    rows = counted.nonzero()[:, 0]
    return torch.zeros(len(ids), dtype=torch.float64, device=ids.device).index_add_(0, rows, torch.cat(cost))
