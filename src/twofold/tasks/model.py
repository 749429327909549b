"""A trained model: a network, its preprocessing and its history, saved as one folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from twofold.checkpoints import folder, packed
from twofold.data.cache import digest
from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.measure import costs
from twofold.parts import Part, unpacked
from twofold.parts.ready import Ready


class Model:
    """A network with what is needed to use it. A task adds the verbs.

    Args:
        net: the network; None for models that are no network (BM25).
        tokenizer: text to ids; None where the input is not text.
        spec: the task's own settings (lengths, prefixes), JSON-able.
        history: what was done to it, oldest first: `{"id", "options", "report"}` of each system and transform.
        notes: licence and source of weights that came from elsewhere; under `config` what their format says of them.

    Attributes:
        stored: ending of the file that its weights are saved in: `.safetensors`, or how they are packed.
        ready: forms of its network that verbs compute with, made when first used.
    """

    task: ClassVar[str] = ""

    def __init__(
        self,
        net: Part | None,
        tokenizer: Tokenizer | None,
        spec: Mapping[str, Any] | None = None,
        history: list[dict[str, Any]] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self._net = net
        self.tokenizer = tokenizer
        self.spec = dict(spec or {})
        self.history = list(history or [])
        self.notes = dict(notes or {})
        self.stored = packed.PLAIN
        self.ready = Ready()

    @property
    def net(self) -> Part:
        """The network.

        Raises:
            UserError: the model is none, and what was asked needs one.
        """
        if self._net is None:
            raise UserError(f"{self.name} has no network; this needs a model that is trained")
        return self._net

    @property
    def name(self) -> str:
        """The id of the last system or transform that made it."""
        return str(self.history[-1]["id"]) if self.history else self.task

    @property
    def parameters(self) -> int:
        """How many weights it holds, shared ones counted once, packed ones as those they stand for."""
        return costs.parameters(self._net) if self._net is not None else 0

    @property
    def bytes(self) -> int:
        """Memory that its network's tensors hold; 0 where there is none."""
        return costs.tensor_bytes(self._net) if self._net is not None else 0

    @property
    def fingerprint(self) -> str:
        """Changes when its network, a weight, its tokenizer or a setting does; what it was called does not matter."""
        parts: list[str | bytes] = [self.task, json.dumps(self.spec, sort_keys=True, default=str)]
        if self._net is not None:
            parts.append(json.dumps(self._net.spec(), sort_keys=True, default=str))
            for name, tensor in sorted(self._net.state_dict().items()):
                flat = tensor.detach().cpu().contiguous().reshape(-1)
                parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}", flat.view(torch.uint8).numpy().tobytes()]
        if self.tokenizer is not None:
            parts.append(json.dumps(self.tokenizer.to_dict(), sort_keys=True, default=str))
        return digest(*parts)[:16]

    def costs(self) -> dict[str, float]:
        """What it costs, by name: `parameters` and `bytes`; a task adds what it can count."""
        return {"parameters": float(self.parameters), "bytes": float(self.bytes)}

    def copy(self) -> Self:
        """An independent copy: changing one leaves the other as it is."""
        return copy.deepcopy(self)

    def unpacked(self) -> Self:
        """A copy with plain weights in place of packed ones (the same outputs, a larger network)."""
        other = self.copy()
        other._net = unpacked(self.net)
        return other

    def renewed(self, before: Self) -> Self:
        """The model with what must be made again when the network of `before` was changed into this one's."""
        return self

    def remember(self, id: str, options: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> Self:
        """Adds a line to the history."""
        self.history.append({"id": id, "options": dict(options), "report": dict(report or {})})
        return self

    def save(self, path: str | Path) -> Path:
        """Writes the model folder; an existing model there is replaced only once the new one is complete.

        Raises:
            UserError: the folder holds something that is not a model, or the disk is full.
        """
        target = Path(path)
        folder.write(
            target,
            network=self._net.spec() if self._net is not None else None,
            tensors=dict(self._net.state_dict()) if self._net is not None else {},
            task={"name": self.task, **self.spec},
            tokenizer=self.tokenizer.to_dict() if self.tokenizer is not None else None,
            history=self.history,
            card=self.card,
            notes=self.notes,
            files=self._files,
            stored=self.stored,
        )
        return target

    def _files(self, target: Path) -> None:
        """Writes what else belongs into the folder; a task with an index overrides it."""

    @classmethod
    def restore(cls, saved: folder.Saved) -> Self:
        """The model of a folder that was read."""
        net = folder.load_network(saved) if saved.network is not None else None
        tokenizer = Tokenizer.from_dict(saved.tokenizer) if saved.tokenizer is not None else None
        spec = {k: v for k, v in saved.task.items() if k != "name"}
        if net is not None:
            net.eval()
        model = cls(net, tokenizer, spec, saved.history, saved.notes)
        model.stored = saved.weights.suffix
        return model

    def to(self, device: str | torch.device) -> Self:
        """Moves the network; the model itself is given back."""
        if self._net is not None:
            self._net.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the network's weights are; the processor where there are none."""
        if self._net is None:
            return torch.device("cpu")
        return next((p.device for p in self._net.parameters()), torch.device("cpu"))

    @property
    def prompts(self) -> dict[str, str]:
        """What an exported folder puts before texts, by the name of their kind."""
        return {}

    @property
    def export_notes(self) -> list[str]:
        """What another program must be told to answer as this model does, a sentence each."""
        return []

    @property
    def card(self) -> str:
        """What the model is and where it came from, as Markdown."""
        steps = "\n".join(f"- `{h['id']}` {_options(h['options'])}" for h in self.history) or "- untouched"
        notes = "\n".join(f"- {k}: {v}" for k, v in self.notes.items() if k != "config")
        text = f"# A Twofold model for `{self.task}`\n\n{self.parameters:,} parameters.\n\n## History\n\n{steps}\n"
        return text + (f"\n## Notes\n\n{notes}\n" if notes else "")


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in options.items())
