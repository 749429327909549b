"""How a classifier's inputs become tensors: texts as ids, images as numbers between 0 and 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from twofold import computing, progress
from twofold.data import batches
from twofold.data.images import pixels
from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.parts import Part
from twofold.tasks.classify.data import Inputs

if TYPE_CHECKING:
    from twofold.tasks.classify.model import ClassifyModel

_LONGEST_TOKEN = 32  # characters: longer texts are cut before they are tokenised
_IMAGES = 512  # at a time

READERS: dict[str, type[Reader]] = {}
"""Readers by the name under which a saved model asks for them."""


class Reader(ABC):
    """Reads one kind of input. `spec()` is what a saved model keeps of it; `kind` is its name there."""

    kind: ClassVar[str]
    free_labels: ClassVar[bool] = False
    """Whether a model that reads so can be asked about other labels than those it was trained for."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        READERS[cls.kind] = cls

    @staticmethod
    def of(spec: Mapping[str, Any]) -> Reader:
        """The reader that a spec describes."""
        return READERS[spec["kind"]](**{k: v for k, v in spec.items() if k != "kind"})

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What it takes to make it again, JSON-able, with `kind`."""

    def logits(self, model: ClassifyModel, inputs: Inputs) -> np.ndarray:
        """The network's outputs for each input, float32 `[n, outputs]`, in the order given."""
        return self.outputs(model, model.net, inputs)

    def outputs(self, model: ClassifyModel, net: Part, inputs: Inputs) -> np.ndarray:
        """What `net`, the model's network or its encoder, gives for each input, float32 `[n, width]`, in order.

        Raises:
            UserError: inputs of this kind cannot be read without the whole model.
        """
        raise UserError(f"{model.name} makes no vectors of its inputs; it answers with the whole network")


class TextReader(Reader):
    """Texts, cut at `tokens`; texts of like length share a batch."""

    kind = "text"

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokens": self.tokens}

    def encode(self, tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text.

        Raises:
            UserError: a text is empty, or is no text.
        """
        self.check(texts)
        return tokenizer.encode([t[: self.tokens * _LONGEST_TOKEN] for t in texts], max_len=self.tokens)

    @staticmethod
    def check(texts: Sequence[str]) -> None:
        """Refuses an input that is no text, or an empty one (UserError with its number)."""
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise UserError(f"input {number + 1} is {type(text).__name__}, and this model reads texts")
            if not text.strip():
                raise UserError(f"text {number + 1} is empty; leave it out")

    def outputs(self, model: ClassifyModel, net: Part, inputs: Inputs) -> np.ndarray:
        assert model.tokenizer is not None
        sequences = self.encode(model.tokenizer, list(inputs))
        found = np.zeros((len(sequences), 0), np.float32)
        net = net.eval()
        with progress.stage(f"classify {len(sequences):,} texts", total=len(sequences)) as stage:
            for group in batches.buckets([len(s) for s in sequences]):
                ids, real = batches.pad([sequences[i] for i in group], model.tokenizer.pad)
                with computing.inference():
                    given = net(ids.to(model.device), real.to(model.device)).float().cpu().numpy()
                if not found.size:
                    found = np.zeros((len(sequences), given.shape[1]), np.float32)
                found[group] = given
                stage.advance(len(group))
        return found


class ImageReader(Reader):
    """Images at one size, `[B, height, width, channels]` between 0 and 1."""

    kind = "image"

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "shape": list(self.shape)}

    def tensor(self, images: Inputs) -> torch.Tensor:
        """Images as the network takes them; paths and arrays of other sizes are brought to this one."""
        ready = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == self.shape
        array = images if ready else pixels(list(images), self.shape)
        return torch.from_numpy(np.asarray(array, np.float32) / 255)

    def outputs(self, model: ClassifyModel, net: Part, inputs: Inputs) -> np.ndarray:
        net, found = net.eval(), []
        with progress.stage(f"classify {len(inputs):,} images", total=len(inputs)) as stage:
            for begin in range(0, len(inputs), _IMAGES):
                some = self.tensor(inputs[begin : begin + _IMAGES])
                with computing.inference():
                    found.append(net(some.to(model.device)).float().cpu().numpy())
                stage.advance(len(some))
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)
