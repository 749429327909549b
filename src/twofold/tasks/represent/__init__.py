"""The task `represent`: what can be learnt from texts without labels, judged by hidden tokens."""

from twofold.tasks.represent.data import PackedWindows, WindowBatch, roles
from twofold.tasks.represent.model import MaskedModel
from twofold.tasks.represent.system import MaskedSystem
from twofold.tasks.represent.task import RepresentTask

__all__ = ["MaskedModel", "MaskedSystem", "PackedWindows", "RepresentTask", "WindowBatch", "roles"]
