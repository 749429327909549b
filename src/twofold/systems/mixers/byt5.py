"""ByT5: an encoder–decoder on bytes, deep where it reads.

Xue, Barua, Constant, Al-Rfou, Narang, Kale, Roberts & Raffel 2022, "ByT5: Towards a token-free future with pre-trained
byte-to-byte models", https://arxiv.org/abs/2105.13626
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.tokenizers import ByT5Tokenizer, Tokenizer
from twofold.tasks.rewrite import RewriteSystem


@system(
    "byt5",
    number=112,
    title="ByT5: Towards a token-free future with pre-trained byte-to-byte models",
    tasks=("rewrite",),
    source="https://arxiv.org/abs/2105.13626",
    year=2022,
    needs=(
        "rewrite texts in any language without a tokenizer",
        "correct spelling",
        "a text model that is robust to noise and typing errors",
        "words to pronunciations",
    ),
    simplified=(
        "0.3 million weights trained on pairs in place of 300 million and more pretrained on mC4",
        "misspelled words of documentation in place of pronunciations, which need a synthesiser",
        "AdamW in place of Adafactor; checkpoints of ByT5 are not read",
    ),
)
class ByT5(RewriteSystem):
    """Encoder–decoder on UTF-8 bytes, its encoder three times as deep as its decoder."""

    def tokens(self, texts: Sequence[str]) -> Tokenizer:
        return ByT5Tokenizer()

    claim: ClassVar[Claim] = Claim(
        says="on bytes a model of the same size spells unseen words with fewer errors than on pieces of words",
        paper="on a par with mT5 of equal size, better where spelling and pronunciation count, and much less hurt by "
        "noise",
        arms=(
            Arm("t5", dim=64, hidden=128),
            Arm("byt5", dim=80, hidden=144),
        ),
        data="respell",
        metric="character_error_rate",
        direction="lower",
        by=0.03,
        budget=Steps(400),
        repeats=3,
        setting={"texts": 400},
        side=(
            Arm("byt5", dim=80, hidden=144, encoder_layers=2, decoder_layers=2),
            Arm("byt5", dim=80, hidden=144, encoder_layers=1, decoder_layers=3),
        ),
        tune={"lr": (3e-4, 1e-3, 3e-3)},
        tune_by="log_likelihood",
        minutes=4,
    )
