"""Long convolutions between gates, and the recurrences that they can be distilled into."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, ConvCache, KeyValueCache, StackCache
from twofold.parts.documents import each_document
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.causal_conv import CausalConv
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.part import Part
from twofold.parts.states import StateCache


def long_conv(u: Float[Tensor, "*batch time"], kernel: Float[Tensor, "*channels time"]) -> Float[Tensor, "*batch time"]:
    """Causal convolution `y_t = Σ_s kernel_{t-s} u_s` by FFT of twice the length, so that nothing wraps around."""
    time = u.shape[-1]
    fine = torch.promote_types(u.dtype, torch.float32)
    spectrum = torch.fft.rfft(u.to(fine), n=2 * time) * torch.fft.rfft(kernel.to(fine), n=2 * time)
    return torch.fft.irfft(spectrum, n=2 * time)[..., :time].to(u.dtype)


def _together(queries: Tensor, keys: Tensor) -> Tensor:
    """Which tokens are of one document, `[B, 1, T, S]`."""
    return queries[:, None, :, None] == keys[:, None, None, :]


class LongFilter(Part, abstract=True):
    """Convolution kernels of any length, one for each head.

    Attributes:
        heads: how many.
    """

    heads: int

    def kernel(self, time: int) -> Float[Tensor, "heads time"]:
        """The first `time` taps of every head's kernel."""
        raise NotImplementedError


class ImplicitFilter(LongFilter):
    """Kernels that a small network gives for each place, times a window that decays. Poli et al. 2023,
    https://arxiv.org/abs/2302.10866

    `kernel_t = MLP(t / length, sines and cosines of it) · exp(-rate · t / length)`, plus a learned weight at t = 0. The
    windows of the heads decay to 1 % between 0.3 and 1.5 lengths. The MLP's nonlinearity is a sine.

    Args:
        heads: kernels.
        length: the scale of time, in tokens; kernels may be asked beyond it.
        bands: pairs of sine and cosine.
        hidden: width of the MLP.
        frequency: of its sines.
    """

    def __init__(self, heads: int, length: int = 256, bands: int = 8, hidden: int = 32, frequency: float = 6.0) -> None:
        super().__init__()
        at_least_one("ImplicitFilter", heads=heads, length=length, bands=bands, hidden=hidden)
        self.heads, self.length, self.bands, self.frequency = heads, length, bands, frequency
        self.first = Dense(1 + 2 * bands, hidden)
        self.second = Dense(hidden, hidden)
        self.third = Dense(hidden, heads, bias=False)
        self.skip = nn.Parameter(torch.ones(heads))

    def kernel(self, time: int) -> Float[Tensor, "heads time"]:
        weight = self.skip
        t = torch.arange(time, dtype=weight.dtype, device=weight.device) / self.length
        bands = torch.arange(1, self.bands + 1, dtype=weight.dtype, device=weight.device)
        angles = 2 * math.pi * t[:, None] * bands
        features = torch.cat((t[:, None], angles.sin(), angles.cos()), 1)
        x = torch.sin(self.frequency * self.first(features))
        x = torch.sin(self.frequency * self.second(x))
        spans = torch.linspace(0.3, 1.5, self.heads, dtype=weight.dtype, device=weight.device)
        kernel = cast(Tensor, self.third(x)).T * torch.exp(-math.log(100) * t / spans[:, None])
        now = F.pad(self.skip[:, None], (0, time - 1))
        return kernel + now


class ModalFilter(LongFilter):
    """Kernels that are sums of damped waves: `kernel_0` for itself, then `Σ_n 2 Re(R_n λ_n^{t-1})`.

    So the convolution is a recurrence whose state has one complex number for each wave. Massaroli et al. 2023 (Laughing
    Hyena), https://arxiv.org/abs/2310.18780, equation 3. `λ = σ(radius) · e^{i angle}`, so it is always stable.

    Args:
        heads: kernels.
        order: real numbers in a state, even: pairs of waves count twice.

    Raises:
        UserError: an odd order.
    """

    def __init__(self, heads: int, order: int) -> None:
        super().__init__()
        at_least_one("ModalFilter", heads=heads, order=order)
        if order % 2:
            raise UserError(f"ModalFilter: order {order} is odd, and waves come in pairs; use {order + 1}")
        self.heads, self.order = heads, order
        modes = order // 2
        self.radius = nn.Parameter(torch.full((heads, modes), 3.0))
        self.angle = nn.Parameter(torch.linspace(0.0, math.pi, modes).repeat(heads, 1))
        self.real = nn.Parameter(torch.zeros(heads, modes))
        self.imaginary = nn.Parameter(torch.zeros(heads, modes))
        self.now = nn.Parameter(torch.zeros(heads))

    def powers(self, time: int) -> Tensor:
        """`λ^0 … λ^(time-1)`, complex `[heads, modes, time]`."""
        fine = torch.promote_types(self.radius.dtype, torch.float32)
        t = torch.arange(time, dtype=fine, device=self.radius.device)
        size = torch.exp(F.logsigmoid(self.radius.to(fine))[..., None] * t)
        return torch.polar(size, self.angle.to(fine)[..., None] * t)

    @property
    def residues(self) -> Tensor:
        """R, complex `[heads, modes]`."""
        fine = torch.promote_types(self.real.dtype, torch.float32)
        return torch.complex(self.real.to(fine), self.imaginary.to(fine))

    def kernel(self, time: int) -> Float[Tensor, "heads time"]:
        waves = 2 * (self.residues[..., None] * self.powers(time)).sum(1).real
        return torch.cat((self.now[:, None], waves[:, : time - 1]), 1)


class Hyena(Mixer):
    """`y = q · (h ∗ (k · v))`: a long convolution between gates. Poli et al. 2023, https://arxiv.org/abs/2302.10866

    Fewer heads than features make it MultiHyena: in a head of width N all N² products of k and v are convolved with one
    kernel and contracted with q. Massaroli et al. 2023, https://arxiv.org/abs/2310.18780, section 4. q, k and v are
    linear maps and a short convolution. The whole sequence goes by FFT; token by token the past products are weighed by
    the kernel (memory grows), or, with a `ModalFilter`, kept as a state of constant size.

    Args:
        dim: width of the states.
        heads: kernels; dim of them is Hyena.
        filter: the kernels (default `ImplicitFilter(heads)`).
        kernel: width of the short convolution.
        length: the scale of time of the default filter, in tokens.

    Raises:
        UserError: sizes that do not go together.
    """

    causal = "yes"
    leaks = 2e-5
    has_matrix = True

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        modal = ModalFilter(2, 6)
        with torch.no_grad():
            modal.real.fill_(0.2)
        return {
            "hyena": cls(dim, dim, ImplicitFilter(dim, 16)),
            "multi": cls(dim, 4, ImplicitFilter(4, 16)),
            "modal": cls(dim, 2, modal),
        }

    def __init__(
        self, dim: int, heads: int, filter: LongFilter | None = None, kernel: int = 3, length: int = 256
    ) -> None:
        super().__init__()
        at_least_one("Hyena", dim=dim, heads=heads)
        if dim % heads:
            raise UserError(f"Hyena: dim {dim} does not divide into {heads} heads; use heads={math.gcd(dim, heads)}")
        self.dim, self.heads, self.head_dim = dim, heads, dim // heads
        self.filter: LongFilter = ImplicitFilter(heads, length) if filter is None else filter
        if self.filter.heads != heads:
            raise UserError(
                f"Hyena: the filter has {self.filter.heads} kernels and the mixer {heads} heads; make them equal"
            )
        self.enter_map = Dense(dim, 3 * dim, bias=False)
        self.conv = CausalConv(3 * dim, kernel)
        self.out = Dense(dim, dim, bias=False)

    def project(self, x: Tensor, mask: Mask, tail: ConvCache | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v `[B, H, T, N]`; values of padding are zero."""
        mixed = cast(Tensor, self.conv(self.enter_map(x), mask, tail))
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in mixed.chunk(3, -1))
        if mask.pad is not None:
            v = v * mask.pad[:, None, :, None].to(v.dtype)
        return q, k, v

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask)
        if cache is None:
            return self._whole(x, mask) if mask.segment_ids is None else each_document(x, mask, self._whole)
        layers = cache.layers if isinstance(cache, StackCache) else ()
        if len(layers) != 2 or not isinstance(layers[0], ConvCache):
            raise UserError(f"Hyena needs the cache that its new_cache makes, not {type(cache).__name__}")
        memory = layers[1]
        if mask.segment_ids is not None and not isinstance(memory, KeyValueCache):
            raise UserError("packed documents do not go through a cache of waves; give each a row of its own")
        q, k, v = self.project(x, mask, layers[0])
        if isinstance(memory, StateCache) and isinstance(self.filter, ModalFilter):
            y = self.recur(self.filter, q, k, v, memory)
        elif isinstance(memory, KeyValueCache):
            queries, places = memory.place(len(x), x.shape[1], mask)
            begin = memory.length
            keys, values = memory.append(k, v)
            weights = self.weighed(q, keys, begin)
            if queries.segments is not None and places.segments is not None:
                weights = weights * _together(queries.segments, places.segments)
            y = weights @ values
        else:
            raise UserError("the filter was replaced after the cache was made; make a new cache")
        cast(StackCache, cache).length += x.shape[1]
        return self.merge(y)

    def _whole(self, x: Tensor, mask: Mask) -> Tensor:
        """Rows of one document each."""
        q, k, v = self.project(x, mask)
        return self.merge(self.convolved(q, k, v, self.filter.kernel(x.shape[1])))

    def convolved(self, q: Tensor, k: Tensor, v: Tensor, kernel: Tensor) -> Tensor:
        """`q · (kernel ∗ (k vᵀ))`, `[B, H, T, N]`."""
        products = (k[..., :, None] * v[..., None, :]).permute(0, 1, 3, 4, 2)  # [B, H, N, N, T]
        mixed = long_conv(products, kernel[:, None, None])
        return torch.einsum("bhti,bhijt->bhtj", q, mixed)

    def weighed(self, q: Tensor, k: Tensor, begin: int) -> Tensor:
        """How much each new token takes of every value so far: `kernel_{t-s} · (q_t · k_s)`, `[B, H, T, S]`."""
        kernel = self.filter.kernel(k.shape[2])
        back = torch.arange(begin, k.shape[2], device=k.device)[:, None] - torch.arange(k.shape[2], device=k.device)
        taps = kernel[:, back.clamp_min(0)] * (back >= 0)
        return q @ k.transpose(-1, -2) * taps.to(q.dtype)

    def recur(self, filter: ModalFilter, q: Tensor, k: Tensor, v: Tensor, memory: StateCache) -> Tensor:
        """New tokens from the state x of all before, which goes on as `Λ x + k vᵀ`: `q (2 Re(R · x) + h_0 k vᵀ)`."""
        memory.check(len(q))
        time = q.shape[2]
        powers = filter.powers(time)
        state = memory.read(powers.dtype)
        read = filter.residues[..., None] * powers  # [H, modes, T]
        past = 2 * torch.einsum("bhmij,hmt->bhtij", state, read).real.to(q.dtype)
        y = torch.einsum("bhti,bhtij->bhtj", q, past)
        if time == 1:
            y = y + (q * k).sum(-1, keepdim=True) * filter.now[:, None, None].to(q.dtype) * v
        else:
            y = y + self.weighed(q, k, 0) @ v

        def after(before: Tensor, inputs: object) -> Tensor:
            keys, values = cast(tuple[Tensor, Tensor], inputs)
            steps = keys.shape[1]
            far = filter.powers(steps + 1)
            return before * far[..., -1][..., None, None] + torch.einsum(
                "bthi,bthj,hmt->bhmij", keys.to(far.dtype), values.to(far.dtype), far[..., :-1].flip(-1)
            )

        given = (k.transpose(1, 2), v.transpose(1, 2))
        memory.advance(after(state, given), time, None, after, given)
        return y

    def merge(self, heads: Float[Tensor, "batch heads time d"]) -> Float[Tensor, "batch time dim"]:
        """Heads through the output map."""
        return self.out(heads.transpose(1, 2).flatten(-2))

    def matrix(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        mask = Mask.of(mask)
        q, k, _ = self.project(x, mask)
        weights = self.weighed(q, k, 0)
        return weights if mask.segment_ids is None else weights * _together(mask.segment_ids, mask.segment_ids)

    def values(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads sources d"]:
        return self.project(x, Mask.of(mask))[2]

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        kind = dtype or self.like().dtype
        where = self.like().device if device is None else torch.device(device)
        memory: Cache
        if isinstance(self.filter, ModalFilter):
            wave = torch.complex128 if kind == torch.float64 else torch.complex64
            shape = (batch, self.heads, self.filter.order // 2, self.head_dim, self.head_dim)
            memory = StateCache(torch.zeros(shape, dtype=wave, device=where))
        else:
            memory = KeyValueCache(batch, self.heads, max_len, self.head_dim, kind, where)
        return StackCache([self.conv.new_cache(batch, max_len, dtype, device), memory], max_len)

    def flops(self, time: int) -> int:
        channels, points = self.dim * self.head_dim, 2 * time
        transforms = 3 * 5 * channels * points * max(1, math.ceil(math.log2(points))) // 2
        return (
            self.enter_map.flops(time) + self.conv.flops(time) + self.out.flops(time) + transforms + 4 * channels * time
        )
