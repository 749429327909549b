"""Channel mixers: what happens to the features of each position by itself."""

from twofold.parts.channels.ffn import ACTIVATIONS, FFN, ChannelMixer, nonlinearity

__all__ = ["ACTIVATIONS", "FFN", "ChannelMixer", "nonlinearity"]
