"""Logit lens: the states of early layers read as if they were the last layer's, through its norm and head.

nostalgebraist 2020, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens
"""

from __future__ import annotations

from twofold.catalog import baseline
from twofold.surgery import Recording
from twofold.tasks import Report
from twofold.tasks.passages import Recorded, Subject
from twofold.tasks.readouts import ReadOutStudy, read_report


@baseline(
    "logit-lens",
    title="interpreting GPT: the logit lens",
    tasks=("accelerate", "explain"),
    source="https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens",
    needs=("what does a layer predict", "read hidden states as tokens"),
)
class LogitLens(ReadOutStudy):
    """Early layers read through the final norm and head as they are; nothing is fitted."""

    def report(self, who: Subject, pool: Recorded, fit: Recording, test: Recording) -> Report:
        return read_report(who, pool.layers, {"logit lens": dict.fromkeys(pool.layers[:-1])}, test)
