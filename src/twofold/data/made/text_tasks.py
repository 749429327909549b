"""The made text tasks by name: texts with labels, each with a train, a validation and a test part."""

from __future__ import annotations

from collections.abc import Callable

from twofold.data.made.doc_topics import doc_topics
from twofold.data.made.factworld import factworld
from twofold.data.made.intents import intents
from twofold.data.made.kinds import kinds
from twofold.data.made.mini_nli import mini_nli
from twofold.data.made.pyfacts import pyfacts
from twofold.data.made.reviews import reviews
from twofold.data.made.utterances import utterances
from twofold.data.rows import Rows

TEXT_TASKS: dict[str, Callable[[], Rows]] = {
    "doc-topics": doc_topics,
    "factworld": factworld,
    "intents": intents,
    "kinds": kinds,
    "mini-nli": mini_nli,
    "pyfacts": pyfacts,
    "reviews": reviews,
    "utterances": utterances,
}
