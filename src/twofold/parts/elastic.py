"""Networks of several widths in one: narrow ones are prefixes of wide ones.

Devvrit et al. 2023, "MatFormer: Nested Transformer for Elastic Inference", https://arxiv.org/abs/2310.07707
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.channels.ffn import FFN, ChannelMixer, nonlinearity
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part

Net = TypeVar("Net", bound=Part)


class Elastic(Part, abstract=True):
    """A part of several widths, of which it works at one.

    Attributes:
        width: which one now, from 0 (narrowest); the widest at first; not saved.
        widths: how many there are.
    """

    width: int
    widths: int

    def slice(self, width: int) -> Part:
        """A part of that width alone, with weights of its own that are equal to these: the same outputs."""
        raise NotImplementedError


class ElasticFFN(ChannelMixer, Elastic):
    """A feed-forward part whose first `sizes[i]` hidden units are a feed-forward part by themselves, for each i.

    Args:
        dim: width of the states.
        sizes: hidden widths, rising; the last is the whole.
        activation: a name of `ACTIVATIONS`.
        gate: a third map goes through the nonlinearity and multiplies; it is cut as `up` is.
        bias: of every map.

    Raises:
        UserError: sizes that do not rise.
    """

    def __init__(
        self, dim: int, sizes: Sequence[int], activation: str = "gelu", gate: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        at_least_one("ElasticFFN", dim=dim, hidden=min(sizes, default=0))
        if any(a >= b for a, b in itertools.pairwise(sizes)):
            raise UserError(f"ElasticFFN: sizes {list(sizes)} must rise, each above the one before")
        self.dim, self.sizes = dim, tuple(sizes)
        self.activation, self.biased = activation, bias
        self.act = nonlinearity(activation)
        self.up = Dense(dim, self.sizes[-1], bias)
        self.gate = Dense(dim, self.sizes[-1], bias) if gate else None
        self.down = Dense(self.sizes[-1], dim, bias)
        self.widths = len(self.sizes)
        self.width = self.widths - 1

    @property
    def hidden(self) -> int:
        """Hidden units at the present width."""
        return self.sizes[self.width]

    def _read(self, part: Dense, x: Tensor) -> Tensor:
        n = self.hidden
        return F.linear(x, part.weight[:n], part.bias[:n] if self.biased else None)

    def forward(self, x: Float[Tensor, "batch time dim"], mask: Mask | None = None) -> Float[Tensor, "batch time dim"]:
        y = self._read(self.up, x)
        y = self.act(y) if self.gate is None else self.act(self._read(self.gate, x)) * y
        return F.linear(y, self.down.weight[:, : self.hidden], self.down.bias)

    @torch.no_grad()
    def slice(self, width: int) -> FFN:
        n = self.sizes[width]
        with torch.device("meta"):
            made = FFN(self.dim, n, self.activation, self.gate is not None, self.biased)
        kept = {}
        for name, tensor in self.tensors().items():
            cut = tensor[:, :n] if name == "down.weight" else tensor if name == "down.bias" else tensor[:n]
            kept[name] = cut.detach().clone()
        return made.assign(kept).train(self.training)

    def flops(self, time: int) -> int:
        return 2 * time * self.dim * self.hidden * (2 if self.gate is None else 3)

    @property
    def idle_parameters(self) -> int:
        """Weights outside of the present prefix."""
        maps = 2 if self.gate is None else 3
        return (self.sizes[-1] - self.hidden) * (maps * self.dim + (maps - 1) * self.biased)


class OneOfSeveral(SequenceModel, Elastic):
    """Several networks that share nothing, of which one works: what an elastic network takes the place of.

    Args:
        models: from the narrowest to the widest.
    """

    def __init__(self, models: Sequence[Part]) -> None:
        Part.__init__(self)
        if not models:
            raise UserError("OneOfSeveral: there are no networks to choose from; give at least one")
        self.models = nn.ModuleList(models)
        self.widths = len(models)
        self.width = self.widths - 1

    @property
    def now(self) -> SequenceModel:
        """The one that works."""
        return cast(SequenceModel, self.models[self.width])

    @property
    def embedding(self) -> Part:  # type: ignore[override]
        """Of the one that works; `stack` and `head` likewise."""
        return self.now.embedding

    @property
    def stack(self) -> Part:  # type: ignore[override]
        return self.now.stack

    @property
    def head(self) -> Part | None:  # type: ignore[override]
        return self.now.head

    def slice(self, width: int) -> SequenceModel:
        return copy.deepcopy(cast(SequenceModel, self.models[width]))


def elastic(net: Part) -> Iterator[tuple[str, Elastic]]:
    """The elastic parts of a network by name, itself included; those inside of others are left to these."""
    inside = ""
    for name, part in net.named_modules():
        if isinstance(part, Elastic) and not (inside and name.startswith(inside)):
            inside = f"{name}." if name else "\0"
            yield name, part
            if not name:
                return


def widths_of(net: Part) -> list[int]:
    """How many widths each elastic part has, in order.

    Raises:
        UserError: there are none.
    """
    found = [part.widths for _, part in elastic(net)]
    if not found:
        raise UserError("the network has one width only; train one with several, such as matformer")
    return found


def set_width(net: Part, width: int | Sequence[int]) -> None:
    """Chooses the width at which the elastic parts work: one for all, or one for each, from 0 (narrowest).

    Raises:
        UserError: a width that there is not, or too many or too few of them.
    """
    known = widths_of(net)
    chosen = [width] * len(known) if isinstance(width, int) else list(width)
    if len(chosen) != len(known) or any(not 0 <= w < n for w, n in zip(chosen, known, strict=False)):
        raise UserError(f"widths {chosen} do not fit {len(known)} elastic parts with {known} widths, counted from 0")
    for (_, part), own in zip(elastic(net), chosen, strict=True):
        part.width = own


def sandwich(widths: Sequence[int], random: np.random.Generator, between: int = 2) -> list[tuple[int, ...]]:
    """Configurations that learn from one batch: the widest, the narrowest, and some drawn by chance in between.

    Yu & Huang 2019, "Universally Slimmable Networks and Improved Training Techniques",
    https://arxiv.org/abs/1903.05134: what holds of both ends holds, about, of what lies between.

    Args:
        widths: how many widths each elastic part has.
        random: draws a width for each part, all alike likely.
        between: how many are drawn.
    """
    drawn = [tuple(int(random.integers(n)) for n in widths) for _ in range(between)]
    return [tuple(n - 1 for n in widths), (0,) * len(widths), *drawn]


def extract(net: Net, width: int | Sequence[int]) -> Net:
    """A plain network of that width, or of those, one for each elastic part: the same outputs, fewer weights."""
    small = copy.deepcopy(net)
    set_width(small, width)
    for name, part in list(elastic(small)):
        if not name:
            return cast(Net, part.slice(part.width))
        parent, _, leaf = name.rpartition(".")
        setattr(small.get_submodule(parent), leaf, part.slice(part.width))
    return small
