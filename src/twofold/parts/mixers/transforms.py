"""Fixed linear transforms along the sequence and the features: mixing without weights."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.rules import counted


class Transform(Mixer, abstract=True):
    """A transform of the tokens, then of the features, each scaled to keep lengths; there is nothing to learn.

    Every row and every packed text has the transform of its own length, by a matrix `[T, T]`, so padding counts for
    nothing. The result depends on the length: feed windows of one length where that matters.

    Args:
        dim: width of the states.
    """

    causal = "no"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim)}

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least_one(type(self).__name__, dim=dim)
        self.dim = dim

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask).two_way(type(self).__name__, "a mixer such as Hyena for causal models")
        mask.check(x.shape[0], x.shape[1])
        if cache is not None:
            raise UserError(f"{type(self).__name__} needs the whole sequence at once, so it cannot work step by step")
        key = (type(self), x.shape[1], x.dtype)
        tokens = mask.keep(key, lambda: self._tokens(mask, x))
        every = torch.arange(self.dim, device=x.device)[None]
        features = self.matrices(every, torch.tensor([[[self.dim]]], device=x.device), x.dtype)
        return self.joined(x, tokens, features)

    def _tokens(self, mask: Mask, x: Tensor) -> tuple[Tensor, ...]:
        """The matrices along the sequence, `[1 or B, T, T]`; zero between tokens that do not meet."""
        time = x.shape[1]
        if mask.pad is None and mask.segment_ids is None:
            return self.matrices(
                torch.arange(time, device=x.device)[None], torch.full((1, 1, 1), time, device=x.device), x.dtype
            )
        places = counted(mask.pad, mask.segment_ids)
        same = torch.ones(len(places), time, time, dtype=torch.bool, device=x.device)
        if mask.pad is not None:
            same = same & mask.pad[:, :, None] & mask.pad[:, None, :]
        if mask.segment_ids is not None:
            same = same & (mask.segment_ids[:, :, None] == mask.segment_ids[:, None, :])
        lengths = same.sum(-1, keepdim=True).clamp_min(1)
        return tuple(matrix * same for matrix in self.matrices(places, lengths, x.dtype))

    def matrices(self, places: Tensor, lengths: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """The transform's real matrices `[B, T, T]`: rows are what comes out.

        Args:
            places: int `[B, T]`, from 0.
            lengths: int `[B, T or 1, 1]`, of the sequence that each row belongs to.
            dtype: of the result.
        """
        raise NotImplementedError

    def joined(self, x: Tensor, tokens: tuple[Tensor, ...], features: tuple[Tensor, ...]) -> Tensor:
        """The output from the input and both sets of matrices."""
        raise NotImplementedError


class FourierTransform(Transform):
    """The real part of the discrete Fourier transform of tokens and features, `Re(F_T x F_D)`.

    Lee-Thorp et al. 2021 (FNet, there without the scale), equation 3, https://arxiv.org/abs/2105.03824
    """

    def matrices(self, places: Tensor, lengths: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        fine = torch.promote_types(dtype, torch.float32)
        turns = ((places[:, :, None] * places[:, None, :]) % lengths).to(fine) / lengths
        scale = lengths.to(fine).rsqrt()
        angle = 2 * math.pi * turns
        return (angle.cos() * scale).to(dtype), (angle.sin() * scale).to(dtype)

    def joined(self, x: Tensor, tokens: tuple[Tensor, ...], features: tuple[Tensor, ...]) -> Tensor:
        (cos, sin), (cos_d, sin_d) = tokens, features
        return cos @ (x @ cos_d[0].T) - sin @ (x @ sin_d[0].T)

    def flops(self, time: int) -> int:
        return 4 * time * self.dim * (time + self.dim)


class CosineTransform(Transform):
    """The discrete cosine transform (DCT-II, orthonormal) of tokens and features.

    Ahmed et al. 1974, https://doi.org/10.1109/T-C.1974.223784; as an encoder's operation: Tuli et al. 2022, https://arxiv.org/abs/2205.11656
    """

    def matrices(self, places: Tensor, lengths: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        fine = torch.promote_types(dtype, torch.float32)
        # cos(π (2n + 1) k / 2N) has a period of 4N in (2n + 1) k, which is kept a whole number.
        quarter = ((2 * places[:, None, :] + 1) * places[:, :, None]) % (4 * lengths)
        first = (places[:, :, None] == 0).to(fine)
        scale = ((2 - first) / lengths).sqrt()
        return (((quarter.to(fine) * (math.pi / 2) / lengths).cos() * scale).to(dtype),)

    def joined(self, x: Tensor, tokens: tuple[Tensor, ...], features: tuple[Tensor, ...]) -> Tensor:
        return tokens[0] @ (x @ features[0][0].T)

    def flops(self, time: int) -> int:
        return 2 * time * self.dim * (time + self.dim)
