"""Systems that learn captioned images token by token. A system adds how tokens are read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold import computing
from twofold.data.tokenizers.mixed import MixedTokenizer
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.objectives.loss import token_loss
from twofold.parts import LSTM, Bare, Block, LMHead, Mixer, NextToken, Part, Stack, TwoWay
from twofold.tasks.draw.data import DrawData, NextBatch, WindowsBefore
from twofold.tasks.draw.model import DrawModel
from twofold.tasks.model import Model
from twofold.tasks.system import BYTES, TrainedSystem
from twofold.training import Recipe

CORES: dict[str, Callable[[int], Mixer]] = {
    "two-way": lambda dim: TwoWay(LSTM(dim), LSTM(dim)),
    "one-way": LSTM,
}
"""What the first layer may be; those behind it read one way."""


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DrawSystem(TrainedSystem):
    """What every learner of captioned images is told."""

    reads: ClassVar[tuple[str, ...]] = ("image",)

    core: Literal["two-way", "one-way"] = Field("two-way", description="how the first layer reads a window")
    dim: int = Field(48, ge=8, description="width")
    layers: int = Field(2, ge=1, description="recurrent layers")
    colours: int = Field(8, ge=2, le=4096, description="colours in the palette, at most")
    length: int = Field(64, ge=2, le=4096, description="tokens in a window")
    batch: int = Field(64, ge=1, description="windows in a batch")
    lr: float = Field(3e-3, gt=0, description="highest learning rate")

    @abstractmethod
    def embedding(self, vocab: int) -> Part:
        """From cells to states."""

    def network(self, vocab: int) -> NextToken:
        """Embedding, recurrent layers and read-out, with fresh weights."""
        mixers = [CORES[self.core](self.dim), *(LSTM(self.dim) for _ in range(self.layers - 1))]
        stack = Stack([Block(mixer, wiring=Bare()) for mixer in mixers])
        return NextToken(self.embedding(vocab), stack, LMHead(self.dim, vocab, bias=True))

    def outline(self, length: int) -> NextToken:
        return self.network(BYTES)

    def start(self, data: DrawData, seed: int) -> Model:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        _, images = data.part("train")
        tokenizer = MixedTokenizer.trained(images, self.colours)
        torch.manual_seed(seed)
        net = self.network(tokenizer.vocab_size)
        height, width = images.shape[1:3]
        spec = {"palette": tokenizer.palette.tolist(), "length": self.length, "height": height, "width": width}
        return DrawModel(net, None, spec)

    def batches(self, model: Model, data: DrawData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, DrawModel)
        return WindowsBefore(model.mixed, *data.part("train"), self.length, False).batches(self.batch, seed)

    def loss(self, net: Part, batch: NextBatch) -> Loss:
        value = token_loss(net(batch.cells), batch.targets)
        return Loss(value, {"loss": value.detach()})

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, dim=24, length=16, batch=16)
