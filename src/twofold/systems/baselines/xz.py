"""xz: the general-purpose compressor as a language model, in bits per byte.

LZMA2 (Pavlov 1998; https://tukaani.org/xz/format.html) at its highest setting, with what the file format itself costs
taken off.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from twofold import progress
from twofold.catalog import Budget, baseline
from twofold.checkpoints.folder import Saved
from twofold.errors import UserError
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.language import LanguageData, LanguageModel, Score
from twofold.tasks.language.model import sizes, utf8

_CONTEXT = "context.bin"


def compressed(data: bytes) -> int:
    """Bytes of the raw LZMA2 stream: no file header, no checksum."""
    # A dictionary as long as the data loses nothing and is five times as fast as the preset's 64 MB.
    size = max(4096, len(data))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


class XzModel(LanguageModel):
    """No network: a text costs what it adds to the compressed size of the context that stands before it."""

    context: bytes = b""

    def score(self, texts: Sequence[str], stride: int | None = None) -> Score:
        """What each text adds to the compressed context, in nats. `stride` does not apply."""
        pieces = [utf8(text) for text in texts]
        alone = compressed(self.context) if self.context else 0
        added = []
        with progress.stage(f"score {len(pieces):,} texts", total=len(pieces)) as stage:
            for piece in pieces:
                added.append(compressed(self.context + piece) - alone)
                stage.advance()
        return Score(8 * math.log(2) * np.array(added, np.float64), sizes(texts))

    def generate(self, *args: Any, **settings: Any) -> str | list[str]:
        raise UserError("xz only measures texts; to generate, give a network (out/arms/…/model), or fit one: decoder")

    def _files(self, target: Path) -> None:
        (target / _CONTEXT).write_bytes(self.context)

    @classmethod
    def restore(cls, saved: Saved) -> XzModel:
        model = super().restore(saved)
        model.context = (saved.path / _CONTEXT).read_bytes()
        return model


@baseline(
    "xz",
    title="LZMA2 as used by XZ Utils",
    tasks=("language",),
    source="https://tukaani.org/xz/",
    needs=("compression baseline for text", "bits per byte without training", "how predictable is my text"),
)
class Xz(ModelSystem):
    """General-purpose compression of each test text, with the end of the training text before it as context."""

    context: int = Field(65536, ge=0, description="bytes of training text given as context; 0: each text on its own")

    def fit(
        self,
        data: LanguageData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        model = XzModel(None, None, {"length": self.context})
        text = utf8("\n\n".join(data.part("train"))) if self.context else b""
        model.context = text[len(text) - min(len(text), self.context) :]
        return Fitted(model.remember(self.id, self.options()))

    @staticmethod
    def restore(saved: Saved) -> XzModel:
        """The model of a folder that was read."""
        return XzModel.restore(saved)
