"""The task `segment`: its data, targets, models and systems."""

from twofold.tasks.segment.data import SegmentBatch, SegmentBatches, SegmentData, fitting, from_rows
from twofold.tasks.segment.model import SegmentModel, settings
from twofold.tasks.segment.system import SegmentSystem
from twofold.tasks.segment.targets import Classes, Marks, Numbers, Target
from twofold.tasks.segment.task import SegmentTask

__all__ = [
    "Classes",
    "Marks",
    "Numbers",
    "SegmentBatch",
    "SegmentBatches",
    "SegmentData",
    "SegmentModel",
    "SegmentSystem",
    "SegmentTask",
    "Target",
    "fitting",
    "from_rows",
    "settings",
]
