"""What the theorems about NoPE say, as explicit weights.

Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466, section 5 and appendix C. A causal network without positions
can count its tokens (theorem 1) and then add any function of the distance to its logits (theorem 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import FFN, Attention, Block, Part, SequenceModel, Stack, TokenEmbedding

# Features behind the content: one everywhere, one at the start token only, 1/t, t, and one for each t.
_ONE, _START, _SHARE, _COUNT, _PLACE = range(5)


def counting_block(content: int, longest: int) -> Block:
    """Theorem 1: a block without positions whose states say how many tokens there have been.

    Its one head has queries and keys of zero, so it attends uniformly to the t tokens so far, and its value is 1 on the
    start token only: what comes out is 1/t. The feed-forward part turns that into t, and into a feature of its own for
    each t up to `longest`, exactly, as sums of r_k = relu(1/k − 1/t):

        t = 1 + Σ_k 2k·r_k          [t = j] = j(j−1)·r_{j−1} − 2j²·r_j + j(j+1)·r_{j+1}     (j = 1: 1 − 2r_1 + 2r_2)

    Args:
        content: features that the block leaves alone; they come first.
        longest: the largest t.

    Returns:
        A block in float64 on states of width `content + 4 + longest`: content, 1, is-start, 1/t, t, t = 1, t = 2, …
        The block fills in 1/t, t and what follows; they are zero before it.
    """
    dim = content + _PLACE + longest
    attention = Attention(dim, 1, head_dim=1, causal=True)
    ffn = FFN(dim, longest + 1, activation="relu")
    block = Block(attention, ffn).double()
    k = torch.arange(1, longest + 2, dtype=torch.float64)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        _tensor(attention.value, "weight")[0, content + _START] = 1
        _tensor(attention.out, "weight")[content + _SHARE, 0] = 1
        _tensor(ffn.up, "weight")[:, content + _SHARE] = -1
        _tensor(ffn.up, "bias").copy_(1 / k)
        down, bias = _tensor(ffn.down, "weight"), _tensor(ffn.down, "bias")
        down[content + _COUNT] = 2 * k
        down[content + _COUNT, -1] = 0  # t never passes `longest`
        bias[content + _COUNT] = bias[content + _PLACE] = 1
        for j in range(1, longest + 1):
            row = down[content + _PLACE + j - 1]
            row[j - 1], row[j] = -2 * j * j, j * (j + 1)
            if j > 1:
                row[j - 2] = j * (j - 1)
    return block.requires_grad_(False)


def with_slopes(attention: Attention, slopes: Sequence[float], longest: int) -> Attention:
    """Theorem 2 in its plainest form: attention over counted states that adds `slope · (i − t)` to each head's logits.

    Two features more a head: queries […, 1, −t] and keys […, i, 1], times the slope.

    Args:
        attention: without a position, over the content alone (width `attention.dim`).
        slopes: one a head.
        longest: as for `counting_block`.
    """
    one, count = attention.dim + _ONE, attention.dim + _COUNT
    wide = _widened(attention, 2, longest)
    d = attention.head_dim
    with torch.no_grad():
        for head, slope in enumerate(slopes):
            query, key = _rows(wide, "query", head), _rows(wide, "key", head)
            query[d, one], query[d + 1, count] = slope / wide.scale, -slope / wide.scale
            key[d, count], key[d + 1, one] = 1, 1
    return wide


def with_bias(attention: Attention, table: Float[Tensor, "heads longest"]) -> Attention:
    """Theorem 2 for any function of the distance: attention over counted states, `table[head, t − i]` added to logits.

    One feature more a head for each t: the query is one at its own t, where the key at i holds `table[head, t − i]`.
    (A table has as many degrees of freedom as distances, so a product of queries and keys needs as many features.)

    Args:
        attention: without a position, over the content alone (width `attention.dim`).
        table: the bias of each head at distances 0, 1, …
    """
    heads, longest = table.shape
    if heads != attention.heads:
        raise UserError(f"the table has {heads} heads and the attention {attention.heads}; give one row a head")
    place = attention.dim + _PLACE
    wide = _widened(attention, longest, longest)
    d = attention.head_dim
    distance = torch.arange(longest)[:, None] - torch.arange(longest)[None, :]  # t − i
    with torch.no_grad():
        for head in range(heads):
            query, key = _rows(wide, "query", head), _rows(wide, "key", head)
            query[d:, place:] = torch.eye(longest, dtype=torch.float64) / wide.scale
            key[d:, place:] = torch.where(distance >= 0, table[head].double()[distance.clamp_min(0)], 0.0)
    return wide


def nope_construction(
    embedding: Float[Tensor, "vocab dim"], biased: Attention, longest: int, start: int = 0
) -> SequenceModel:
    """Two blocks without positions, in float64: the first counts, the second attends with a relative bias.

    The first `dim` features of its states are the content plus what the second attention takes from it.

    Args:
        embedding: content of each token.
        biased: from `with_slopes` or `with_bias`.
        longest: as for them.
        start: id of the start token, which begins every sequence (without it nothing can be counted).
    """
    vocab, dim = embedding.shape
    tokens = TokenEmbedding(vocab, dim + _PLACE + longest).double()
    with torch.no_grad():
        tokens.tokens.weight.zero_()
        tokens.tokens.weight[:, :dim] = embedding
        tokens.tokens.weight[:, dim + _ONE] = 1
        tokens.tokens.weight[start, dim + _START] = 1
    return SequenceModel(tokens, Stack([counting_block(dim, longest), Block(biased)])).requires_grad_(False)


def counted(states: Float[Tensor, "batch time wide"], content: int) -> Float[Tensor, "batch time"]:
    """The count t that a counting block has written into its states."""
    return states[..., content + _COUNT]


def _widened(attention: Attention, more: int, longest: int) -> Attention:
    """The same attention over states with the features of a count behind the content, with room in every head."""
    if attention.kv_heads != attention.heads or attention.query.bias is not None:
        raise UserError("the construction is for plain attention: one key head a query head, and no biases")
    d = attention.head_dim + more
    wide = Attention(attention.dim + _PLACE + longest, attention.heads, head_dim=d, causal=True).double()
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.zero_()
        for head in range(attention.heads):
            for name, factor in (("query", attention.scale / wide.scale), ("key", 1.0), ("value", 1.0)):
                narrow = _rows(attention, name, head)
                _rows(wide, name, head)[: attention.head_dim, : attention.dim] = factor * narrow
            columns = _tensor(attention.out, "weight")[:, head * attention.head_dim : (head + 1) * attention.head_dim]
            _tensor(wide.out, "weight")[: attention.dim, head * d : head * d + attention.head_dim] = columns
    return wide.requires_grad_(False)


def _rows(attention: Attention, projection: str, head: int) -> Tensor:
    """The rows of a projection's matrix that belong to one head, as a view."""
    weight = _tensor(getattr(attention, projection), "weight")
    return weight[head * attention.head_dim : (head + 1) * attention.head_dim]


def _tensor(part: Part, name: str) -> Tensor:
    found = getattr(part, name)
    assert isinstance(found, Tensor)
    return found
