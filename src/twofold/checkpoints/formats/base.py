"""What a checkpoint format is: one object that reads and writes its configuration and names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from twofold.checkpoints.formats.shape import Difference, Spec, differences, expanded
from twofold.errors import UserError

Config = dict[str, Any]
_FILL = "export with fill=True (--fill): zeros where something was cut, the same outputs"


class Refused(UserError):
    """The format cannot hold a network. `faults` says how far it is from one that it can."""

    def __init__(self, text: str, faults: int) -> None:
        super().__init__(text)
        self.faults = faults


class Format(ABC):
    """A checkpoint format: a configuration ↔ a network spec, and their names of tensors ↔ ours.

    Attributes:
        name: as `model_type` in its configuration.
        title: as a person says it.
        encoder: its networks see both ways.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    encoder: ClassVar[bool]

    def matches(self, config: Mapping[str, Any]) -> bool:
        """Whether a checkpoint's configuration is of this format."""
        return config.get("model_type") == self.name

    @abstractmethod
    def to_spec(self, config: Mapping[str, Any]) -> Spec:
        """The network of a configuration.

        Raises:
            UserError: a setting that cannot be represented, by name.
        """

    def to_config(self, spec: Mapping[str, Any]) -> Config:
        """The configuration of a network.

        Raises:
            Refused: a layer is not what the configuration can say; names it, and what would make it so.
        """
        network = expanded(spec)
        try:
            config = self._describe(network)
        except (KeyError, TypeError, IndexError, StopIteration):
            raise Refused(f"this network has not the shape of {self.title}", 1000) from None
        try:
            wanted = self.to_spec(config)
        except UserError as error:
            raise Refused(f"{self.title} cannot hold this network: its {error}; or {_FILL}", 500) from None
        faults = list(differences(network, expanded(wanted)))
        if faults:
            raise Refused(self._refusal(faults[0], network), len(faults))
        return config

    @abstractmethod
    def _describe(self, network: Spec) -> Config:
        """A configuration by the network's first layer; whether the rest agrees is looked at afterwards."""

    @abstractmethod
    def theirs(self, name: str) -> str:
        """The format's name of one of our tensors (`stack.layers.0.mixer.query.weight`).

        Raises:
            KeyError: the format has no such tensor.
        """

    @abstractmethod
    def named(self, stored: Iterable[str], config: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        """Names as checkpoints in the wild spell them → names as `theirs` gives them, and what is left out."""

    @abstractmethod
    def stored(self, name: str, config: Mapping[str, Any]) -> str:
        """A name that `theirs` gave, as the class in `config`'s `architectures` spells it."""

    def apart(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors as stored, those that the format lays into one matrix taken apart. Before `named`."""
        return dict(tensors)

    def together(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors as the format stores them: the inverse of `apart`, after `stored`."""
        return dict(tensors)

    def widths(self, network: Spec) -> tuple[int, int, int]:
        """Heads, key-value heads and neurons that would hold every layer of an (expanded) network."""
        layers = network["stack"]["layers"]
        head_dim = next(layer["mixer"]["head_dim"] for layer in layers if layer["mixer"])
        heads = network["embedding"]["dim"] // head_dim
        hidden = max(layer["channel"]["hidden"] for layer in layers if layer["channel"])
        return heads, heads, hidden

    def _refusal(self, fault: Difference, network: Spec) -> str:
        if fault.layer is None:
            return f"{self.title} cannot hold this network: {fault}"
        inside = fault.path.partition("].")[2]
        what = f"{self.title} cannot hold layer {fault.layer} of this network: its {inside} is {fault.found}"
        if inside in ("channel.hidden", "mixer.heads", "mixer.kv_heads"):
            return (
                f"{what}, and its configuration can only say {fault.wanted} for every layer; cut all layers alike, "
                f"or {_FILL}"
            )
        if fault.leaf in ("mixer", "channel") and fault.found is None:
            return f"{self.title} cannot do without the {fault.leaf} of layer {fault.layer}; {_FILL}"
        if ".replaced" in fault.path:
            return f"{self.title} cannot hold layer {fault.layer}: {inside} was packed or adapted; export before that"
        return f"{self.title} cannot hold layer {fault.layer} of this network: {fault}"


LAYERS = 1000
"""No checkpoint has more; a damaged configuration may say so."""


def architectures(config: Mapping[str, Any]) -> list[str]:
    """The classes that a configuration names (UserError where that is no list)."""
    value = config.get("architectures") or []
    if not isinstance(value, list):
        raise UserError(f"config.json: architectures is {str(value)[:40]!r}; it must be a list of names")
    return [str(name) for name in value]


def number(config: Mapping[str, Any], key: str, default: int | None = None, most: int = 2**31) -> int:
    """A whole number of a configuration.

    Raises:
        UserError: missing, or not a whole number from 1 to `most`.
    """
    value = config.get(key, default)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UserError(f"config.json: {key} is {str(value)[:40]!r}; it must be a whole number from 1 to {most}")
    return value


def real(config: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A positive number of a configuration (UserError where it is not one)."""
    value = config.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise UserError(f"config.json: {key} is {str(value)[:40]!r}; it must be a positive number")
    return float(value)


def must_be(config: Mapping[str, Any], key: str, *allowed: Any) -> None:
    """Refuses a setting that would change what the network computes (UserError, by name)."""
    if key in config and config[key] not in allowed:
        wanted = " or ".join(map(repr, allowed))
        raise UserError(f"config.json: {key} is {str(config[key])[:60]!r}; only {wanted} can be represented")


def one_of(config: Mapping[str, Any], key: str, known: Mapping[str, str], default: str) -> str:
    """What a named setting is called here (UserError for a name that is not known)."""
    value = config.get(key, default)
    if not isinstance(value, str) or value not in known:
        raise UserError(f"config.json: {key} is {str(value)[:60]!r}; known are {', '.join(known)}")
    return known[value]


def inverse(known: Mapping[str, str], value: str) -> str:
    """The first name under which a setting goes by in the format (KeyError: it has none)."""
    return next(theirs for theirs, ours in known.items() if ours == value)
