"""Packing a trained network's weights into few bits: what every transform that does so shares.

A system says how one matrix (or, with data, all of them) becomes a compact one; which layers there are, the embedding,
refusals and the report are here.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import nn

from twofold import progress
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import CompactMatrix, Dense, PackedLinear, PackedTable, Part, Table, bits_per_weight
from twofold.parts.packed import put
from twofold.surgery import IntGrid, blocks, quantize, refuse_damaged, refuse_packed, relative_error
from twofold.tasks.model import Model
from twofold.tasks.system import TransformSystem

Layers = Mapping[str, Dense]
"""The linear layers of a network's blocks, by name."""


@dataclass(frozen=True)
class Compact:
    """One matrix, packed.

    Attributes:
        matrix: what takes its place.
        figures: what the method says of it, by name.
    """

    matrix: CompactMatrix
    figures: Mapping[str, Any] = field(default_factory=dict)


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class QuantizeSystem(TransformSystem, ABC):
    """A transform that packs the linear layers of all blocks; norms, biases and positions stay as they are."""

    embedding: Literal["int8", "dense"] = Field(
        "int8", description="token vectors: 8 bits with a scale for each, or as they are"
    )

    @abstractmethod
    def compact(self, net: Part, layers: Layers, model: Model, rows: Rows | None, seed: int) -> dict[str, Compact]:
        """A compact matrix for each of `layers`; `net` is a copy that may be changed on the way.

        Raises:
            UserError: a layer that cannot be packed.
        """

    def apply(self, model: Model, rows: Rows | None = None, *, seed: int = 0) -> Model:
        """A copy of `model` with packed weights; what was indexed with the old network is left behind.

        Args:
            model: any model whose network has transformer blocks of plain weights.
            rows: data to calibrate on, for methods that do.
            seed: of the sample that is taken from them.

        Raises:
            UserError: a model that is packed already, weights that are not finite, no linear layers; names the layer.
        """
        refuse_packed(model.net, self.id)
        refuse_damaged(model.net)
        net = copy.deepcopy(model.net).eval()
        layers = linear_layers(net)
        before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
        found = self.compact(net, layers, model, rows, seed)
        put(net, {name: PackedLinear.of(layer, found[name].matrix) for name, layer in layers.items()})
        table = [
            {
                "layer": name,
                "bits": round(compact.matrix.bits_per_weight, 4),
                "error": round(relative_error(before[name], compact.matrix.dense()), 6),
                **compact.figures,
            }
            for name, compact in found.items()
        ]
        if self.embedding == "int8":
            put(net, packed_tables(net))
        sizes = {name: before[name].numel() for name in found}
        report = {
            "bits_per_weight": round(bits_per_weight(net), 4),
            "error": round(sum(row["error"] * sizes[row["layer"]] for row in table) / sum(sizes.values()), 6),
            "layers": table,
        }
        small = type(model)(net, model.tokenizer, model.spec, model.history, model.notes)
        return small.remember(self.id, self.options(), report)


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DataFree(QuantizeSystem, ABC):
    """Packs every matrix by itself, without looking at any data."""

    calibrates = False

    @abstractmethod
    def pack(self, weight: torch.Tensor) -> Compact:
        """One matrix `[out, in]`, packed.

        Raises:
            UserError: it cannot be; the layer's name is added.
        """

    def compact(self, net: Part, layers: Layers, model: Model, rows: Rows | None, seed: int) -> dict[str, Compact]:
        found = {}
        with progress.stage("pack", total=len(layers)) as stage:
            for name, layer in layers.items():
                try:
                    found[name] = self.pack(layer.weight.detach())
                except UserError as error:
                    raise UserError(f"{name}: {error}") from None
                stage.advance()
        return found


def linear_layers(net: nn.Module) -> dict[str, Dense]:
    """The plain linear layers of all blocks by name, one that stands in several places once.

    Raises:
        UserError: no blocks, or none with linear layers.
    """
    found: dict[str, Dense] = {}
    for block_name, block in blocks(net):
        found |= {f"{block_name}.{name}": part for name, part in block.named_modules() if isinstance(part, Dense)}
    if not found:
        raise UserError(f"{type(net).__name__} has blocks without linear layers: there is nothing to pack")
    return found


def packed_tables(net: nn.Module) -> dict[str, Part]:
    """The token vectors of a network in 8 bits with a scale for each, by the names of the plain ones."""
    made: dict[str, Part] = {}
    for name, part in net.named_modules():
        # Token types and the like are a few rows; their bytes do not count.
        if isinstance(part, Table) and name.rpartition(".")[2] == "tokens":
            made[name] = PackedTable(quantize(part.weight.detach(), IntGrid(8)).packed())
    return made


__all__ = ["Compact", "DataFree", "Layers", "QuantizeSystem", "linear_layers", "packed_tables"]
