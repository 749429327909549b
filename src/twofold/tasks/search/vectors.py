"""What a search model makes of a text: vectors that know their bytes and their score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from twofold.errors import UserError


@dataclass(frozen=True)
class Dense:
    """One vector a text, `[n, d]`; the score of two texts is their dot product."""

    values: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of all vectors."""
        return self.values.numel() * self.values.element_size()

    def score(self, documents: Dense) -> Float[Tensor, "n m"]:
        """Scores of these queries against `documents`."""
        return self.values @ documents.values.T

    def top(self, documents: Dense, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Exact search: document indices and scores, best first, `[n, k]` each; equal scores by index."""
        k = min(k, len(documents))
        indices, scores = [], []
        for rows in self.values.split(1024):
            score, index = torch.sort(rows @ documents.values.T, dim=1, descending=True, stable=True)
            indices.append(index[:, :k])
            scores.append(score[:, :k])
        return torch.cat(indices).numpy(), torch.cat(scores).numpy()

    def save(self, file: Path) -> None:
        """Writes the vectors as safetensors."""
        save_file({"vectors": self.values.contiguous()}, file)

    @classmethod
    def open(cls, file: Path) -> Dense:
        """Vectors from a file, memory-mapped.

        Raises:
            UserError: the file is missing or broken.
        """
        try:
            return cls(load_file(file)["vectors"])
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(f"the index file {file} cannot be read ({error}); build the index again") from None
