"""Two stacks: one reads a source both ways, the other writes a target and looks at what was read."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.parts.caches import StackCache
from twofold.parts.channels.ffn import FFN
from twofold.parts.embeddings import Embedding
from twofold.parts.heads import LMHead
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.cross_attention import CrossAttention
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.model import SequenceModel
from twofold.parts.norms import RMSNorm
from twofold.parts.part import Part
from twofold.parts.positions import T5Bias
from twofold.parts.presets import t5_encoder
from twofold.parts.stack import Block, Stack


class EncoderDecoder(Part):
    """From a source and the target so far to logits of the target's next token.

    Args:
        encoder: gives states.
        decoder: gives logits; some of its mixers are `CrossAttention`.
        start: the id that a target's tokens are shifted behind (T5: padding).
    """

    def __init__(self, encoder: SequenceModel, decoder: SequenceModel, start: int = 0) -> None:
        super().__init__()
        self.encoder, self.decoder, self.start = encoder, decoder, start

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        real: Bool[Tensor, "batch source"],
        target: Int[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of each token of the target, from those before it and the whole source."""
        begun = torch.full_like(target[:, :1], self.start)
        shifted = torch.cat([begun, target[:, :-1]], 1)
        return self.recalling(source, real)(shifted, Mask.causal())

    def recalling(self, source: Int[Tensor, "batch source"], real: Bool[Tensor, "batch source"]) -> Recalling:
        """The decoder, with a source in mind."""
        decoder = Recalling(self.decoder.embedding, self.decoder.stack, self.decoder.head)
        decoder.memory, decoder.real = self.encoder.states(source, real), real
        return decoder.train(self.training)


class Recalling(SequenceModel):
    """A decoder with the states of a source, which all its cross-attention reads; shares the decoder's parts."""

    memory: Tensor | None = None
    real: Tensor | None = None

    def states(
        self,
        ids: Int[Tensor, "batch time"],
        mask: AnyMask = None,
        cache: StackCache | None = None,
        stop: int | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """As every sequence model, with the source in the mask."""
        assert self.memory is not None
        return super().states(ids, Mask.of(mask) & Mask.remember(self.memory, self.real), cache, stop, types)


def t5_decoder(
    embedding: Embedding,
    vocab: int,
    heads: int,
    hidden: int,
    layers: int,
    memory_dim: int | None = None,
    eps: float = 1e-6,
) -> SequenceModel:
    """The stack of T5 v1.1 that writes: each layer attends to itself, then to the source; its own read-out.

    Args:
        embedding: of width D, which `heads` divides; usually the encoder's.
        memory_dim: width of the source's states (default D).
    """
    dim, bias = embedding.dim, T5Bias(heads)
    width = dim // heads
    blocks = []
    for _ in range(layers):
        own = Attention(dim, heads, head_dim=width, position=bias, causal=True, scale=1.0)
        other = CrossAttention(dim, heads, head_dim=width, memory_dim=memory_dim, scale=1.0)
        channel = FFN(dim, hidden, "gelu_tanh", gate=True, bias=False)
        blocks += [Block(own, None, RMSNorm(dim, eps)), Block(other, channel, RMSNorm(dim, eps), RMSNorm(dim, eps))]
    decoder = SequenceModel(embedding, Stack(blocks, RMSNorm(dim, eps)), LMHead(dim, vocab))
    _small_queries(decoder, width)
    return decoder


def t5(
    vocab: int,
    dim: int,
    heads: int,
    hidden: int,
    encoder_layers: int,
    decoder_layers: int,
    start: int = 0,
    eps: float = 1e-6,
) -> EncoderDecoder:
    """T5 v1.1: gated GELU, RMS norms, unscaled logits, one relative bias a side, one table for both, its own read-out.

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683; Shazeer 2020, https://arxiv.org/abs/2002.05202
    """
    width = dim // heads
    encoder = t5_encoder(vocab, dim, encoder_layers, heads, hidden, width, activation="gelu_tanh", gate=True, eps=eps)
    decoder = t5_decoder(encoder.embedding, vocab, heads, hidden, decoder_layers, eps=eps)
    _small_queries(encoder, width)
    return EncoderDecoder(encoder, decoder, start)


@torch.no_grad()
def _small_queries(model: SequenceModel, width: int) -> None:
    """Logits are not divided by √d: the start of the queries is."""
    for block in model.stack.layers:
        block.mixer.query.weight.mul_(width**-0.5)  # type: ignore[union-attr, operator]
