"""Bits: byte planes of tensors, entropy coding, and containers of coded chunks. Knows bytes, not networks."""

from twofold.coding import symbols
from twofold.coding.container import Container, Entry, write
from twofold.coding.entropy_bytes import Coder, Layout, join, layout, split
from twofold.coding.ordered import in_order

__all__ = ["Coder", "Container", "Entry", "Layout", "in_order", "join", "layout", "split", "symbols", "write"]
