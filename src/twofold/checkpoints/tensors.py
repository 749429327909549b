"""Weight files: safetensors, memory-mapped, with shared tensors stored once; or the same, packed (`packed`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from twofold.checkpoints import packed
from twofold.errors import UserError

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_SHARED = "twofold.shared"


def save(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors as one safetensors file, on the processor's memory layout, shared ones once.

    Names that share a tensor are kept in the file's metadata and come back sharing it. A file with the ending of a
    packed one is packed.
    """
    if file.suffix in packed.SUFFIXES:
        plain = file.with_name(f".{file.name}{packed.PLAIN}")
        try:
            save(plain, tensors)
            packed.pack(plain, file)
        finally:
            plain.unlink(missing_ok=True)
        return
    first: dict[tuple[Any, ...], str] = {}
    shared: dict[str, str] = {}
    kept: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        where = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and where in first:
            shared[name] = first[where]
            continue
        first[where] = name
        value = tensor.detach().cpu().contiguous()
        if value.numel():
            storage = value.untyped_storage().data_ptr()
            # Views into one storage are different tensors: the file holds each on its own.
            kept[name] = value.clone() if storage in storages else value
            storages.add(storage)
        else:
            kept[name] = value
    metadata = {"format": "pt"}
    if shared:
        metadata[_SHARED] = json.dumps(shared)
    save_file(kept, file, metadata=metadata)


def load(file: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, memory-mapped, or of a packed one; changing one does not change the file.

    Raises:
        UserError: no such file, a pickle, or a file that is truncated or no safetensors.
    """
    refuse_pickle(file)
    try:
        if file.suffix in packed.SUFFIXES:
            tensors, metadata = packed.load(file)
        else:
            with safe_open(file, framework="pt", device="cpu") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                metadata = opened.metadata() or {}
        shared = json.loads(metadata.get(_SHARED, "{}"))
        return {**tensors, **{name: tensors[source] for name, source in shared.items()}}
    except FileNotFoundError:
        raise UserError(f"there is no file {file}") from None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{file} is damaged or no safetensors file ({_first_line(error)}); copy or download it again"
        ) from None


def refuse_pickle(file: Path) -> None:
    """Pickles can run code when they are read: they never are.

    Raises:
        UserError: the file's name or first bytes are those of a pickle.
    """
    if file.is_dir():
        return
    with_pickle = file.suffix in PICKLED
    if not with_pickle and file.is_file():
        with open(file, "rb") as opened:
            start = opened.read(4)
        with_pickle = start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
        with_pickle = with_pickle or start == b"PK\x03\x04"
    if with_pickle:
        raise UserError(
            f"{file} holds pickled weights, which can run code when opened, so they are refused; convert it to "
            "safetensors where you trust it: in transformers, model.save_pretrained(folder)"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
