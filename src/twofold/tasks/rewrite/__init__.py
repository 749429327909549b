"""The task `rewrite`: a text in, another text out."""

from twofold.tasks.rewrite.data import RewriteData, TextPairs
from twofold.tasks.rewrite.model import RewriteModel
from twofold.tasks.rewrite.system import RewriteSystem
from twofold.tasks.rewrite.task import RewriteTask, edit_distance

__all__ = ["RewriteData", "RewriteModel", "RewriteSystem", "RewriteTask", "TextPairs", "edit_distance"]
