"""What sentence-transformers keeps beside a checkpoint: pooling, projection, unit length, prompts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from twofold.checkpoints import tensors as weights
from twofold.checkpoints.plain import read_json, read_json_list, write_json
from twofold.errors import UserError
from twofold.parts import (
    Cls,
    Dense,
    Last,
    Max,
    MaxTerms,
    Mean,
    Part,
    SequenceModel,
    SparseEncoder,
    TextEncoder,
    WeightedMean,
)
from twofold.parts.projection import Projection

_POOLS: dict[str, type[Part]] = {
    "cls": Cls,
    "mean": Mean,
    "max": Max,
    "weightedmean": WeightedMean,
    "lasttoken": Last,
}
_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_PACKAGE = "sentence_transformers.models"
_SPARSE_PACKAGE = "sentence_transformers.sparse_encoder.models"
_SILENT = -1e4  # the bias of a term that is never said
_IDENTITY = "torch.nn.modules.linear.Identity"


def read_pooling(folder: Path) -> dict[str, Any] | None:
    """How a sentence-transformers folder makes one vector of a text; None where the folder says nothing of it.

    Returns:
        `terms`: whether the vector is weights of the vocabulary, read from a head; `pool`: a part; `project`: a part
        or None; `normalise`: bool; `max_len`: where it cuts texts, in tokens, or None; `prompts`: what it puts before
        texts, by name.

    Raises:
        UserError: a module or a way of pooling that cannot be represented.
    """
    if not (folder / "modules.json").is_file():
        return None
    found: dict[str, Any] = {"pool": None, "project": None, "normalise": False, "max_len": None, "prompts": {}}
    found["terms"] = False
    for module in read_json_list(folder / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2]
        place = folder / _inside(str(module.get("path", "")), folder)
        if kind == "Pooling":
            found["pool"] = _pool(read_json(place / "config.json"))
        elif kind == "Dense" and found["project"] is None:
            found["project"] = _project(place)
        elif kind == "Normalize":
            found["normalise"] = True
        elif kind == "SpladePooling":
            found["terms"], found["pool"] = True, _terms(read_json(place / "config.json"))
        elif kind not in ("Transformer", "MLMTransformer"):
            raise UserError(f"{folder}/modules.json names a module {kind!r}, which cannot be represented")
    if (folder / "sentence_bert_config.json").is_file():
        limit = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
        found["max_len"] = limit if isinstance(limit, int) and limit > 0 else None
    if (folder / "config_sentence_transformers.json").is_file():
        prompts = read_json(folder / "config_sentence_transformers.json").get("prompts")
        if isinstance(prompts, dict):
            found["prompts"] = {str(name): str(text) for name, text in prompts.items()}
    return found


def write_pooling(folder: Path, net: TextEncoder, max_len: int | None, prompts: Mapping[str, str]) -> None:
    """Writes the modules that make sentence-transformers open `folder` as the same encoder.

    Raises:
        UserError: a pool or projection that sentence-transformers does not have.
    """
    mode = next((name for name, kind in _POOLS.items() if type(net.pool) is kind), None)
    if mode is None:
        raise UserError(
            f"sentence-transformers has no pool {type(net.pool).__name__}; export the network alone (net.model), "
            f"or pool with one of {', '.join(kind.__name__ for kind in _POOLS.values())}"
        )
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (folder / "1_Pooling").mkdir()
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": net.model.dim, **{flag: name == mode for name, flag in _FLAGS.items()}},
    )
    if net.project is not None:
        modules.append((f"{len(modules)}_Dense", "Dense"))
        _write_project(folder / modules[-1][0], net.project)
    if net.normalise:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
        (folder / modules[-1][0]).mkdir()
    _write_modules(folder, modules, _PACKAGE, max_len)
    if prompts:
        write_json(folder / "config_sentence_transformers.json", {"prompts": dict(prompts)})


def spoken(net: SparseEncoder) -> SequenceModel:
    """A sparse encoder's network with its silent terms in the bias of its head, which is all the others know.

    Raises:
        UserError: logits of some tokens do not count, or the head has no bias; neither can be said elsewhere.
    """
    if net.before or net.after:
        raise UserError(
            "sentence-transformers counts the logits of every token, and this encoder leaves out those with a role; "
            "train it with count_roles=true"
        )
    other = copy.deepcopy(net.model)
    bias: torch.Tensor | None = getattr(other.head, "bias", None)
    if bias is None:
        raise UserError("silent terms need a head with a bias to be exported; this one has none")
    with torch.no_grad():
        bias[net.silent] = _SILENT
    return other


def write_splade(folder: Path, vocab: int, max_len: int | None, prompts: Mapping[str, str]) -> None:
    """Writes the modules that make sentence-transformers open `folder` as a sparse encoder."""
    (folder / "1_SpladePooling").mkdir()
    config = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": vocab}
    write_json(folder / "1_SpladePooling" / "config.json", config)
    modules = [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")]
    _write_modules(folder, modules, _SPARSE_PACKAGE, max_len)
    write_json(folder / "config_sentence_transformers.json", {"model_type": "SparseEncoder", "prompts": dict(prompts)})


def _write_modules(folder: Path, modules: list[tuple[str, str]], package: str, max_len: int | None) -> None:
    write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"{package}.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_len, "do_lower_case": False})


def _terms(config: dict[str, Any]) -> Part:
    asked = config.get("pooling_strategy", "max"), config.get("activation_function", "relu")
    if asked != ("max", "relu"):
        raise UserError(f"SPLADE pooling by {asked[0]} of {asked[1]} cannot be represented; only by max of relu")
    return MaxTerms()


def _inside(path: str, folder: Path) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise UserError(f"{folder}/modules.json points outside its folder ({path[:60]})")
    return path


def _pool(config: dict[str, Any]) -> Part:
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [name for name, flag in _FLAGS.items() if config.get(flag) is True] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in _POOLS:
        raise UserError(f"pooling {modes!r} cannot be represented; known, one at a time: {', '.join(_POOLS)}")
    return _POOLS[modes[0]]()


def _project(place: Path) -> Part:
    config = read_json(place / "config.json")
    if config.get("activation_function", "torch.nn.modules.activation.Tanh") != _IDENTITY or config.get("use_residual"):
        raise UserError(f"{place}: a projection with a nonlinearity or a residual cannot be represented")
    stored = weights.load(place / "model.safetensors")
    weight, bias = stored.get("linear.weight"), stored.get("linear.bias")
    if weight is None or weight.ndim != 2:
        raise UserError(f"{place}/model.safetensors holds no matrix linear.weight")
    part = Dense(weight.shape[1], weight.shape[0], bias is not None)
    with torch.no_grad():
        part.weight.copy_(weight)
        if bias is not None:
            part.bias.copy_(bias)
    return part


def _write_project(place: Path, project: Part) -> None:
    linear = project.map if isinstance(project, Projection) else project
    if not isinstance(linear, Dense):
        raise UserError(
            f"sentence-transformers has no projection {type(linear).__name__}; export the network alone (net.model)"
        )
    place.mkdir()
    weights.save(
        place / "model.safetensors",
        {f"linear.{name}": tensor for name, tensor in linear.state_dict().items()},
    )
    rows, columns = linear.weight.shape
    write_json(
        place / "config.json",
        {
            "in_features": columns,
            "out_features": rows,
            "bias": linear.bias is not None,
            "activation_function": _IDENTITY,
        },
    )
