"""Sources to examples to batches: readers, embedded sets, made data, tokenizers, splits."""

from twofold.data.rows import PARTS, Rows
from twofold.data.sources import NAMES, read
from twofold.data.splits import split

__all__ = ["NAMES", "PARTS", "Rows", "read", "split"]
