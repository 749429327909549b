"""The task `draw`: captioned images as sequences of bytes and colours."""

from twofold.tasks.draw.data import DrawData, NextBatch, WindowsBefore
from twofold.tasks.draw.model import DrawModel
from twofold.tasks.draw.system import DrawSystem
from twofold.tasks.draw.task import DrawTask

__all__ = ["DrawData", "DrawModel", "DrawSystem", "DrawTask", "NextBatch", "WindowsBefore"]
