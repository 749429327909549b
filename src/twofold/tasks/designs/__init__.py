"""Searching for a network's design: spaces, who proposes, what is trained, and systems that give the best."""

from twofold.tasks.designs.boshnas import Boshnas
from twofold.tasks.designs.proposers import AtRandom, Evolution, ExpectedImprovement, Proposer
from twofold.tasks.designs.search import Bench, Limits, Replayed, Trained, network, replay, search, table
from twofold.tasks.designs.system import DesignSearch

__all__ = [
    "AtRandom",
    "Bench",
    "Boshnas",
    "DesignSearch",
    "Evolution",
    "ExpectedImprovement",
    "Limits",
    "Proposer",
    "Replayed",
    "Trained",
    "network",
    "replay",
    "search",
    "table",
]
