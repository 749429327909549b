"""Convolutional networks for several dense predictions whose every stage works at several widths.

Aich et al. 2023, "Efficient Controllable Multi-Task Architectures", https://arxiv.org/abs/2308.11744; slimmable
layers: Yu et al. 2018, https://arxiv.org/abs/1812.08928. Narrow stages are the first channels of wide ones, and
channels are normalised in groups of a constant size, so that a channel means the same at every width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.elastic import Elastic
from twofold.parts.part import Part

Sizes = Sequence[int]
Widths = tuple[int, ...]
"""A configuration: the width of every stage of the encoder, then of every decoder, each from 0 (narrowest)."""


def slim_sizes(dim: int, ratios: Sequence[float], group: int) -> list[int]:
    """Channels at each ratio of `dim`, in whole groups.

    Raises:
        UserError: they do not rise; says what they are.
    """
    sizes = [group * max(1, round(dim * ratio / group)) for ratio in ratios]
    if not sizes or any(a >= b for a, b in itertools.pairwise(sizes)):
        raise UserError(f"{dim} channels at widths {list(ratios)} are {sizes} in groups of {group}; they must rise")
    return sizes


class ElasticConv(Part):
    """A convolution whose first channels, in and out, are convolutions by themselves; edges are padded with zeros.

    Args:
        inputs: most channels that come in; fewer may.
        outputs: most channels that come out.
        kernel: side of the square that an output sees, odd.
        stride: pixels between outputs.
        bias: added to every channel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        at_least_one("ElasticConv", inputs=inputs, outputs=outputs, kernel=kernel, stride=stride)
        if kernel % 2 == 0:
            raise UserError(f"ElasticConv: kernel is {kernel}; it must be odd, to have a middle")
        self.inputs, self.outputs, self.kernel, self.stride = inputs, outputs, kernel, stride
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(
        self, x: Float[Tensor, "batch channels height width"], outputs: int | None = None
    ) -> Float[Tensor, "batch outputs height2 width2"]:
        """The first `outputs` channels (None: all) of what comes of the channels that are given."""
        n = self.outputs if outputs is None else outputs
        bias = None if self.bias is None else self.bias[:n]
        return F.conv2d(x, self.weight[:n, : x.shape[1]], bias, self.stride, self.kernel // 2)

    def flops(self, inputs: int, outputs: int, shape: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        """Multiplications and additions at those channels for an input of (height, width), and the output's shape."""
        after = (-(-shape[0] // self.stride), -(-shape[1] // self.stride))
        return 2 * self.kernel**2 * inputs * outputs * math.prod(after), after


class ElasticGroupNorm(Part):
    """Zero mean and unit variance in each group of channels, then a gain and an offset; the first groups may stand
    alone. Wu & He 2018, https://arxiv.org/abs/1803.08494. Batch statistics would be those of one width only.

    Args:
        dim: most channels.
        group: channels in a group, whatever the width.
    """

    def __init__(self, dim: int, group: int, eps: float = 1e-5) -> None:
        super().__init__()
        at_least_one("ElasticGroupNorm", dim=dim, group=group)
        if dim % group:
            raise UserError(f"ElasticGroupNorm: {dim} channels are no whole groups of {group}")
        self.dim, self.group, self.eps = dim, group, eps
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Float[Tensor, "batch channels *place"]) -> Float[Tensor, "batch channels *place"]:
        n = x.shape[1]
        return F.group_norm(x, n // self.group, self.weight[:n], self.bias[:n], self.eps)


class SlimStage(Part):
    """Two convolutions beside a shortcut (He et al. 2016, https://arxiv.org/abs/1512.03385), at several widths.

    Args:
        inputs: most channels that come in. Where as many come out, at the same resolution, the shortcut changes
            nothing; then as many must come in as go out, at every width.
        sizes: channels that come out, by width, rising.
        group: channels that are normalised together.
        stride: of the first convolution and of the shortcut.

    Attributes:
        width: which of the sizes now; the widest at first; not saved.
    """

    def __init__(self, inputs: int, sizes: Sizes, group: int, stride: int = 1) -> None:
        super().__init__()
        self.sizes, self.width = tuple(sizes), len(sizes) - 1
        dim = self.sizes[-1]
        self.first = ElasticConv(inputs, dim, stride=stride)
        self.second = ElasticConv(dim, dim)
        self.shortcut = ElasticConv(inputs, dim, 1, stride) if inputs != dim or stride > 1 else None
        self.norms = nn.ModuleList([ElasticGroupNorm(dim, group) for _ in range(2)])

    @property
    def channels(self) -> int:
        """Channels that come out now."""
        return self.sizes[self.width]

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch channels height2 width2"]:
        n = self.channels
        y = F.relu(self.norms[0](self.first(x, n)))
        y = self.norms[1](self.second(y, n))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x, n)))

    def flops(self, inputs: int, outputs: int, shape: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        """As `ElasticConv.flops`."""
        total, after = self.first.flops(inputs, outputs, shape)
        total += self.second.flops(outputs, outputs, after)[0]
        total += 0 if self.shortcut is None else self.shortcut.flops(inputs, outputs, shape)[0]
        return total, after


class SlimEncoder(Part):
    """A residual network: a convolution and stages, each but the first at half the resolution of the one before.

    Args:
        channels: of an image.
        sizes: of every stage its channels by width, rising; every stage has as many widths.
        group: channels that are normalised together.

    Raises:
        UserError: stages with different numbers of widths.
    """

    def __init__(self, channels: int, sizes: Sequence[Sizes], group: int) -> None:
        super().__init__()
        at_least_one("SlimEncoder", channels=channels, stages=len(sizes))
        if len({len(own) for own in sizes}) > 1:
            raise UserError(f"SlimEncoder: stages have {[len(own) for own in sizes]} widths; give each as many")
        self.channels, self.group = channels, group
        self.sizes = tuple(tuple(own) for own in sizes)
        most = [own[-1] for own in sizes]
        self.stem = ElasticConv(channels, most[0])
        self.norm = ElasticGroupNorm(most[0], group)
        self.stages = nn.ModuleList(
            [SlimStage(most[max(0, i - 1)], own, group, 1 if i == 0 else 2) for i, own in enumerate(sizes)]
        )

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> list[Float[Tensor, "batch _ _height _width"]]:
        """The features after each stage, from the finest to the coarsest."""
        x = F.relu(self.norm(self.stem(images, self.stages[0].channels)))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def flops(self, widths: Sequence[int], shape: tuple[int, int]) -> int:
        """Multiplications and additions for one image of (height, width)."""
        before = self.sizes[0][widths[0]]
        total, _ = self.stem.flops(self.channels, before, shape)
        for stage, own, width in zip(self.stages, self.sizes, widths, strict=True):
            spent, shape = cast(SlimStage, stage).flops(before, own[width], shape)
            before, total = own[width], total + spent
        return total


class SlimDecoder(Part):
    """From features of several resolutions to one prediction a pixel: coarse features are enlarged and added to finer
    ones (Lin et al. 2017, https://arxiv.org/abs/1612.03144), and what a convolution makes of the sum is added to it.

    Args:
        inputs: most channels of each of the encoder's stages, from the finest to the coarsest.
        sizes: own channels by width, rising.
        outputs: numbers for a pixel.
        group: channels that are normalised together.

    Attributes:
        width: which of the sizes now; the widest at first; not saved.
    """

    def __init__(self, inputs: Sizes, sizes: Sizes, outputs: int, group: int) -> None:
        super().__init__()
        at_least_one("SlimDecoder", outputs=outputs, inputs=len(inputs))
        self.inputs, self.sizes, self.outputs = tuple(inputs), tuple(sizes), outputs
        dim = self.sizes[-1]
        self.laterals = nn.ModuleList([ElasticConv(n, dim, 1) for n in inputs])
        self.convs = nn.ModuleList([ElasticConv(dim, dim) for _ in inputs])
        self.norms = nn.ModuleList([ElasticGroupNorm(dim, group) for _ in inputs])
        self.head = ElasticConv(dim, outputs, 1, bias=True)
        nn.init.normal_(self.head.weight, std=0.01)  # the first answers say next to nothing, of whatever kind they are
        self.width = len(self.sizes) - 1

    def forward(
        self, features: Sequence[Float[Tensor, "batch _ _height _width"]]
    ) -> Float[Tensor, "batch outputs height width"]:
        n, x = self.sizes[self.width], None
        for level in reversed(range(len(features))):
            y = self.laterals[level](features[level], n)
            y = y if x is None else y + F.interpolate(x, size=y.shape[-2:], mode="nearest")
            x = y + F.relu(self.norms[level](self.convs[level](y, n)))
        out: Tensor = self.head(x)
        return out

    def flops(self, inputs: Sizes, width: int, shapes: Sequence[tuple[int, int]]) -> int:
        """Multiplications and additions for one image whose features have those channels and (height, width)."""
        n = self.sizes[width]
        total = self.head.flops(n, self.outputs, shapes[0])[0]
        convs = zip(cast(list[ElasticConv], self.laterals), cast(list[ElasticConv], self.convs), strict=True)
        for (lateral, conv), channels, shape in zip(convs, inputs, shapes, strict=True):
            total += lateral.flops(channels, n, shape)[0] + conv.flops(n, n, shape)[0]
        return total


class Widening(Part):
    """Linear maps from features at any width to features at full width, one for each stage; training alone needs them.

    Args:
        dims: most channels of each stage.
    """

    def __init__(self, dims: Sizes) -> None:
        super().__init__()
        self.maps = nn.ModuleList([ElasticConv(n, n, 1, bias=True) for n in dims])

    def forward(
        self, features: Sequence[Float[Tensor, "batch _ _height _width"]]
    ) -> list[Float[Tensor, "batch _full _height _width"]]:
        return [own(given) for own, given in zip(self.maps, features, strict=True)]


class SlimNetwork(Elastic):
    """An encoder that several decoders share, each for a task of its own, at widths that are chosen at run time.

    Images `[B, height, width, channels]` between 0 and 1 → numbers `[B, outputs, height, width]` by task.

    Args:
        encoder: of the images.
        decoders: one for each task.
        tasks: their names.
        widening: of the encoder's features, while the network learns to have the same ones at every width.

    Attributes:
        widths: how many widths every stage and decoder has.
    """

    def __init__(
        self,
        encoder: SlimEncoder,
        decoders: Sequence[SlimDecoder],
        tasks: Sequence[str],
        widening: Widening | None = None,
    ) -> None:
        super().__init__()
        many = {len(own) for own in encoder.sizes} | {len(decoder.sizes) for decoder in decoders}
        if len(decoders) != len(tasks) or not tasks or len(many) > 1:
            raise UserError(
                f"SlimNetwork: {len(decoders)} decoders for tasks {list(tasks)}, with {sorted(many)} widths; give one "
                "decoder for each task, all with as many widths"
            )
        self.encoder, self.decoders, self.tasks = encoder, nn.ModuleList(decoders), tuple(tasks)
        self.widths, self.widening = many.pop(), widening

    @property
    def each_decoder(self) -> list[SlimDecoder]:
        """The decoders, in the order of the tasks."""
        return [cast(SlimDecoder, decoder) for decoder in self.decoders]

    # -- the present configuration

    @property
    def configuration(self) -> Widths:
        """The width of every stage of the encoder, then of every decoder."""
        return tuple(part.width for part in (*self.encoder.stages, *self.decoders))

    def configure(self, widths: Sequence[int]) -> SlimNetwork:
        """Chooses a width for every stage and decoder, each from 0 (narrowest).

        Raises:
            UserError: widths that there are not, or too many or too few of them.
        """
        own = (*self.encoder.stages, *self.decoders)
        if len(widths) != len(own) or any(not 0 <= w < self.widths for w in widths):
            raise UserError(
                f"widths {list(widths)} do not fit {len(self.encoder.stages)} stages and {len(self.decoders)} "
                f"decoders with {self.widths} widths each, counted from 0"
            )
        for part, width in zip(own, widths, strict=True):
            part.width = width
        return self

    @property
    def width(self) -> int:
        """The widest of the present widths; setting it sets all."""
        return max(self.configuration)

    @width.setter
    def width(self, width: int) -> None:
        self.configure([width] * len(self.configuration))

    # -- what it computes

    def features(
        self, images: Float[Tensor, "batch height width channels"]
    ) -> list[Float[Tensor, "batch _ _height _width"]]:
        """The encoder's features at the present widths, from the finest to the coarsest."""
        # Channels that lie beside each other in memory, as those of images do, break this kernel where they are few.
        out: list[Tensor] = self.encoder((2 * images.movedim(-1, 1) - 1).contiguous())
        return out

    def decode(
        self, features: Sequence[Float[Tensor, "batch _ _height _width"]]
    ) -> dict[str, Float[Tensor, "batch _ height width"]]:
        """Every task's numbers from the encoder's features."""
        return {task: decoder(features) for task, decoder in zip(self.tasks, self.decoders, strict=True)}

    def forward(
        self, images: Float[Tensor, "batch height width channels"]
    ) -> dict[str, Float[Tensor, "batch _ height width"]]:
        return self.decode(self.features(images))

    # -- what it costs, and what is cut out of it

    def flops(self, widths: Sequence[int], shape: tuple[int, int]) -> int:
        """Multiplications and additions of a configuration for one image of (height, width)."""
        stages = len(self.encoder.stages)
        inputs = [own[w] for own, w in zip(self.encoder.sizes, widths[:stages], strict=True)]
        shapes, decoders = self.shapes(shape), zip(self.each_decoder, widths[stages:], strict=True)
        return self.encoder.flops(widths[:stages], shape) + sum(d.flops(inputs, w, shapes) for d, w in decoders)

    def shapes(self, shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of the features after each stage, for an image of (height, width)."""
        return [(-(-shape[0] // 2**i), -(-shape[1] // 2**i)) for i in range(len(self.encoder.stages))]

    def slice(self, width: int) -> SlimNetwork:
        return self.sliced([width] * len(self.configuration))

    @torch.no_grad()
    def sliced(self, widths: Sequence[int] | None = None) -> SlimNetwork:
        """A network of one configuration alone (None: the present one), with weights of its own: the same outputs."""
        chosen = self.configuration if widths is None else tuple(widths)
        stages = len(self.encoder.stages)
        sizes = [(own[w],) for own, w in zip(self.encoder.sizes, chosen[:stages], strict=True)]
        inputs = [size for (size,) in sizes]
        with torch.device("meta"):
            encoder = SlimEncoder(self.encoder.channels, sizes, self.encoder.group)
            decoders = [
                SlimDecoder(inputs, (own.sizes[w],), own.outputs, self.encoder.group)
                for own, w in zip(self.each_decoder, chosen[stages:], strict=True)
            ]
            made = SlimNetwork(encoder, decoders, self.tasks)
        own = self.tensors()
        kept = {
            name: own[name][tuple(slice(0, n) for n in wanted.shape)].detach().clone()
            for name, wanted in made.tensors().items()
        }
        return made.assign(kept).train(self.training)


class SideBySide(Part):
    """Networks that share nothing, side by side: what each makes of the same images, together.

    Args:
        nets: each for tasks of its own.
    """

    def __init__(self, nets: Sequence[SlimNetwork]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(
        self, images: Float[Tensor, "batch height width channels"]
    ) -> dict[str, Float[Tensor, "batch _ height width"]]:
        return {task: made for net in self.nets for task, made in net(images).items()}


class ConstantMaps(Part):
    """The same numbers at every place, whatever the image.

    Args:
        outputs: numbers for a pixel, by task.
        shape: height and width of an image.
        tasks: names.
    """

    def __init__(self, outputs: Sizes, shape: Sizes, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.maps = nn.ParameterList([nn.Parameter(torch.zeros(n, *shape)) for n in outputs])

    def forward(
        self, images: Float[Tensor, "batch height width channels"]
    ) -> dict[str, Float[Tensor, "batch _ height width"]]:
        rows = len(images)
        return {task: own.repeat(rows, 1, 1, 1) for task, own in zip(self.tasks, self.maps, strict=True)}
