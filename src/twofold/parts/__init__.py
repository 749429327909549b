"""The building blocks: network components that know only tensors, composed as objects, never switched by flags.

net = SequenceModel(TokenEmbedding(256, 64), pattern(64, [{"mixer": Attention(64, 4, causal=True, position=Rope()),
                    "channel": FFN(64, 256), "times": 2}]), TiedHead(256))
build(net.spec())      # the same structure, fresh weights
"""

from twofold.parts.auxiliary import add_aux, collect_aux
from twofold.parts.building import build
from twofold.parts.caches import Cache, KeyValueCache, MemoryCache, StackCache
from twofold.parts.cascades import Cascade
from twofold.parts.channels import (
    ACTIVATIONS,
    FFN,
    ChannelMixer,
    MoE,
    MultiHead,
    OneLayer,
    SharedExpert,
    ThreeLayer,
    feed_forward,
    set_channels,
)
from twofold.parts.classifiers import Headed, TextClassifier
from twofold.parts.compact import CompactMatrix, Outliers, Packed, pack, unpack
from twofold.parts.cross_encoders import CrossEncoder, HeadScorer, StepScorer, WordScorer
from twofold.parts.elastic import Elastic, ElasticFFN, OneOfSeveral, elastic, extract, set_width, widths_of
from twofold.parts.embeddings import OverlapEmbedding, Table, TokenEmbedding
from twofold.parts.encoders import Encoder, TextEncoder, Tower, TwoTowers
from twofold.parts.experts import Experts, StackedLinear, capacity_of
from twofold.parts.guided import SelfGuided, add_guides, cosine_guide, drop_guides, set_guides
from twofold.parts.heads import Head, LMHead, MLMHead, NestedHeads, PrefixHead, SequenceHead, TiedHead, TokenHead
from twofold.parts.interactions import CandidateAttention
from twofold.parts.linear import LINEAR, Dense, Linear, linear_kind, replace_linears
from twofold.parts.masks import Mask
from twofold.parts.mixers import AnyMask, Attention, CrossAttention, LocalAttention, Mixer
from twofold.parts.model import SequenceModel
from twofold.parts.neighbours import EuclideanNeighbours, LogitLink, LogLink, Neighbours
from twofold.parts.norms import NORMS, LayerNorm, RMSNorm
from twofold.parts.packed import PackedLinear, PackedTable, bits_per_weight, count_weights, packed_layers, unpacked
from twofold.parts.packing import PackedTexts, pack_texts, unpack_texts, unpadded
from twofold.parts.part import Part, registered
from twofold.parts.pixels import PixelPerceptron
from twofold.parts.pooling import Cls, CodeAttention, FirstM, Last, Max, Mean, Pool, WeightedMean
from twofold.parts.positions import (
    Alibi,
    Learned,
    LinearStretch,
    Llama3Stretch,
    NoPosition,
    NtkStretch,
    Position,
    Rope,
    Sinusoid,
    T5Bias,
)
from twofold.parts.prefixes import Prefix, halvings, prefix, rising
from twofold.parts.presets import MODERNBERT, PRESETS, bert, decoder, encoder, llama, modernbert, t5_encoder
from twofold.parts.projection import Projection, StandIn, principal
from twofold.parts.routing import ROUTERS, Balanced, Router, Routing, Switch, TopK, balance_loss, z_loss
from twofold.parts.sparse import MaxTerms, SparseEncoder
from twofold.parts.stack import (
    Block,
    Parallel,
    PostNorm,
    PreNorm,
    PreNormDropout,
    Sandwich,
    Single,
    Stack,
    Wiring,
    pattern,
)
from twofold.parts.structured import BlockDense, BlockDiagonal, BlockShuffle, LowRankLinear, spectral
from twofold.parts.ternary import BitLinear, MedianBitLinear, PackedBitLinear, Ternary
from twofold.parts.trace import Tap, blocks, replaced, trace

__all__ = [
    "ACTIVATIONS",
    "FFN",
    "LINEAR",
    "MODERNBERT",
    "NORMS",
    "PRESETS",
    "ROUTERS",
    "Alibi",
    "AnyMask",
    "Attention",
    "Balanced",
    "BitLinear",
    "Block",
    "BlockDense",
    "BlockDiagonal",
    "BlockShuffle",
    "Cache",
    "CandidateAttention",
    "Cascade",
    "ChannelMixer",
    "Cls",
    "CodeAttention",
    "CompactMatrix",
    "CrossAttention",
    "CrossEncoder",
    "Dense",
    "Elastic",
    "ElasticFFN",
    "Encoder",
    "EuclideanNeighbours",
    "Experts",
    "FirstM",
    "Head",
    "HeadScorer",
    "Headed",
    "KeyValueCache",
    "LMHead",
    "Last",
    "LayerNorm",
    "Learned",
    "Linear",
    "LinearStretch",
    "Llama3Stretch",
    "LocalAttention",
    "LogLink",
    "LogitLink",
    "LowRankLinear",
    "MLMHead",
    "Mask",
    "Max",
    "MaxTerms",
    "Mean",
    "MedianBitLinear",
    "MemoryCache",
    "Mixer",
    "MoE",
    "MultiHead",
    "Neighbours",
    "NestedHeads",
    "NoPosition",
    "NtkStretch",
    "OneLayer",
    "OneOfSeveral",
    "Outliers",
    "OverlapEmbedding",
    "Packed",
    "PackedBitLinear",
    "PackedLinear",
    "PackedTable",
    "PackedTexts",
    "Parallel",
    "Part",
    "PixelPerceptron",
    "Pool",
    "Position",
    "PostNorm",
    "PreNorm",
    "PreNormDropout",
    "Prefix",
    "PrefixHead",
    "Projection",
    "RMSNorm",
    "Rope",
    "Router",
    "Routing",
    "Sandwich",
    "SelfGuided",
    "SequenceHead",
    "SequenceModel",
    "SharedExpert",
    "Single",
    "Sinusoid",
    "SparseEncoder",
    "Stack",
    "StackCache",
    "StackedLinear",
    "StandIn",
    "StepScorer",
    "Switch",
    "T5Bias",
    "Table",
    "Tap",
    "Ternary",
    "TextClassifier",
    "TextEncoder",
    "ThreeLayer",
    "TiedHead",
    "TokenEmbedding",
    "TokenHead",
    "TopK",
    "Tower",
    "TwoTowers",
    "WeightedMean",
    "Wiring",
    "WordScorer",
    "add_aux",
    "add_guides",
    "balance_loss",
    "bert",
    "bits_per_weight",
    "blocks",
    "build",
    "capacity_of",
    "collect_aux",
    "cosine_guide",
    "count_weights",
    "decoder",
    "drop_guides",
    "elastic",
    "encoder",
    "extract",
    "feed_forward",
    "halvings",
    "linear_kind",
    "llama",
    "modernbert",
    "pack",
    "pack_texts",
    "packed_layers",
    "pattern",
    "prefix",
    "principal",
    "registered",
    "replace_linears",
    "replaced",
    "rising",
    "set_channels",
    "set_guides",
    "set_width",
    "spectral",
    "t5_encoder",
    "trace",
    "unpack",
    "unpack_texts",
    "unpacked",
    "unpadded",
    "widths_of",
    "z_loss",
]
