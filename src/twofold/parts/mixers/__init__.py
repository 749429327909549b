"""Sequence mixers: how positions exchange information."""

from twofold.parts.mixers.attention import Attention, CrossAttention
from twofold.parts.mixers.mixer import AnyMask, Mixer

__all__ = ["AnyMask", "Attention", "CrossAttention", "Mixer"]
