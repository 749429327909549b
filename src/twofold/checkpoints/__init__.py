"""Models on disk: Twofold's own folder, Hugging Face folders, GGUF files, and the checkpoints that come by name."""

from twofold.checkpoints import folder
from twofold.checkpoints.exporting import export_hf
from twofold.checkpoints.folder import Saved
from twofold.checkpoints.importing import Imported, open_checkpoint
from twofold.checkpoints.pull import KNOWN, pull, pulled
from twofold.data.cache import cache_dir

__all__ = [
    "KNOWN",
    "Imported",
    "Saved",
    "cache_dir",
    "export_hf",
    "folder",
    "open_checkpoint",
    "pull",
    "pulled",
]
