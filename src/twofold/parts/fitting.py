"""Refuses parts that do not fit where they shall stand: other widths, stretches beyond the text, idle experts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twofold.errors import UserError
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.part import Part


def usual_heads(dim: int) -> int:
    """About one head for each 32 features: as many as divide the width into heads of an even size, or 1."""
    return next((heads for heads in range(dim // 32, 1, -1) if dim % (2 * heads) == 0), 1)


def check_heads(where: str, dim: int, heads: int, even: bool = True) -> None:
    """Refuses heads of unequal width, or (`even`) of an odd one, with a width and a number of heads that can be
    (UserError)."""
    step = 1 + even
    if dim % (step * heads):
        fewer = (count for count in range(min(heads - 1, dim), 0, -1) if dim % (step * count) == 0)
        fits = [f"dim={-(-dim // (step * heads)) * step * heads}", *(f"heads={count}" for count in fewer)]
        which = " of even width" * even
        raise UserError(f"{where}: dim={dim} does not divide into {heads} heads{which}; use {' or '.join(fits[:2])}")


def check_width(kind: str, name: str, part: Part, dim: int) -> None:
    """Refuses a mixer or channel mixer of another width than the states around it (UserError)."""
    own = getattr(part, "dim", dim)
    if own != dim:
        raise UserError(
            f"{kind} {name} is {own} wide and the states around it {dim}; leave its dim out, or write "
            f"{{{kind.split()[0]}: {name}, dim: {own}}}, which gives the whole layer that width"
        )


def check_stretches(name: str, mixer: Mixer, given: Any, longest: int | None) -> None:
    """Refuses windows, blocks, strides and kernels that are longer than the longest input (UserError). Sizes that
    nobody gave may be: they then reach over all of it."""
    asked = _keys(given)
    for option, value in mixer.stretches().items():
        if option in asked:
            check_stretch(f"mixer {name}", option, value, longest, mixer.within)


def _keys(given: Any) -> set[str]:
    """Options that plain data name, at any depth."""
    if not isinstance(given, Mapping):
        return set()
    return set(given).union(*map(_keys, given.values()))


def check_stretch(
    where: str,
    option: str,
    value: int,
    longest: int | None,
    within: Callable[[str, int], Mapping[str, int]] = lambda option, longest: {option: longest},
) -> None:
    """Refuses one number of positions that is larger than the longest input has (UserError). `within` as `Mixer` has
    it."""
    if longest is not None and value > longest:
        fix = " with ".join(f"{name}={size}" for name, size in within(option, longest).items())
        raise UserError(
            f"{where}: its {option} of {value} is longer than the longest input, {longest}; use {fix} or less, or "
            f"inputs of {value} tokens"
        )


def odd(option: str, longest: int) -> dict[str, int]:
    """`within` of kernels that have a middle."""
    return {option: longest - 1 + longest % 2}


def stretch(where: str, option: str, given: int | None, longest: int, usual: int = 64) -> int:
    """A number of positions: what was given (UserError if that is more than the longest input), else what is usual, or
    all of a shorter input."""
    if given is None:
        return min(usual, longest)
    check_stretch(where, option, given, longest)
    return given


def check_experts(where: str, experts: int, tokens: int | None, parts: int, fix: str) -> None:
    """Refuses more experts than a batch has tokens for them, of which some would never learn anything (UserError).

    Args:
        where: what has them, for the message.
        experts: how many.
        tokens: of a batch; None: not known.
        parts: how many experts are given of each token, one by one.
        fix: what to write for as many as fit.
    """
    if tokens is not None and experts > tokens * parts:
        given = f"{tokens * parts} {'tokens' if parts == 1 else 'parts of tokens'}"
        raise UserError(
            f"{where}: {experts} experts are more than the {given} that they are given at a time; use "
            f"{fix}, or longer texts or larger batches"
        )


def with_k(k: int, experts: int) -> str:
    """What to write behind a smaller number of experts, where a token would meet more than are left: ` with k=…`."""
    return f" with k={experts}" if k > experts else ""


def largest(given: Any, option: str) -> int:
    """The largest whole number of that name in plain data, at any depth; 0: there is none."""
    if not isinstance(given, Mapping):
        return 0
    own = given.get(option)
    return max([own if isinstance(own, int) else 0, *(largest(value, option) for value in given.values())])


def experts_in(given: Any, heads: int, parts: int = 1) -> tuple[int, int]:
    """The most experts that a channel mixer's plain data ask for, and into how many parts tokens are cut for them.

    Args:
        given: the plain data.
        heads: into which tokens are cut where the data do not say.
        parts: of tokens so far.
    """
    if not isinstance(given, Mapping):
        return 0, parts
    if given.get("kind") == "multi-head":
        own = given.get("heads", heads)
        parts *= own if isinstance(own, int) else 1
    counts = [value for key in ("experts", "count") if isinstance(value := given.get(key), int)]
    found = [(max(counts, default=0), parts), *(experts_in(value, heads, parts) for value in given.values())]
    return max(found, key=lambda pair: pair[0] / pair[1])
