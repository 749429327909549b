"""Spaces of uneven encoders: which operation, width and feed-forward part stands in which layer; and their graphs.

Tuli et al. 2022, "FlexiBERT: Are Current Transformer Architectures too Homogeneous and Rigid?", section 3,
https://arxiv.org/abs/2205.11656
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from twofold.errors import UserError, unknown
from twofold.parts import arguments
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.named import Named, chosen
from twofold.parts.patterns import Pattern

OPERATIONS: dict[str, tuple[str, Named]] = {
    "sdp": ("attention", "attention"),
    "wma": ("attention", "multiplicative-attention"),
    "dft": ("transform", "fourier-transform"),
    "dct": ("transform", "cosine-transform"),
    "conv5": ("convolution", {"kind": "separable-conv", "kernel": 5}),
    "conv9": ("convolution", {"kind": "separable-conv", "kernel": 9}),
}
"""The paper's operations: family and mixer. Every other mixer's name is an operation too, a family by itself."""

# What an edit costs. Relabelling a node never costs more than leaving it out and putting another in.
_FAMILY, _OPERATION, _SIZE = 0.25, 0.25, 0.25
_WEIGHTS = {"operation": 1.0, "feed-forward": 0.5}
EDGE = 0.6
"""Cost of an edge that comes or goes."""


@lru_cache(maxsize=256)
def _operation(name: str) -> tuple[str, Named, bool]:
    """Family and mixer of an operation, and whether it has heads (UserError: there is no such one)."""
    family, mixer = OPERATIONS.get(name, (name, name))
    try:
        cls, _ = chosen(Mixer, mixer)
    except UserError as error:
        raise UserError(f"operation {name!r} is none of {', '.join(OPERATIONS)}, and no mixer: {error}") from error
    return family, mixer, "heads" in arguments.parameters(cls)


@dataclass(frozen=True)
class Layer:
    """One layer of a design.

    Args:
        operation: a name of `OPERATIONS`, or of a mixer.
        dim: width of the states.
        hidden: width inside the feed-forward parts.
        stacks: feed-forward parts one after another, each with its own norm and residual.
        heads: of operations that have some; None is kept for the others, whatever is given.
    """

    operation: str
    dim: int
    hidden: int
    stacks: int = 1
    heads: int | None = None

    def __post_init__(self) -> None:
        has_heads = _operation(self.operation)[2]
        if not has_heads or self.heads is None:
            object.__setattr__(self, "heads", max(1, self.dim // 32) if has_heads else None)
        for name in ("dim", "hidden", "stacks", "heads"):
            value = getattr(self, name)
            if value is not None and (not arguments.fits(value, int) or value < 1):
                raise UserError(f"a layer's {name} is {value!r}; it must be a whole number of at least 1")

    def entries(self) -> list[dict[str, Any]]:
        """The layer as a `Pattern` has it."""
        mixer = _operation(self.operation)[1]
        if self.heads is not None:
            mixer = {"kind": mixer, "heads": self.heads} if isinstance(mixer, str) else {**mixer, "heads": self.heads}
        channel = {"kind": "ffn", "activation": "gelu", "hidden": self.hidden}
        first: dict[str, Any] = {"mixer": mixer, "channel": channel, "dim": self.dim}
        more = [{"mixer": "none", "channel": channel, "dim": self.dim, "times": self.stacks - 1}]
        return [first, *(more if self.stacks > 1 else [])]


@dataclass(frozen=True)
class Node:
    """A node of a computation graph.

    Args:
        kind: "operation" or "feed-forward".
        label: what it is.
        point: where it stands among others of its kind; relabelling costs the sum of absolute differences.
        weight: what it costs to leave it out or put it in.
    """

    kind: str
    label: tuple[Any, ...]
    point: tuple[float, ...]
    weight: float


@dataclass(frozen=True)
class Graph:
    """The computation graph of a design: a path from input to output.

    Norms and residuals stand around every operation and feed-forward part alike, and an operation's heads are alike,
    so they are part of its node.

    Args:
        nodes: those between input and output.
    """

    nodes: tuple[Node, ...]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Pairs of places; 0 is the input, the last one the output."""
        return list(itertools.pairwise(range(len(self.nodes) + 2)))


@dataclass(frozen=True)
class Design:
    """An encoder whose layers may all differ."""

    layers: tuple[Layer, ...]

    @classmethod
    def read(cls, given: Any) -> Design:
        """From a list of mappings with a layer's fields.

        Raises:
            UserError: anything else, or an unknown field.
        """
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            raise UserError("a design is a list of layers such as [{operation: sdp, dim: 64, hidden: 256, heads: 2}]")
        made = []
        for entry in given:
            if not isinstance(entry, Mapping):
                raise UserError(f"a layer of a design is a mapping such as {{operation: sdp, dim: 64}}, not {entry!r}")
            for key in entry:
                if key not in Layer.__dataclass_fields__:
                    raise unknown("key of a layer", str(key), Layer.__dataclass_fields__)
            missing = [name for name in ("operation", "dim", "hidden") if name not in entry]
            if missing:
                raise UserError(f"a layer of the design lacks {missing[0]}; write {{{missing[0]}: …}}")
            made.append(Layer(**entry))
        return cls(tuple(made))

    def rows(self) -> list[dict[str, Any]]:
        """What `read` takes; JSON-able."""
        return [asdict(layer) for layer in self.layers]

    @cached_property
    def id(self) -> str:
        """The same for equal designs, however they were written."""
        return hashlib.sha256(json.dumps(self.rows(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def even(self) -> bool:
        """Whether all layers are equal."""
        return len(set(self.layers)) == 1

    def entries(self) -> list[dict[str, Any]]:
        """The layers as a `Pattern` has them, which every text system takes as its backbone."""
        return [entry for layer in self.layers for entry in layer.entries()]

    def pattern(self) -> Pattern:
        """The layers as data. Embedding and head have the first layer's width."""
        return Pattern.read(self.entries(), dim=self.layers[0].dim)

    def __str__(self) -> str:
        return ", ".join(
            f"{one.operation}"
            + (f" ({one.heads} heads)" if one.heads else "")
            + f" {one.dim}/{one.hidden}"
            + (f" x {one.stacks}" if one.stacks > 1 else "")
            for one in self.layers
        )


@dataclass(frozen=True)
class SearchSpace:
    """Designs whose layers are chosen each for itself.

    Args:
        layers: numbers of layers.
        operations: names of `OPERATIONS` or of mixers.
        heads, dims, hidden, stacks: what a layer may have.

    Raises:
        UserError: nothing to choose from, an unknown operation, a width that does not divide into heads.
    """

    layers: tuple[int, ...] = (2, 4)
    operations: tuple[str, ...] = tuple(OPERATIONS)
    heads: tuple[int, ...] = (2, 4)
    dims: tuple[int, ...] = (128, 256)
    hidden: tuple[int, ...] = (512, 1024)
    stacks: tuple[int, ...] = (1, 3)

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            values = getattr(self, name)
            if not values:
                raise UserError(f"the space has no {name} to choose from; give at least one")
            if name != "operations" and min(values) < 1:
                raise UserError(f"the space's {name} are {list(values)}; each must be at least 1")
        if any(_operation(name)[2] for name in self.operations):
            for dim, heads in itertools.product(self.dims, self.heads):
                if dim % (2 * heads):
                    raise UserError(
                        f"a width of {dim} does not divide into {heads} heads of even width; use multiples of "
                        f"{2 * math.lcm(*self.heads)} as dims"
                    )

    @cached_property
    def choices(self) -> tuple[Layer, ...]:
        """Every layer that there is."""
        axes = (self.operations, self.dims, self.hidden, self.stacks, self.heads)
        return tuple(dict.fromkeys(Layer(*values) for values in itertools.product(*axes)))

    @property
    def size(self) -> int:
        """Number of designs."""
        return sum(len(self.choices) ** depth for depth in set(self.layers))

    def sample(self, count: int, rng: np.random.Generator, run: int = 1) -> list[Design]:
        """Different designs, drawn alike over numbers of layers and layers; all there are where these are fewer.

        Args:
            count: how many.
            rng: draws them.
            run: layers stand in runs of so many equal ones (coarse); 1: each for itself (fine).
        """
        depths = sorted(set(self.layers))
        many = sum(len(self.choices) ** math.ceil(depth / run) for depth in depths)
        if many <= count:
            return [
                self._runs(depth, picked, run)
                for depth in depths
                for picked in itertools.product(self.choices, repeat=math.ceil(depth / run))
            ]
        found: dict[Design, None] = {}
        while len(found) < count:
            depth = int(rng.choice(depths))
            picked = [self.choices[int(i)] for i in rng.integers(len(self.choices), size=math.ceil(depth / run))]
            found[self._runs(depth, picked, run)] = None
        return list(found)

    @staticmethod
    def _runs(depth: int, picked: Sequence[Layer], run: int) -> Design:
        return Design(tuple(picked[place // run] for place in range(depth)))

    def near(self, design: Design) -> list[Design]:
        """Every design that differs from this one by one property of one layer."""
        axes: dict[str, Sequence[Any]] = {
            "operation": self.operations,
            "dim": self.dims,
            "hidden": self.hidden,
            "stacks": self.stacks,
            "heads": self.heads,
        }
        found: dict[Design, None] = {}
        for place, layer in enumerate(design.layers):
            for name, values in axes.items():
                for value in values:
                    options: dict[str, Any] = {name: value}
                    changed = replace(layer, **options)
                    if changed in self.choices:
                        found[Design((*design.layers[:place], changed, *design.layers[place + 1 :]))] = None
        found.pop(design, None)
        return list(found)

    def graph(self, design: Design) -> Graph:
        """The computation graph of a design; relabelling costs what the space's axes say."""
        nodes: list[Node] = []
        families = list(dict.fromkeys(_operation(name)[0] for name in self.operations))
        for layer in design.layers:
            if layer.operation not in self.operations:
                raise unknown("operation of this space", layer.operation, self.operations)
            family = _operation(layer.operation)[0]
            point = (
                *(_FAMILY * (family == each) for each in families),
                *(_OPERATION * (layer.operation == each) for each in self.operations),
                _SIZE * _place(layer.dim, self.dims),
                _SIZE * (0.0 if layer.heads is None else _place(layer.heads, self.heads)),
            )
            label = (layer.operation, layer.dim, layer.heads)
            nodes.append(Node("operation", label, point, _WEIGHTS["operation"]))
            part = Node(
                "feed-forward", (layer.hidden,), (_SIZE * _place(layer.hidden, self.hidden),), _WEIGHTS["feed-forward"]
            )
            nodes += [part] * layer.stacks
        return Graph(tuple(nodes))

    @staticmethod
    def design(graph: Graph) -> Design:
        """The design that has this graph."""
        layers: list[Layer] = []
        for node in graph.nodes:
            if node.kind == "operation":
                operation, dim, heads = node.label
                layers.append(Layer(operation, dim, 1, 1, heads))
                fresh = True
            else:
                last = layers[-1]
                layers[-1] = replace(last, hidden=node.label[0], stacks=1 if fresh else last.stacks + 1)
                fresh = False
        return Design(tuple(layers))


def _place(value: int, values: Sequence[int]) -> float:
    """Where a size stands between the smallest (0) and the largest (1), by its logarithm."""
    low, high = min(values), max(values)
    return 0.0 if low == high else math.log(value / low) / math.log(high / low)
