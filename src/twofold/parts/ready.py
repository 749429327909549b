"""A network as it is used: the same function in forms that are faster where nothing is learnt.

The copies made here share the weights of the network they come from, are in evaluation mode, and are neither trained
nor saved. `Ready` keeps them for as long as nothing of the network changes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts import streamed
from twofold.parts.caches import Cache, KeyValueCache
from twofold.parts.channels import FFN
from twofold.parts.heads import LMHead, TiedHead
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.model import SequenceModel
from twofold.parts.packed import PackedLinear
from twofold.parts.positions import NoPosition, Rope
from twofold.parts.stack import Block

Net = TypeVar("Net", bound=nn.Module)


def for_batches(net: Net, dtype: str = "float32") -> Net:
    """A network for whole sequences, many at a time.

    Args:
        net: the network.
        dtype: `float32`: as it is; `bfloat16`: the linear maps of its blocks, to be run under autocast, so that sums
            of states and norms stay in float32; `int8`: the same maps, with scales for each output of a matrix and
            for each call's input (dynamic), the rest in float32.
    """
    made = _shared(net)
    if dtype != "float32":
        for block in _blocks(made):
            for parent in list(block.modules()):
                for name, child in parent.named_children():
                    if type(child) is Dense:
                        setattr(parent, name, Int8(child) if dtype == "int8" else _half(child))
    return made


def for_steps(net: SequenceModel) -> SequenceModel:
    """A causal network for one token at a time: attention of a single query without masks, and matrices whose weights
    lie on a grid read as codes (`streamed`), the same products but for the order of the sums.

    Matrices of other kinds stay as they are; so do parts that are not the plain ones.
    """
    made = _shared(net)
    on_codes = streamed.available() and next((p.device.type for p in net.parameters()), "cpu") == "cpu"
    for block in _blocks(made):
        if type(block.mixer) is Attention and type(block.mixer.position) in (NoPosition, Rope):
            block.mixer = OneQuery.of(block.mixer, on_codes)
        if type(block.channel) is FFN and on_codes:
            block.channel = _joined_ffn(block.channel)
    if on_codes and type(made.head) in (TiedHead, LMHead):
        made.head = _streamed_head(made)
    return made


class OneQuery(Attention, abstract=True):
    """Attention whose steps of one token take the shortest way: the heads of a group are the rows of one product."""

    joined: streamed.Streamed | None

    @classmethod
    def of(cls, attention: Attention, on_codes: bool) -> OneQuery:
        """What does the same as `attention`, with its parts; on codes where all three maps have them."""
        made = cls.__new__(cls)
        made.__dict__.update(attention.__dict__)
        made._modules = dict(attention._modules)
        maps = (attention.query, attention.key, attention.value)
        made.joined = _join(maps) if on_codes else None
        if on_codes:
            made.out = _either(_join((attention.out,)), attention.out)
        return made

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        rule = self.rule(mask)
        if x.shape[1] != 1 or not isinstance(cache, KeyValueCache) or rule.pairs is not None:
            return super().forward(x, rule, cache)
        batch, groups = x.shape[0], self.kv_heads
        queries, keys = cache.place(batch, 1, rule)
        if self.joined is None:
            heads = torch.cat([part(x) for part in (self.query, self.key, self.value)], -1)
        else:
            heads = self.joined(x)
        heads = heads.view(batch, -1, 1, self.head_dim)
        turned = heads[:, : self.heads + groups]
        if isinstance(self.position, Rope):
            turned = self.position.turn(turned, queries.positions)
        k, v = cache.append(turned[:, self.heads :], heads[:, self.heads + groups :])
        q = turned[:, : self.heads].reshape(batch, groups, -1, self.head_dim)
        _, seen = rule.lower(queries, keys)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=self.scale)
        mixed: Tensor = self.out(found.reshape(batch, 1, -1))
        return mixed


class _JoinedFFN(nn.Module):
    """A feed-forward part on codes; gate and up in one product."""

    def __init__(self, ffn: FFN, first: streamed.Streamed, down: nn.Module) -> None:
        super().__init__()
        self.first, self.down, self.act, self.gated = first, down, ffn.act, ffn.gate is not None

    def forward(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        y = self.first(x)
        if self.gated:
            gate, up = y.chunk(2, -1)
            y = self.act(gate) * up
        else:
            y = self.act(y)
        found: Tensor = self.down(y)
        return found


class Int8(nn.Module):
    """A linear map in 8-bit integers: weights rounded once, with a scale for each output; inputs at every call, with
    one scale for all (dynamic: nothing is calibrated). Jacob et al. 2017, https://arxiv.org/abs/1712.05877
    """

    def __init__(self, layer: Dense) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(1).clamp_min(1e-12).double() / 127
        zeros = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that tensors of this type will go; the products stay
            codes = torch.quantize_per_channel(weight, scale, zeros, 0, torch.qint8)
        bias = None if layer.bias is None else layer.bias.detach().float()
        self._packed: Any = torch.ops.quantized.linear_prepack(codes, bias)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        # Seven bits of inputs: processors without a product of bytes into 32 bits add two of them in 16.
        found: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, True)
        return found


class Ready:
    """Keeps what was made of a network until a tensor or a part of the network is another."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[_State, Any]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Ready:
        return Ready()

    def __call__(self, net: Net, key: Hashable, make: Callable[[Net], Net]) -> Net:
        """`make(net)`, or what it gave before; the network itself where somebody listens to its parts (hooks)."""
        if any(part._forward_hooks or part._forward_pre_hooks for part in net.modules()):
            return net
        state = _State(net)
        kept = self._kept.get(key)
        if kept is None or not kept[0].same(state):
            self._kept[key] = kept = state, make(net)
        found: Net = kept[1]
        return found


class _State:
    def __init__(self, net: nn.Module) -> None:
        self.parts: list[object] = [*net.modules(), *net.parameters(), *net.buffers()]
        self.versions = [0 if t.is_inference() else t._version for t in (*net.parameters(), *net.buffers())]

    def same(self, other: _State) -> bool:
        pairs = zip(self.parts, other.parts, strict=False)
        return len(self.parts) == len(other.parts) and self.versions == other.versions and all(a is b for a, b in pairs)


def _shared(net: Net) -> Net:
    """A copy of the structure on the same tensors."""
    return copy.deepcopy(net, {id(t): t for t in (*net.parameters(), *net.buffers())}).eval()


def _half(layer: Dense) -> Dense:
    return copy.deepcopy(layer).to(torch.bfloat16)


def _blocks(net: nn.Module) -> list[Block]:
    return [part for part in net.modules() if isinstance(part, Block)]


def _join(maps: tuple[nn.Module, ...]) -> streamed.Streamed | None:
    """Maps of one input as one, if the matrices of all lie on grids of like groups."""
    found = [_codes(part) for part in maps]
    codes = [part for part in found if part is not None]
    if len(codes) < len(maps) or len({part.scale.shape[1] for part in codes}) > 1:
        return None
    biases: list[Any] = [part.bias for part in maps]
    outputs = [len(part.codes) for part in codes]
    if all(bias is None for bias in biases):
        return streamed.Streamed(codes, maps, None)
    filled = [torch.zeros(n) if bias is None else bias for bias, n in zip(biases, outputs, strict=True)]
    return streamed.Streamed(codes, maps, torch.cat(filled).detach())


def _either(first: Any, second: Any) -> Any:
    return second if first is None else first


def _codes(part: nn.Module) -> streamed.Codes | None:
    if type(part) is Dense:
        return streamed.codes_of(part.weight)
    if type(part) is PackedLinear and isinstance(part.weight, streamed.Packed):
        return streamed.codes_in(part.weight)
    return None


def _joined_ffn(ffn: FFN) -> Any:
    first = _join((ffn.up,) if ffn.gate is None else (ffn.gate, ffn.up))
    return ffn if first is None else _JoinedFFN(ffn, first, _either(_join((ffn.down,)), ffn.down))


def _streamed_head(net: SequenceModel) -> Any:
    head = net.head
    if isinstance(head, LMHead):
        return _either(_join((head.decoder,)), head)
    table = net.embedding.table
    codes = None if table is None else streamed.codes_of(table)
    if codes is None or not isinstance(head, TiedHead):
        return head
    bias = None if head.bias is None else head.bias.detach()
    return streamed.Streamed([codes], [lambda x: F.linear(x, net.embedding.table, head.bias)], bias)  # type: ignore[arg-type]
