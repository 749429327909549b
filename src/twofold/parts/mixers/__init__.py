"""Sequence mixers: how positions exchange information."""

from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.cross_attention import CrossAttention
from twofold.parts.mixers.local_attention import LocalAttention
from twofold.parts.mixers.mixer import AnyMask, Mixer

__all__ = ["AnyMask", "Attention", "CrossAttention", "LocalAttention", "Mixer"]
