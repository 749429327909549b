"""mixed-lstm: a recurrent network over bytes and colours that reads each token by itself.

Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735
"""

from __future__ import annotations

from twofold.catalog import baseline
from twofold.parts import CentreEmbedding, Part
from twofold.tasks.draw import DrawSystem


@baseline(
    "mixed-lstm",
    title="Long Short-Term Memory",
    tasks=("draw",),
    source="https://doi.org/10.1162/neco.1997.9.8.1735",
    needs=("draw small images from captions",),
)
class MixedLstm(DrawSystem):
    """LSTM over bytes and colours, a vector for each token."""

    def embedding(self, vocab: int) -> Part:
        return CentreEmbedding(vocab, self.dim)
