"""Sequence mixers: how positions exchange information."""

from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.causal_conv import CausalConv, Convolved, SiluConv
from twofold.parts.mixers.centred_conv import CentredConv
from twofold.parts.mixers.combiner import Combiner
from twofold.parts.mixers.cross_attention import CrossAttention
from twofold.parts.mixers.differential import Differential
from twofold.parts.mixers.gated_retention import GatedRetention
from twofold.parts.mixers.hydra import Hydra
from twofold.parts.mixers.hyena import Hyena, ImplicitFilter, LongFilter, ModalFilter, long_conv
from twofold.parts.mixers.local_attention import LocalAttention
from twofold.parts.mixers.mamba import S6, SSD, MambaBlock
from twofold.parts.mixers.masked_mixer import MaskedMixer
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.mixers.mssa import MSSA
from twofold.parts.mixers.multiplicative import MultiplicativeAttention
from twofold.parts.mixers.random_blocks import RandomBlocks
from twofold.parts.mixers.recurrent import LSTM, IdentityRNN, Recurrent, RingConv, TwoWay
from twofold.parts.mixers.separable_conv import SeparableConv
from twofold.parts.mixers.shaped_attention import ShapedAttention
from twofold.parts.mixers.sparse_attention import (
    BlockLocal,
    ColumnAttention,
    FixedAttention,
    RuledAttention,
    StridedAttention,
    SummaryAttention,
)
from twofold.parts.mixers.spatial_gate import SpatialGate
from twofold.parts.mixers.transforms import CosineTransform, FourierTransform, Transform
from twofold.parts.mixers.two_way_conv import MonarchConv, two_way_conv

__all__ = [
    "LSTM",
    "MSSA",
    "S6",
    "SSD",
    "AnyMask",
    "Attention",
    "BlockLocal",
    "CausalConv",
    "CentredConv",
    "ColumnAttention",
    "Combiner",
    "Convolved",
    "CosineTransform",
    "CrossAttention",
    "Differential",
    "FixedAttention",
    "FourierTransform",
    "GatedRetention",
    "Hydra",
    "Hyena",
    "IdentityRNN",
    "ImplicitFilter",
    "LocalAttention",
    "LongFilter",
    "MambaBlock",
    "MaskedMixer",
    "Mixer",
    "ModalFilter",
    "MonarchConv",
    "MultiplicativeAttention",
    "RandomBlocks",
    "Recurrent",
    "RingConv",
    "RuledAttention",
    "SeparableConv",
    "ShapedAttention",
    "SiluConv",
    "SpatialGate",
    "StridedAttention",
    "SummaryAttention",
    "Transform",
    "TwoWay",
    "long_conv",
    "two_way_conv",
]
