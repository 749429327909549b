"""Models that write captions and draw images, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from twofold.data.tokenizers.mixed import END, PAD, MixedTokenizer, cells
from twofold.errors import UserError
from twofold.parts import NextToken
from twofold.tasks.draw.data import WindowsBefore
from twofold.tasks.model import Model

_WINDOWS = 256  # at a time


class DrawModel(Model):
    """A network that predicts what follows a window. Settings: `palette`, `length` of a window, `height`, `width`."""

    task: ClassVar[str] = "draw"

    @property
    def net(self) -> NextToken:
        net = super().net
        assert isinstance(net, NextToken)
        return net

    @property
    def mixed(self) -> MixedTokenizer:
        """Its vocabulary."""
        return MixedTokenizer(self.spec["palette"])

    @torch.inference_mode()
    def score(
        self, captions: Sequence[str], images: NDArray[np.uint8], pixels_only: bool = True
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether each token comes out right, and its log probability in nats, `[n]` each."""
        windows = WindowsBefore(self.mixed, captions, images, int(self.spec["length"]), pixels_only)
        right, likely = [], []
        net = self.net.eval()
        for index in np.array_split(np.arange(len(windows)), -(-len(windows) // _WINDOWS)):
            batch = windows.take(index).to(self.device)
            chances = net(batch.cells).log_softmax(-1)
            right.append((chances.argmax(-1) == batch.targets).cpu().numpy())
            likely.append(chances.gather(1, batch.targets[:, None])[:, 0].double().cpu().numpy())
        return np.concatenate(right), np.concatenate(likely)

    @torch.inference_mode()
    def draw(
        self, caption: str, begun: NDArray[np.uint8] | None = None, *, temperature: float = 0.0, seed: int = 0
    ) -> NDArray[np.uint8]:
        """An image `[height, width, channels]` for a caption.

        Args:
            begun: the first rows `[rows, width, channels]`, to be gone on with.
            temperature: 0 takes the likeliest token each time; above 0 draws.
            seed: of the draws.

        Raises:
            UserError: a temperature below 0, or rows that have another width than the images learned from.
        """
        high, wide = int(self.spec["height"]), int(self.spec["width"])
        if temperature < 0:
            raise UserError(f"temperature is {temperature}; it must be at least 0")
        if begun is not None and (begun.ndim != 3 or begun.shape[1] != wide or len(begun) > high):
            raise UserError(f"the image begun is {list(begun.shape)}; give up to {high} rows of {wide} pixels")
        mixed, random = self.mixed, np.random.default_rng(seed)
        ids = mixed.prompt(caption) if begun is None else mixed.encode(caption, begun)[:-1].tolist()
        length, net = int(self.spec["length"]), self.net.eval()
        room = len(mixed.prompt(caption)) + high * (wide + 1)
        while len(ids) < room:
            seen = cells(np.array(ids, np.int64))[-length:]
            window = np.full((length, 9), PAD, np.int64)
            window[length - len(seen) :] = seen
            logits = net(torch.from_numpy(window[None]).to(self.device))[0].double().cpu().numpy()
            token = int(logits.argmax()) if not temperature else _drawn(logits / temperature, random)
            if token == END:
                break
            ids.append(token)
        return mixed.decode(ids)[1]


def _drawn(logits: NDArray[np.float64], random: np.random.Generator) -> int:
    return int((logits + random.gumbel(size=len(logits))).argmax())
