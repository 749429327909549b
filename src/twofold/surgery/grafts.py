"""Cross-attention grafted into a trained decoder, which stays as it is."""

from __future__ import annotations

from torch import nn

from twofold.errors import UserError
from twofold.parts import Attention, Block, CrossAttention, PreNorm, SequenceModel, Stack


def graft_cross_attention(decoder: SequenceModel, memory_dim: int, top: int) -> SequenceModel:
    """A decoder that can look at another network's states from its `top` last layers on; all that it knew is frozen.

    Each of those layers gets cross-attention between its own attention and its feed-forward part. What that gives is
    zero at the start (its output map is), so the network begins exactly as it was; the rest of the graft is trained.
    Wang et al. 2023, https://arxiv.org/abs/2305.07922, section 3.3; zeros at the start as Alayrac et al. 2022,
    https://arxiv.org/abs/2204.14198

    Args:
        decoder: causal, of pre-norm blocks of attention; its parts are taken over, not copied.
        memory_dim: width of the states that are looked at.

    Raises:
        UserError: another kind of network, or fewer layers.
    """
    layers = list(decoder.stack.layers)
    if not 1 <= top <= len(layers):
        raise UserError(f"graft_layers={top}, and the decoder has {len(layers)} layers; use 1 to {len(layers)}")
    if not decoder.stack.causal:
        raise UserError("cross-attention is grafted onto causal decoders; give one, such as smollm2")
    decoder.requires_grad_(False)
    blocks: list[Block] = layers[: len(layers) - top]  # type: ignore[assignment]
    for layer in layers[len(layers) - top :]:
        mixer = layer.mixer if isinstance(layer, Block) else None
        if not isinstance(layer, Block) or not isinstance(mixer, Attention) or not isinstance(layer.wiring, PreNorm):
            raise UserError("cross-attention is grafted into pre-norm blocks of attention; give another decoder")
        looks = CrossAttention(mixer.dim, mixer.heads, mixer.kv_heads, mixer.head_dim, memory_dim)
        nn.init.zeros_(looks.out.weight)  # type: ignore[arg-type]
        norm = layer.mixer_norm.rebuilt()
        blocks += [
            Block(mixer, None, layer.mixer_norm, None, layer.wiring),
            Block(looks, layer.channel, norm, layer.channel_norm, layer.wiring),
        ]
    return SequenceModel(decoder.embedding, Stack(blocks, decoder.stack.final_norm), decoder.head)
