"""Channel mixers: what happens to the features of each position by itself."""

from twofold.parts.channels.depth import OneLayer, ThreeLayer, feed_forward, set_channels
from twofold.parts.channels.ffn import ACTIVATIONS, FFN, ChannelMixer, nonlinearity
from twofold.parts.channels.ista import ISTA
from twofold.parts.channels.moe import MoE, MultiHead, SharedExpert

__all__ = [
    "ACTIVATIONS",
    "FFN",
    "ISTA",
    "ChannelMixer",
    "MoE",
    "MultiHead",
    "OneLayer",
    "SharedExpert",
    "ThreeLayer",
    "feed_forward",
    "nonlinearity",
    "set_channels",
]
