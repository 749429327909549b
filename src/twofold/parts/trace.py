"""Taps on a network: what its blocks and their parts take and give in a forward pass, and what is put in their place.

    with trace(net, [Tap(3), Tap(3, "mixer", "matrix")]) as seen:
        net(ids, mask)
    seen[Tap(3)]  # states after block 3, [B, T, D]

Nothing of the network changes; hooks are gone when the `with` ends. A second pass inside it replaces what was seen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.part import Part
from twofold.parts.stack import Block, NoNorm

Key = TypeVar("Key", bound=Hashable)
Role = Literal["block", "mixer", "channel", "mixer_norm", "channel_norm"]
Side = Literal["in", "out", "matrix"]
Edit = Callable[[Tensor], Tensor]
"""Takes what a tap sees, gives what takes its place."""


class _Enough(Exception):
    """Ends a forward pass once what was wanted has been seen."""


@dataclass(frozen=True)
class Tap:
    """A place in a network.

    Attributes:
        layer: which block, from 0.
        part: the block itself, or one of its parts.
        side: "in": the states that it takes, `[B, T, D]`; "out": those it gives; "matrix": a mixer's mixing matrix
            `[B, H, T, S]` (attention probabilities), computed beside the pass.
    """

    layer: int
    part: Role = "block"
    side: Side = "out"

    def __str__(self) -> str:
        return f"{self.layer}.{self.part}.{self.side}"


def blocks(net: nn.Module) -> list[tuple[str, Block]]:
    """Every block of a network with its name, in order.

    Raises:
        UserError: there is none, or one stands in several places.
    """
    found = [(n, part) for n, part in net.named_modules(remove_duplicate=False) if isinstance(part, Block)]
    if not found:
        raise UserError(f"{type(net).__name__} has no transformer blocks: give a network that is made of them")
    first: dict[int, str] = {}
    for name, block in found:
        if first.setdefault(id(block), name) != name:
            raise UserError(
                f"{first[id(block)]} and {name} are one shared block; give it a copy in each place, so that they can "
                "be told apart"
            )
    return found


def states(net: nn.Module) -> list[Tap]:
    """The residual stream: what the first block takes, then what each block gives; L + 1 taps."""
    return [Tap(0, side="in"), *(Tap(layer) for layer in range(len(blocks(net))))]


@contextmanager
def trace(
    net: nn.Module, taps: Iterable[Tap], edits: Mapping[Tap, Edit] | None = None, *, stop: bool = False
) -> Iterator[dict[Tap, Tensor]]:
    """Sees, and changes, what goes through a network inside the `with`.

    Args:
        net: any part that holds blocks; it is called as usual.
        taps: what to keep. Tensors are those of the pass, with their gradients, not copies.
        edits: what to replace, by place ("in" or "out"); a tap at the same place sees the new value.
        stop: end the pass as soon as all taps were seen; the `with` then ends too, at the call.

    Yields:
        What was seen, filled as the pass goes on.

    Raises:
        UserError: no such block or part, or a mixer without a mixing matrix.
    """
    layers = [block for _, block in blocks(net)]
    wanted = {tap: (_module(layers, tap), tap.side) for tap in taps}
    with ExitStack() as hooks:
        for tap, edit in (edits or {}).items():
            handle = _edited(_module(layers, tap), tap, edit)
            hooks.callback(handle.remove)
        with watch(wanted, stop=stop) as seen:
            yield seen


@contextmanager
def watch(wanted: Mapping[Key, tuple[nn.Module, str]], *, stop: bool = False) -> Iterator[dict[Key, Any]]:
    """Like `trace`, for any modules: each key's module, and which side of it ("in", "out", "matrix").

    "call" gives all that the module is called with, `(args, kwargs)`. With `stop` the pass, and with it the `with`,
    ends once every key was seen.
    """
    seen: dict[Key, Any] = {}

    def see(key: Key, value: Any) -> None:
        seen[key] = value
        if stop and len(seen) == len(wanted):
            raise _Enough

    def entered(key: Key, side: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(key, (args, kwargs) if side == "call" else args[0])

    def left(key: Key, side: str, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        see(key, out if side == "out" else _matrix(module, args))

    handles = []
    for key, (module, side) in wanted.items():
        if side in ("in", "call"):
            hook = functools.partial(entered, key, side)
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(functools.partial(left, key, side)))
    try:
        yield seen
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(net: nn.Module, parts: Mapping[Tap, Part]) -> Iterator[None]:
    """Other parts stand in a network's blocks inside the `with`; the old ones come back. A tap's side is not read.

    Args:
        net: any part that holds blocks.
        parts: by place, called as the part that stood there.
    """
    layers = [block for _, block in blocks(net)]
    before = []
    for tap in parts:
        module = _module(layers, tap)
        if tap.part == "block":
            raise UserError("a whole block cannot be replaced here; name its mixer, channel or norms")
        before.append((layers[tap.layer], tap.part, module))
    try:
        for tap, part in parts.items():
            setattr(layers[tap.layer], tap.part, part)
        yield
    finally:
        for block, name, module in before:
            setattr(block, name, module)


def _module(layers: list[Block], tap: Tap) -> nn.Module:
    if not 0 <= tap.layer < len(layers):
        raise UserError(f"no block {tap.layer} to tap; the network has blocks 0 to {len(layers) - 1}")
    block = layers[tap.layer]
    module = block if tap.part == "block" else getattr(block, tap.part, None)
    if module is None or isinstance(module, NoNorm):
        raise UserError(f"block {tap.layer} has no {tap.part.replace('_', ' ')} to tap")
    if tap.side == "matrix" and not (isinstance(module, Mixer) and module.has_matrix):
        raise UserError(f"{tap.part} of block {tap.layer}, a {type(module).__name__}, has no mixing matrix to tap")
    return module


def _edited(module: nn.Module, tap: Tap, edit: Edit) -> Any:
    if tap.side == "in":
        return module.register_forward_pre_hook(lambda _, args: (edit(args[0]), *args[1:]))
    if tap.side == "out":
        return module.register_forward_hook(lambda _, args, out: edit(out))
    raise UserError(f"{tap} cannot be edited; edit what a part takes (in) or gives (out)")


def _matrix(mixer: nn.Module, args: tuple[Any, ...]) -> Tensor:
    assert isinstance(mixer, Mixer)
    if len(args) > 2 and args[2] is not None:
        raise UserError("a mixing matrix is seen in passes over whole sequences; run this one without a cache")
    with torch.no_grad():
        return mixer.matrix(*args[:2])
