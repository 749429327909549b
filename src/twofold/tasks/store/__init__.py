"""The task `store`: a model's weights in fewer bytes, and back to the last bit."""

from twofold.tasks.store.system import StoreSystem
from twofold.tasks.store.task import StoreTask

__all__ = ["StoreSystem", "StoreTask"]
