"""What there is: cards, claims, the register and its index. Importing this loads no torch, numpy or pydantic."""

from twofold.catalog.claims import Arm, Budget, Claim, Guard, Parameters, Saving, Seconds, Steps, Tokens
from twofold.catalog.register import Card, add_file, baseline, configure, resolve, system
from twofold.catalog.search import find

__all__ = [
    "Arm",
    "Budget",
    "Card",
    "Claim",
    "Guard",
    "Parameters",
    "Saving",
    "Seconds",
    "Steps",
    "Tokens",
    "add_file",
    "baseline",
    "configure",
    "find",
    "resolve",
    "system",
]
