"""From outputs to answers: how a trained network's outputs become tokens."""

from twofold.decoding.choices import (
    Choice,
    Forbid,
    Processor,
    RepetitionPenalty,
    Sample,
    Temperature,
    TopK,
    TopP,
    greedy,
    sampling,
)
from twofold.decoding.generate import Generated, generate

__all__ = [
    "Choice",
    "Forbid",
    "Generated",
    "Processor",
    "RepetitionPenalty",
    "Sample",
    "Temperature",
    "TopK",
    "TopP",
    "generate",
    "greedy",
    "sampling",
]
