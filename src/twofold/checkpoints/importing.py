"""Opening other people's checkpoints: Hugging Face folders and GGUF files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twofold.checkpoints import gguf, packed
from twofold.checkpoints import tensors as weights
from twofold.checkpoints.folder import MANIFEST, built, furnish
from twofold.checkpoints.formats import Format, of_config
from twofold.checkpoints.plain import read_json
from twofold.checkpoints.pull import RECEIPT
from twofold.checkpoints.sentence import read_pooling
from twofold.data.tokenizers import SubwordTokenizer, Tokenizer
from twofold.errors import UserError
from twofold.parts import SequenceModel


@dataclass(frozen=True)
class Imported:
    """A checkpoint from elsewhere, as a Twofold network.

    Attributes:
        net: in evaluation mode; with the head that the checkpoint has, if it is a language model's.
        tokenizer: its own, without limits or padding.
        pooling: for sentence encoders, as `sentence.read_pooling` gives it; else None.
        config: its `config.json` (made up from the metadata for GGUF).
        source: where it comes from.
        encoder: it sees both ways (BERT); else it is causal (Llama).
        notes: licence, and what was left out or is worth knowing.
    """

    net: SequenceModel
    tokenizer: Tokenizer
    pooling: dict[str, Any] | None
    config: dict[str, Any]
    source: str
    encoder: bool
    notes: dict[str, str] = field(default_factory=dict)


def open_checkpoint(path: str | Path, dtype: torch.dtype | None = torch.float32) -> Imported:
    """Opens a Hugging Face folder (BERT or Llama, safetensors), a folder with one GGUF file, or a GGUF file.

    Args:
        path: the folder or file.
        dtype: of the weights; None leaves them as they are stored.

    Raises:
        UserError: nothing there, weights as a pickle, a damaged file, or a model that cannot be represented.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no checkpoint at {path}")
    if path.is_file():
        weights.refuse_pickle(path)
        if path.suffix in (packed.PLAIN, *packed.SUFFIXES):
            raise UserError(f"{path} holds weights alone; give the folder that has its config.json too")
        return _from_gguf(path, dtype)
    if (path / MANIFEST).is_file():
        raise UserError(
            f"{path} is a Twofold model; load it as such (twofold.load), not as a checkpoint from elsewhere"
        )
    if not (path / "config.json").is_file():
        files = sorted(path.glob("*.gguf"))
        if len(files) == 1:
            return _from_gguf(files[0], dtype)
        if files:
            raise UserError(f"{path} holds {len(files)} GGUF files; name one of them")
        for inside in (path / "best", path / "model"):  # of a comparison, of one of its arms
            if (inside / MANIFEST).is_file():
                raise UserError(f"{path} is no model, but holds one: give {inside}")
        raise UserError(f"{path} is not a checkpoint: it has neither a config.json nor a GGUF file")
    return _from_folder(path, dtype)


def _from_folder(path: Path, dtype: torch.dtype | None) -> Imported:
    config = read_json(path / "config.json")
    form = of_config(config, f"{path}/config.json")
    if config.get("quantization_config"):
        raise UserError(f"{path} is stored quantized, which cannot be read; use the checkpoint it was made from")
    net, left = _network(form, config, _stored(path), str(path), dtype)
    tokenizer = Tokenizer.load_hf(path)
    notes = _notes(path)
    if left:
        notes["left out"] = ", ".join(left)
    pooling = read_pooling(path)
    if pooling is not None and pooling["max_len"]:
        notes["cut at"] = f"{pooling['max_len']} tokens by sentence-transformers"
    return _checked(Imported(net, tokenizer, pooling, config, _source(path), form.encoder, notes))


def _from_gguf(file: Path, dtype: torch.dtype | None) -> Imported:
    contents = gguf.read(file)
    form = of_config(contents.config, str(file))
    net, _ = _network(form, contents.config, contents.tensors, str(file), dtype)
    special = contents.tokenizer_config
    roles = {role: special.get(f"{role}_token") for role in ("bos", "eos", "pad")}
    tokenizer = SubwordTokenizer(contents.tokenizer, roles, name=f"the tokenizer of {file}")
    config = {**contents.config, **{k: v for k, v in special.items() if k == "chat_template"}}
    notes = {**contents.notes, **_notes(file.parent)}
    return _checked(Imported(net, tokenizer, None, config, _source(file), form.encoder, notes))


def _checked(found: Imported) -> Imported:
    if found.tokenizer.vocab_size > found.net.vocab:
        raise UserError(
            f"the tokenizer of {found.source} has {found.tokenizer.vocab_size} tokens and its network only "
            f"{found.net.vocab}; they do not belong together"
        )
    return found


def _network(
    form: Format, config: Mapping[str, Any], stored: Mapping[str, Tensor], what: str, dtype: torch.dtype | None
) -> tuple[SequenceModel, list[str]]:
    stored = form.apart(stored)
    named, left = form.named(stored, config)
    given = {plain: stored[name] for name, plain in named.items()}
    net = built(form.to_spec(config), what)
    empty = net.tensors()
    ours = {form.theirs(name): name for name in empty}
    faults = {
        "missing": [name for name in ours if name not in given],
        "that its config.json knows nothing of": [name for name in given if name not in ours],
        "of another shape than its config.json says": [
            f"{name} {list(given[name].shape)} for {list(empty[own].shape)}"
            for name, own in ours.items()
            if name in given and given[name].shape != empty[own].shape
        ],
    }
    told = [
        f"{len(names)} {label} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for label, names in faults.items()
        if names
    ]
    if told:
        raise UserError(f"the tensors of {what} do not fit {form.title}: {'; '.join(told)}")
    tensors = {ours[name]: _cast(tensor, dtype) for name, tensor in given.items()}
    furnish(net, tensors, what)
    assert isinstance(net, SequenceModel)
    return net, left


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _stored(path: Path) -> dict[str, Tensor]:
    index = path / "model.safetensors.index.json"
    whole = packed.find(path / "model.safetensors")
    if whole.is_file():
        return weights.load(whole)
    if index.is_file():
        places = read_json(index).get("weight_map")
        names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
        if not names or any(Path(name).name != name for name in names):
            raise UserError(f"{index} is damaged: it does not name files beside it")
        return {name: tensor for file in names for name, tensor in weights.load(packed.find(path / file)).items()}
    for file in sorted(path.iterdir()):
        if file.suffix in weights.PICKLED:
            weights.refuse_pickle(file)
    raise UserError(f"{path} holds no weights: there is no model.safetensors")


def _source(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    if (folder / RECEIPT).is_file():
        receipt = read_json(folder / RECEIPT)
        return f"{receipt.get('package')} {receipt.get('version')}"
    return path.name


def _notes(folder: Path) -> dict[str, str]:
    if (folder / RECEIPT).is_file():
        kept = read_json(folder / RECEIPT).get("notes")
        return {str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {}
    card = folder / "README.md"
    if card.is_file():
        start = card.read_bytes()[:4000].decode("utf-8", "replace")
        licence = re.search(r"^license:\s*['\"]?([\w.+-]+)", start, re.MULTILINE)
        if start.startswith("---") and licence:
            return {"licence": licence[1]}
    return {}
