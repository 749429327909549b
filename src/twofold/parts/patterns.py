"""Networks from plain data: which mixer, position, channel mixer and wiring stands in which layer, all by name.

    Pattern.read({"dim": 96, "layers": [{"mixer": "attention", "position": "rope", "channel": "swiglu", "times": 2}]})

What cannot be combined is refused here, before anything is trained, with what to write instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from twofold.errors import UserError, unknown
from twofold.parts import arguments
from twofold.parts.channels.ffn import ChannelMixer
from twofold.parts.embeddings import TokenEmbedding
from twofold.parts.fitting import (
    check_experts,
    check_stretch,
    check_stretches,
    check_width,
    experts_in,
    largest,
    usual_heads,
    with_k,
)
from twofold.parts.heads import LMHead, TiedHead
from twofold.parts.loops import Loop
from twofold.parts.mixers.causal_conv import CausalConv, Convolved
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.model import SequenceModel
from twofold.parts.named import Named, chosen, kebab, make, misplaced
from twofold.parts.norms import NORMS
from twofold.parts.part import Part
from twofold.parts.positions import NoPosition, Position, Sinusoid, without_queries
from twofold.parts.projection import Resize
from twofold.parts.shared_cache import SharedCache
from twofold.parts.stack import Block, PostNorm, Single, Stack, wiring

ENTRY = ("mixer", "position", "channel", "wiring", "times", "conv", "dim")
_MOST = 10_000  # layers of one entry
GROUPS = {"loop": ("loop", "iterations", "inject"), "shared": ("shared",)}
_LAYER = {*ENTRY, *itertools.chain(*GROUPS.values())}


@dataclass(frozen=True)
class Pattern:
    """What a stack of blocks is made of, as plain data.

    Args:
        layers: entries with `mixer` (default attention), `position` (default: rope for mixers with queries and keys,
            where the pattern has no position of its own), `channel` (default swiglu; `none` for none), `wiring`
            (pre, post, parallel, sandwich, single, sas, sas-p, one-skip, recomputed; default pre), `conv` (width of a
            `CausalConv` that the mixer reads through), `dim` (width of the states inside, between projections) and
            `times`; or `loop` (a list of such entries), `iterations`
            and `inject` (whether a loop's input is added again before each iteration); or `shared` (a list of entries
            whose mixer is shared-attention by default: they read one set of keys and values).
        dim: width of the states.
        heads: of mixers that have some (default: one for each 32 features).
        norm: a name of `NORMS`.
        position: of the embedding, such as learned or sinusoid; layers then have none unless they say so.
        conv: as in the entries, for all that do not say, but for `shared` ones: their keys and values are made once,
            before any mixer could read through a convolution.
        hidden: width inside channel mixers (default: 4 dim; gated: 8/3 dim, rounded up to a multiple of 8).
        tied: whether a language head uses the embedding's matrix.
    """

    layers: tuple[Mapping[str, Any], ...]
    dim: int = 128
    heads: int | None = None
    norm: str = "rms"
    position: Named = "none"
    conv: int = 0
    hidden: int | None = None
    tied: bool = True

    @classmethod
    def read(cls, given: Any, **defaults: Any) -> Pattern:
        """From what a person wrote: a list of entries, or a mapping of this class's fields.

        Raises:
            UserError: unknown keys, or a value of another kind.
        """
        data: Mapping[str, Any] = given if isinstance(given, Mapping) else {"layers": given}
        known = list(cls.__dataclass_fields__)
        if isinstance(given, Mapping) and "layers" not in given and set(given) <= set(_LAYER):
            raise UserError("a pattern is a list of layers, and this is one layer; put it into brackets: [{…}]")
        for key in data:
            if key not in known:
                raise unknown("key of a pattern", str(key), known)
        layers: Any = data.get("layers")
        _checked(layers)
        values = {**defaults, **data, "layers": tuple(dict(entry) for entry in layers)}
        for name, kind in (("dim", int), ("heads", int), ("conv", int), ("hidden", int), ("norm", str), ("tied", bool)):
            if values.get(name) is not None and not arguments.fits(values[name], kind):
                raise UserError(f"a pattern's {name} is {values[name]!r}; it must be {kind.__name__}")
        made = cls(**values)
        if made.norm not in NORMS:
            raise unknown("norm", made.norm, NORMS)
        for name, least in (("dim", 1), ("heads", 1), ("hidden", 1), ("conv", 0)):
            if (size := getattr(made, name)) is not None and size < least:
                raise UserError(f"a pattern's {name} is {size}; it must be at least {least}")
        if made.conv and all("shared" in entry for entry in made.layers):
            raise UserError("layers that share keys and values read no convolution of their own; leave conv out")
        return made

    def resized(self, dim: int) -> Pattern:
        """The same, of another width."""
        return replace(self, dim=dim)

    def stack(self, *, causal: bool | None = None, max_len: int | None = None, tokens: int | None = None) -> Stack:
        """The blocks.

        Args:
            causal: True: every mixer must be able not to look ahead; None: as the mask will say.
            max_len: the longest input.
            tokens: that are worked on at a time, such as in a batch (default: those of the longest input).

        Raises:
            UserError: parts that do not go together, stretches longer than the longest input, or more experts than
                tokens, with what to write instead.
        """
        maker = _Maker(self, causal, max_len, max_len if tokens is None else tokens)
        made = maker.layers(self.layers)
        return Stack(made, None if _post_norm(made[-1]) else NORMS[self.norm](self.dim))

    def network(
        self,
        vocab: int,
        *,
        causal: bool | None = None,
        max_len: int | None = None,
        tokens: int | None = None,
        head: bool = True,
    ) -> SequenceModel:
        """The whole network: embedding, blocks, and (`head`) logits over the vocabulary. As `stack` otherwise."""
        position = cast(Position, make(Position, self.position, {"dim": self.dim, "max_len": max_len}))
        # Sines and cosines have size one, so token vectors need it too.
        scale = self.dim**0.5 if isinstance(position, Sinusoid) else 1.0
        none = isinstance(position, NoPosition)
        stack = self.stack(causal=causal, max_len=max_len, tokens=tokens)
        embedding = TokenEmbedding(vocab, self.dim, None if none else position, scale=scale)
        last = (TiedHead(vocab) if self.tied else LMHead(self.dim, vocab)) if head else None
        return SequenceModel(embedding, stack, last)


class _Maker:
    """Makes one network's blocks; positions that all layers share are made once."""

    def __init__(self, pattern: Pattern, causal: bool | None, max_len: int | None, tokens: int | None) -> None:
        self.pattern, self.causal, self.max_len, self.tokens = pattern, causal, max_len, tokens
        self.heads = pattern.heads or usual_heads(pattern.dim)
        self.shared: dict[str, Position] = {}
        self.widths: dict[int, _Maker] = {}
        self.fill: dict[str, Any] = {
            "dim": pattern.dim,
            "heads": self.heads,
            "max_len": max_len,
            "two_way": causal is not True,
        }

    def norm(self) -> Part:
        return NORMS[self.pattern.norm](self.pattern.dim)

    def layers(self, entries: Sequence[Mapping[str, Any]]) -> list[Part]:
        """A block for every entry, as often as it says, or a loop of blocks."""
        made: list[Part] = []
        width = self.pattern.dim
        for entry in entries:
            inner = entry.get("dim", self.pattern.dim)
            if inner != width:
                made.append(Resize(width, inner))
                width = inner
            if "loop" in entry:
                norm = self.norm() if entry.get("inject", False) else None
                made.append(Loop(self.layers(entry["loop"]), entry.get("iterations", 2), norm))
            elif "shared" in entry:
                readers = [{"mixer": "shared-attention", "conv": 0, **inner} for inner in entry["shared"]]
                made.append(SharedCache(self.layers(readers), self.norm()))
            else:
                maker = self.of_width(inner)
                made += [maker.block(entry) for _ in range(_times(entry))]
        if width != self.pattern.dim:
            made.append(Resize(width, self.pattern.dim))
        return made

    def of_width(self, dim: int) -> _Maker:
        """The maker of blocks of that width."""
        if dim == self.pattern.dim:
            return self
        if dim not in self.widths:
            self.widths[dim] = _Maker(self.pattern.resized(dim), self.causal, self.max_len, self.tokens)
        return self.widths[dim]

    def block(self, entry: Mapping[str, Any]) -> Block:
        mixer = self.mixer(entry)
        how = wiring(entry.get("wiring", "pre"), self.norm)
        single = isinstance(how, Single)
        channel = entry.get("channel", "none" if single else "swiglu")
        if single and channel not in (None, "none"):
            raise UserError("wiring single has no place for a channel mixer; use channel none, or wiring pre")
        made = self.channel(channel)
        return Block(mixer, made, self.norm(), self.norm() if how.channel_norm else None, how)

    def mixer(self, entry: Mapping[str, Any]) -> Mixer | None:
        given = entry.get("mixer", "attention")
        if given in (None, "none"):
            return None
        cls, options = chosen(Mixer, given)
        name = given if isinstance(given, str) else given["kind"]
        if getattr(cls, "needs_memory", False):
            raise UserError(f"mixer {name} reads another stack's states, and a pattern has one stack; use attention")
        fill: dict[str, Any] = {**self.fill, "causal": self.causal}
        position = self.position(entry, cls)
        if "position" in arguments.parameters(cls):
            if "position" in options:
                raise UserError(f"mixer {name}: give the position beside the mixer, {{mixer: {name}, position: …}}")
            fill["position"] = position
        elif position is not None:
            inner = chosen(Mixer, options["inner"])[0] if "inner" in options else None
            if inner is not None and position.needs_qk and getattr(inner, "has_qk", False):
                raise UserError(
                    f"mixer {name} takes its position with what is inside it; write inner: "
                    f"{{kind: {kebab(inner.__name__)}, position: {kebab(type(position).__name__)}}}"
                )
            without_queries(name, position)
            raise UserError(f"mixer {name} takes no position of its own; give learned or sinusoid to the whole pattern")
        mixer = cast(Mixer, make(Mixer, given, fill))
        if self.causal and mixer.causal == "no":
            raise UserError(
                f"mixer {name} looks ahead, so it cannot predict the next token; use it in an encoder, such as "
                "masked-backbone, or take one that does not, such as attention, window, ssd or causal-conv"
            )
        check_width("mixer", name, mixer, self.pattern.dim)
        check_stretches(name, mixer, given, self.max_len)
        width = entry.get("conv", self.pattern.conv)
        check_stretch("a layer", "conv", width, self.max_len)
        return Convolved(mixer, CausalConv(self.pattern.dim, width)) if width else mixer

    def position(self, entry: Mapping[str, Any], mixer: type[Part]) -> Position | None:
        given = entry.get("position")
        if given is None:
            if not getattr(mixer, "has_qk", False) or self.pattern.position != "none":
                return None
            given = "rope"
        if given == "none" or chosen(Position, given)[0] is NoPosition:
            return None
        key = repr(given)
        if key not in self.shared:
            made = cast(Position, make(Position, given, self.fill))
            if not made.shared:
                return made
            self.shared[key] = made
        return self.shared[key]

    def channel(self, given: Any) -> Part | None:
        if given in (None, "none"):
            return None
        cls, options = chosen(ChannelMixer, given)
        dim, hidden = self.pattern.dim, self.pattern.hidden
        gated = options.get("gate", getattr(arguments.parameters(cls).get("gate"), "default", False)) is True
        fill = {**self.fill, "hidden": hidden or (-(-8 * dim // 24) * 8 if gated else 4 * dim), "bias": False}
        name = given if isinstance(given, str) else given["kind"]
        if self.tokens is not None:
            experts, parts = experts_in(given, self.heads)
            room = self.tokens * parts
            fix = f"at most {room} experts{with_k(largest(given, 'k'), room)}"
            check_experts(f"channel mixer {name}", experts, self.tokens, parts, fix)
        made = make(ChannelMixer, given, fill)
        check_width("channel mixer", name, made, dim)
        return made


def _checked(layers: Any) -> None:
    """Refuses what is no list of layers (UserError)."""
    if not isinstance(layers, Sequence) or isinstance(layers, str) or not layers:
        raise UserError(
            "a pattern is a list of layers, such as [{mixer: attention, position: rope, channel: swiglu, times: 2}]"
        )
    for entry in layers:
        if not isinstance(entry, Mapping):
            raise UserError(f"a layer of a pattern is a mapping such as {{mixer: attention}}, not {entry!r}")
        group = next((name for name in GROUPS if name in entry), None)
        known = ENTRY if group is None else GROUPS[group]
        for key in entry:
            if key not in known:
                raise misplaced(entry, str(key)) or unknown("key of a layer pattern", str(key), known)
        for name, least in (("dim", 1), ("conv", 0)):
            size = entry.get(name, least)
            if not arguments.fits(size, int) or size < least:
                raise UserError(f"a layer's {name} is {size!r}; it must be a whole number of at least {least}")
        if not isinstance(entry.get("wiring", ""), str):
            raise UserError(f"a layer's wiring is {entry['wiring']!r}; give a name, such as pre or parallel")
        if not isinstance(entry.get("inject", False), bool):
            raise UserError(f"a loop's inject is {entry['inject']!r}; give true or false")
        if group is not None:
            _checked(entry[group])
            if group == "shared" and any(inner.get("conv") for inner in entry[group]):
                raise UserError("layers that share keys and values read no convolution of their own; leave conv out")
            if any(name in inner for name in GROUPS for inner in entry[group]):
                raise UserError(f"a {group} is made of blocks alone; use one loop with more iterations, or one shared")
            if not arguments.fits(entry.get("iterations", 2), int):
                raise UserError(f"a loop's iterations is {entry['iterations']!r}; use a whole number of at least 1")


def _post_norm(layer: Part) -> bool:
    last = layer.layers[-1] if isinstance(layer, Loop | SharedCache) else layer
    return isinstance(last, Block) and isinstance(last.wiring, PostNorm)


def _times(entry: Mapping[str, Any]) -> int:
    times = entry.get("times", 1)
    if not arguments.fits(times, int) or not 1 <= times <= _MOST:
        raise UserError(f"a layer's times is {times!r}; it must be a whole number from 1 to {_MOST:,}")
    return int(times)
