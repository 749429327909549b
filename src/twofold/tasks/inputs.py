"""Training inputs of text encoders: token ids, or states below the layers that are trained, computed once."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from twofold import computing, progress
from twofold.data import batches
from twofold.errors import UserError
from twofold.parts import Part, SequenceModel, Tower


class Inputs(Protocol):
    """Some texts, on their way through an encoder."""

    @property
    def tokens(self) -> int: ...
    def rows(self, index: Tensor) -> Self: ...
    def to(self, device: torch.device) -> Self: ...
    def embed(self, net: Tower) -> Float[Tensor, "batch *few dim"]: ...


@dataclass(frozen=True)
class TokenInputs:
    """Texts as ids; the whole network runs."""

    ids: Int[Tensor, "batch time"]
    real: Bool[Tensor, "batch time"]

    @property
    def tokens(self) -> int:
        return int(self.real.sum())

    def rows(self, index: Tensor) -> TokenInputs:
        """Those texts alone."""
        return TokenInputs(self.ids[index], self.real[index])

    def to(self, device: torch.device) -> TokenInputs:
        """The same on another device."""
        return TokenInputs(self.ids.to(device), self.real.to(device))

    def embed(self, net: Tower) -> Float[Tensor, "batch *few dim"]:
        vectors: Tensor = net(self.ids, self.real)
        return vectors


@dataclass(frozen=True)
class StateInputs:
    """Texts as states after the frozen layers; only the layers above them run."""

    states: Float[Tensor, "batch time width"]
    real: Bool[Tensor, "batch time"]
    layers: int

    @property
    def tokens(self) -> int:
        return int(self.real.sum())

    def rows(self, index: Tensor) -> StateInputs:
        """Those texts alone."""
        return StateInputs(self.states[index], self.real[index], self.layers)

    def to(self, device: torch.device) -> StateInputs:
        """The same on another device."""
        return StateInputs(self.states.to(device), self.real.to(device), self.layers)

    def embed(self, net: Tower) -> Float[Tensor, "batch *few dim"]:
        return net.upper(self.states, self.real, self.layers)


@dataclass(frozen=True)
class Embedded:
    """Texts that have their vectors already: a loss is given them in place of what the network would make."""

    vectors: Float[Tensor, "batch *few dim"]

    @property
    def tokens(self) -> int:
        return len(self.vectors)

    def rows(self, index: Tensor) -> Embedded:
        """Those texts alone."""
        return Embedded(self.vectors[index])

    def to(self, device: torch.device) -> Embedded:
        """The same on another device."""
        return Embedded(self.vectors.to(device))

    def embed(self, net: Part) -> Float[Tensor, "batch *few dim"]:
        return self.vectors


class TokenStore:
    """Ids of many texts, handed out in padded batches."""

    def __init__(self, sequences: Sequence[Sequence[int]], pad: int) -> None:
        self.sequences, self.pad = [list(s) for s in sequences], pad
        self.lengths = np.array([len(s) for s in sequences])

    def take(self, indices: Sequence[int] | np.ndarray) -> TokenInputs:
        """The inputs of those texts, in that order."""
        return TokenInputs(*batches.pad([self.sequences[i] for i in indices], self.pad))


class StateStore:
    """States of many texts after the first `layers` blocks, kept in bfloat16 unless told otherwise.

    The frozen part of a network gives the same states at every step, so they are computed once:
    a step then costs only the layers that are trained.
    """

    def __init__(
        self,
        net: Tower,
        sequences: Sequence[Sequence[int]],
        pad: int,
        layers: int,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.layers = layers
        lengths = np.array([len(s) for s in sequences])
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])
        self.lengths = lengths
        self.states: Tensor | None = None
        with computing.inference(), progress.stage("frozen layers, once", total=len(sequences)) as stage:
            for group in batches.buckets(list(lengths)):
                ids, real = batches.pad([list(sequences[i]) for i in group], pad)
                states = net.lower(ids, real, layers)[real].to(dtype)
                if self.states is None:
                    self.states = torch.empty(int(self.offsets[-1]), states.shape[-1], dtype=dtype)
                rows = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in group])
                self.states[torch.from_numpy(rows)] = states
                stage.advance(len(group))

    @property
    def nbytes(self) -> int:
        """Bytes of the states."""
        return 0 if self.states is None else self.states.nbytes

    def take(self, indices: Sequence[int] | np.ndarray) -> StateInputs:
        """The inputs of those texts, in that order."""
        assert self.states is not None
        chosen = np.asarray(indices)
        lengths = torch.from_numpy(self.lengths[chosen])
        steps = torch.arange(int(lengths.max()))
        real = steps < lengths[:, None]
        rows = torch.from_numpy(self.offsets[chosen])[:, None] + steps * real
        return StateInputs(self.states[rows].float() * real[..., None], real, self.layers)


class Kept:
    """States of frozen layers that were computed before: systems that begin alike, or go on, find them here.

    Args:
        most: bytes that are kept; the longest unused go first.
        dtype: what states are kept in.

    Attributes:
        saved: seconds that were not spent again.
        spent: seconds that were spent on what is kept.
    """

    def __init__(self, most: int = 1 << 30, dtype: torch.dtype = torch.bfloat16) -> None:
        self.most, self.dtype, self.saved, self.spent = most, dtype, 0.0, 0.0
        self._stores: OrderedDict[str, tuple[StateStore, float]] = OrderedDict()
        self._digests = _Digests()

    def store(self, tower: Tower, sequences: Sequence[Sequence[int]], pad: int, layers: int) -> StateStore:
        """The states of those texts under those weights."""
        key = _fingerprint(tower, sequences, pad, layers, self._digests)
        if key in self._stores:
            self._stores.move_to_end(key)
            found, seconds = self._stores[key]
            self.saved += seconds
            return found
        started = time.perf_counter()
        made = StateStore(tower, sequences, pad, layers, self.dtype)
        self._stores[key] = made, time.perf_counter() - started
        self.spent += self._stores[key][1]
        while self.nbytes > self.most:
            self._stores.popitem(last=False)
        return made

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(each.nbytes for each, _ in self._stores.values())


_kept: ContextVar[Kept | None] = ContextVar("twofold_kept_states", default=None)


@contextmanager
def keeping(kept: Kept | None = None) -> Iterator[Kept]:
    """Inside, states of frozen layers are computed once for all who ask for the same; in `kept`, or in a new one."""
    kept = Kept() if kept is None else kept
    before = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(before)


def kept_here() -> Kept | None:
    """Where states are kept at this point; None: nowhere."""
    return _kept.get()


class _Digests:
    """Digests of tensors, each read once until it changes: both towers of a model ask for the same weights."""

    def __init__(self) -> None:
        self._known = WeakTensorKeyDictionary()

    def of(self, tensor: Tensor) -> bytes:
        """Of a tensor's kind and content."""
        state = tensor._version, tensor.data_ptr()
        known = self._known.get(tensor)
        if known is None or known[0] != state:
            digest = hashlib.sha256(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
            self._known[tensor] = known = state, digest.digest()
        found: bytes = known[1]
        return found


def _fingerprint(tower: Tower, sequences: Sequence[Sequence[int]], pad: int, layers: int, digests: _Digests) -> str:
    model = tower.model
    digest = hashlib.sha256(f"{type(tower).lower.__qualname__} {pad} {layers} {computing.dtype()}".encode())
    for part in (model.embedding, *model.stack.layers[:layers]):
        digest.update(json.dumps(part.spec(), sort_keys=True, default=str).encode())
        for name, tensor in part.state_dict(keep_vars=True).items():
            digest.update(name.encode())
            digest.update(digests.of(tensor))
    digest.update(np.array([len(s) for s in sequences], np.int64).data)
    digest.update(np.array([i for s in sequences for i in s], np.int64).data)
    return digest.hexdigest()


def freeze(model: SequenceModel, top: int, name: str) -> None:
    """Leaves only the `top` last blocks of a backbone to be trained; 0: all of it.

    Args:
        name: of the backbone, for the error.

    Raises:
        UserError: it has fewer blocks.
    """
    depth = len(model.stack.layers)
    if top > depth:
        raise UserError(f"tune_layers={top}, but {name} has {depth} layers; use at most {depth}")
    if top:
        model.embedding.requires_grad_(False)
        for block in model.stack.layers[: depth - top]:
            block.requires_grad_(False)


def store(tower: Tower, sequences: Sequence[Sequence[int]], pad: int) -> TokenStore | StateStore:
    """Texts made ready for training: states where lower layers are frozen, ids elsewhere."""
    frozen = 0 if tower.needs_ids else _frozen_blocks(tower.model)
    if not frozen:
        return TokenStore(sequences, pad)
    kept = _kept.get()
    return (StateStore if kept is None else kept.store)(tower, sequences, pad, frozen)


def _frozen_blocks(model: SequenceModel) -> int:
    blocks = model.stack.layers
    trained = [any(p.requires_grad for p in block.parameters()) for block in blocks]
    embedding = any(p.requires_grad for p in model.embedding.parameters())
    return 0 if embedding else (trained.index(True) if any(trained) else len(blocks))
