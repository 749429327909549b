"""Networks by name and size: the usual assemblies of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twofold.errors import unknown
from twofold.parts.channels.ffn import FFN
from twofold.parts.embeddings import TokenEmbedding
from twofold.parts.heads import LMHead, MLMHead, TiedHead
from twofold.parts.init import normal
from twofold.parts.linear import kinds
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.local_attention import LocalAttention
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.model import SequenceModel
from twofold.parts.norms import NORMS, LayerNorm, RMSNorm
from twofold.parts.part import Part
from twofold.parts.positions import Learned, Position, Rope, Stretch, T5Bias
from twofold.parts.positions import named as named_position
from twofold.parts.stack import Bare, Block, PostNorm, PreNorm, PreNormDropout, Stack
from twofold.parts.stack import wiring as named_wiring


def transformer(
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    *,
    causal: bool | None,
    head: str | None,
    max_len: int | None = None,
    hidden: int | None = None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    position: str = "rope",
    norm: str = "rms",
    wiring: str = "pre",
    activation: str = "silu",
    gate: bool = True,
    bias: bool = False,
    base: float = 10000.0,
    linear: str | Mapping[str, str] = "dense",
) -> SequenceModel:
    """A stack of equal blocks of attention and feed-forward part.

    Args:
        vocab, dim, layers, heads: sizes.
        causal: as `Attention` has it.
        head: `tied` (the embedding's matrix), `lm` (its own), `mlm` (BERT's), or None for states.
        max_len: longest input; only `position="learned"` needs it.
        hidden: width of the feed-forward part (default: 4 dim; gated: 8/3 dim, rounded up to a multiple of 8).
        kv_heads, head_dim, bias: as `Attention` and `FFN` have them.
        position: none, learned, sinusoid, rope, alibi or t5 (shared by all layers).
        norm: layer or rms.
        wiring: pre, post, parallel or sandwich.
        activation, gate: of the feed-forward part.
        base: of rope.
        linear: kind of all linear maps, or `{"ffn": "lowrank(0.25)", "attn": "dense"}`.

    Raises:
        UserError: an unknown name, or sizes that do not go together.
    """
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    kind = kinds(linear)
    if hidden is None:
        hidden = gated_width(dim) if gate else 4 * dim

    def new_norm() -> Part:
        return NORMS[norm](dim)

    where = named_position(position, dim, heads, max_len, base)
    shared = isinstance(where, T5Bias)
    if isinstance(where, T5Bias):
        where = T5Bias(heads, two_way=causal is not True)

    def per_layer() -> Position | None:
        if not where.needs_qk:
            return None
        return where if shared else named_position(position, dim, heads, max_len, base)

    blocks = [
        Block(
            Attention(dim, heads, kv_heads, head_dim, per_layer(), bias, causal=causal, linear=kind["attn"]),
            FFN(dim, hidden, activation, gate, bias, kind["ffn"]),
            new_norm(),
            new_norm(),
            named_wiring(wiring, new_norm),
        )
        for _ in range(layers)
    ]
    # Sines and cosines have size one, so token vectors need it too.
    scale = dim**0.5 if position == "sinusoid" else 1.0
    embedding = TokenEmbedding(vocab, dim, None if where.needs_qk else where, scale=scale)
    return SequenceModel(embedding, Stack(blocks, None if wiring == "post" else new_norm()), _head(head, dim, vocab))


def gated_width(dim: int) -> int:
    """The usual width of a gated feed-forward part, 8/3 dim rounded up to a multiple of 8: as large as a plain one."""
    return -(-8 * dim // 24) * 8


def _head(
    name: str | None, dim: int, vocab: int, activation: str = "gelu", eps: float = 1e-12, bias: bool = True
) -> Part | None:
    known = {
        "tied": lambda: TiedHead(vocab),
        "lm": lambda: LMHead(dim, vocab),
        "mlm": lambda: MLMHead(dim, vocab, activation, eps, bias),
    }
    if name is None:
        return None
    if name not in known:
        raise unknown("head", name, known)
    return known[name]()


def encoder(
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    max_len: int | None = None,
    head: str | None = None,
    **options: object,
) -> SequenceModel:
    """A two-way transformer; options as `transformer` has them. Without a head it gives states."""
    return transformer(vocab, dim, layers, heads, causal=None, head=head, max_len=max_len, **options)  # type: ignore[arg-type]


def decoder(
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    kv_heads: int | None = None,
    head: str | None = "tied",
    **options: object,
) -> SequenceModel:
    """A causal transformer; options as `transformer` has them. Same seed and sizes: same weights as `encoder`."""
    return transformer(vocab, dim, layers, heads, causal=True, head=head, kv_heads=kv_heads, **options)  # type: ignore[arg-type]


def bert(
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    hidden: int,
    max_len: int = 512,
    types: int = 2,
    activation: str = "gelu",
    eps: float = 1e-12,
    head: str | None = None,
) -> SequenceModel:
    """BERT's shape: post-norm, learned positions, token types, biases. Devlin et al. 2019, https://arxiv.org/abs/1810.04805"""
    embedding = TokenEmbedding(vocab, dim, Learned(max_len, dim), LayerNorm(dim, eps), types)
    blocks = [
        Block(
            Attention(dim, heads, bias=True),
            FFN(dim, hidden, activation),
            LayerNorm(dim, eps),
            LayerNorm(dim, eps),
            PostNorm(),
        )
        for _ in range(layers)
    ]
    return SequenceModel(embedding, Stack(blocks), _head(head, dim, vocab, activation, eps))


def recurrent(vocab: int, mixer: Mixer) -> SequenceModel:
    """A recurrent network: input weights (a vector for each token, small and random), a recurrence, a linear read-out.

    Args:
        mixer: a recurrence that takes what is added to its state, such as `RingConv` or `IdentityRNN`.
    """
    embedding = TokenEmbedding(vocab, mixer.dim)
    normal(embedding.table, 1e-3)
    return SequenceModel(embedding, Stack([Block(mixer, wiring=Bare())]), LMHead(mixer.dim, vocab, bias=True))


def modernbert(
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    hidden: int,
    every: int = 3,
    window: int | None = 128,
    base: float = 160_000.0,
    local_base: float = 10_000.0,
    activation: str = "gelu",
    eps: float = 1e-5,
    dropout: float = 0.0,
    head: str | None = None,
) -> SequenceModel:
    """ModernBERT's shape: pre-norm, no biases, gated GELU, and attention to neighbours in two layers of three.

    Warner et al. 2024, https://arxiv.org/abs/2412.13663. The first block's attention has no norm before it, as the
    embedding has one behind it. The activated half of the gate is `gate`.

    Args:
        vocab, dim, layers, heads: sizes.
        hidden: width of the gated feed-forward part.
        every: layers 0, `every`, 2 `every`, … see the whole text, with rotary base `base`.
        window: the others see |i - j| <= window / 2, with rotary base `local_base`; None: they see all.
        dropout: on what attention gives, while training (the paper: 0.1).
        head: as `transformer` has it; with `mlm` only the decoder has a bias.

    Raises:
        UserError: sizes that do not go together.
    """
    everywhere, near = Rope(base), Rope(local_base)

    def mixer(layer: int) -> Part:
        if layer % every == 0:
            return Attention(dim, heads, position=everywhere)
        if window is None:
            return Attention(dim, heads, position=near)
        return LocalAttention(dim, heads, window // 2 + 1, position=near)

    def norm() -> Part:
        return LayerNorm(dim, eps, bias=False)

    blocks = [
        Block(
            mixer(layer),
            FFN(dim, hidden, activation, gate=True, bias=False),
            norm() if layer else None,
            norm(),
            PreNormDropout(dropout) if dropout else PreNorm(),
        )
        for layer in range(layers)
    ]
    made = _head(head, dim, vocab, activation, eps, bias=False)
    return SequenceModel(TokenEmbedding(vocab, dim, norm=norm()), Stack(blocks, norm()), made)


MODERNBERT: dict[str, dict[str, Any]] = {
    "tiny": {"dim": 96, "layers": 4, "heads": 4, "hidden": 256},
    "base": {"dim": 768, "layers": 22, "heads": 12, "hidden": 1152},
    "large": {"dim": 1024, "layers": 28, "heads": 16, "hidden": 2624},
}
"""Sizes of `modernbert`: the paper's two (149M and 395M parameters with its vocabulary of 50,368), and a tiny one."""


def llama(
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    kv_heads: int,
    hidden: int,
    head_dim: int | None = None,
    base: float = 10000.0,
    stretch: Stretch | None = None,
    eps: float = 1e-6,
    tied: bool = True,
    bias: bool = False,
    interleaved: bool = False,
) -> SequenceModel:
    """Llama's shape: pre RMS norm, rope, grouped keys, SwiGLU, no biases. Touvron et al. 2023, https://arxiv.org/abs/2302.13971"""
    rope = Rope(base, interleaved, stretch=stretch)
    blocks = [
        Block(
            Attention(dim, heads, kv_heads, head_dim, rope, bias, out_bias=False, causal=True),
            FFN(dim, hidden, "silu", gate=True, bias=False),
            RMSNorm(dim, eps),
            RMSNorm(dim, eps),
        )
        for _ in range(layers)
    ]
    head = TiedHead(vocab) if tied else LMHead(dim, vocab)
    return SequenceModel(TokenEmbedding(vocab, dim), Stack(blocks, RMSNorm(dim, eps)), head)


def t5_encoder(
    vocab: int,
    dim: int,
    layers: int,
    heads: int,
    hidden: int,
    head_dim: int = 64,
    buckets: int = 32,
    max_distance: int = 128,
    activation: str = "relu",
    gate: bool = False,
    eps: float = 1e-6,
) -> SequenceModel:
    """T5's encoder: pre RMS norm, unscaled logits, one relative bias for all layers. Raffel et al. 2020, https://arxiv.org/abs/1910.10683"""
    bias = T5Bias(heads, buckets, max_distance, two_way=True)
    blocks = [
        Block(
            Attention(dim, heads, head_dim=head_dim, position=bias, scale=1.0),
            FFN(dim, hidden, activation, gate, bias=False),
            RMSNorm(dim, eps),
            RMSNorm(dim, eps),
        )
        for _ in range(layers)
    ]
    return SequenceModel(TokenEmbedding(vocab, dim), Stack(blocks, RMSNorm(dim, eps)))


CHANNELS: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu", "gate": False},
    "gelu": {"activation": "gelu", "gate": False},
    "geglu": {"activation": "gelu", "gate": True},
    "swiglu": {"activation": "silu", "gate": True},
}
"""Feed-forward parts by name, as options of `transformer`."""

PRESETS = {
    "encoder": encoder,
    "decoder": decoder,
    "bert": bert,
    "modernbert": modernbert,
    "llama": llama,
    "t5-encoder": t5_encoder,
}
"""Presets by name."""
