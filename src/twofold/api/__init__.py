"""What a person does with Twofold, one function a verb. `twofold` itself hands these out; the commands call them.

Importing this loads neither torch nor numpy nor pydantic; the functions import what they need.
"""

from twofold.api.indexing import index, open_index
from twofold.api.looking import backbones, cite, find, list, show
from twofold.api.making import apply, apply_files, export, fit, load, pull, study
from twofold.api.measuring import compare, evaluate, reproduce

__all__ = [
    "apply",
    "apply_files",
    "backbones",
    "cite",
    "compare",
    "evaluate",
    "export",
    "find",
    "fit",
    "index",
    "list",
    "load",
    "open_index",
    "pull",
    "reproduce",
    "show",
    "study",
]
