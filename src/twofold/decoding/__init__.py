"""From outputs to answers: how a trained network's outputs become tokens."""

from twofold.decoding.candidates import Causal, Masked, PerToken, PseudoLikelihood, Way, score_candidates
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
from twofold.decoding.exits import ExitHead, Threshold, first_exit, gap
from twofold.decoding.generate import Generated, generate
from twofold.decoding.speculative import Speculated, speculate

__all__ = [
    "Causal",
    "Choice",
    "ExitHead",
    "Forbid",
    "Generated",
    "Masked",
    "PerToken",
    "Processor",
    "PseudoLikelihood",
    "RepetitionPenalty",
    "Sample",
    "Speculated",
    "Temperature",
    "Threshold",
    "TopK",
    "TopP",
    "Way",
    "first_exit",
    "gap",
    "generate",
    "greedy",
    "sampling",
    "score_candidates",
    "speculate",
]
