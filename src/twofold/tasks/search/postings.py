"""BM25 over segments that come and go: counts are stored, and weights follow from what is there when it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from twofold.tasks.search import lexical
from twofold.tasks.search.texts import Texts
from twofold.tasks.search.vectors import broken, read_tensors

FILE = "postings.safetensors"
_ARRAYS = ("pointers", "documents", "counts", "lengths")


@dataclass(frozen=True)
class Postings:
    """For each word, the documents that hold it and how often.

    Attributes:
        words: sorted by their bytes.
        pointers: where each word's list begins, and the last one ends, `[words + 1]`.
        documents, counts: the lists, one behind the other, documents rising, `[postings]`.
        lengths: words of each document, `[n]`.
        file: from which they come, if they do: a list is looked through when its word is asked for.
    """

    words: Texts
    pointers: np.ndarray
    documents: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        own = sum(int(getattr(self, name).nbytes) for name in _ARRAYS)
        return own + int(self.words.content.nbytes + self.words.ends.nbytes)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Postings:
        """Counts of the words of `texts`."""
        split = [lexical.words(text) for text in texts]
        lengths = np.array([len(words) for words in split], dtype=np.int32)
        vocabulary = sorted({word for words in split for word in words}, key=str.encode)
        place = {word: i for i, word in enumerate(vocabulary)}
        ids = np.fromiter((place[word] for words in split for word in words), np.int64, int(lengths.sum()))
        owners = np.repeat(np.arange(len(split), dtype=np.int64), lengths)
        pairs, counts = np.unique(ids * max(1, len(split)) + owners, return_counts=True)
        terms, documents = np.divmod(pairs, max(1, len(split)))
        pointers = np.searchsorted(terms, np.arange(len(vocabulary) + 1)).astype(np.int64)
        return cls(Texts.of(vocabulary), pointers, documents.astype(np.int32), counts.astype(np.int32), lengths)

    def of_word(self, word: str) -> tuple[np.ndarray, np.ndarray]:
        """Documents that hold the word, and how often.

        Raises:
            UserError: the file that they come from is damaged.
        """
        place = self.words.find(word)
        if place is None:
            return self.documents[:0], self.counts[:0]
        some = slice(int(self.pointers[place]), int(self.pointers[place + 1]))
        documents = self.documents[some]
        if len(documents) and not 0 <= documents.min() <= documents.max() < len(self):
            raise broken(self.file or Path(FILE), ValueError(f"{word!r} is in documents that are not there"))
        if self.counts[some].min(initial=1) < 1:
            raise broken(self.file or Path(FILE), ValueError(f"{word!r} is counted less than once"))
        return documents, self.counts[some]

    def save(self, folder: Path) -> None:
        """Writes them as safetensors."""
        own = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _ARRAYS}
        save_file(own | self.words.tensors("words"), folder / FILE)

    @classmethod
    def open(cls, folder: Path) -> Postings:
        """The counts that such a folder holds, memory-mapped.

        Raises:
            UserError: the file is missing or broken.
        """
        file = folder / FILE
        found = read_tensors(file, *_ARRAYS, "words", "words_ends")
        try:
            words = Texts.from_tensors(found, "words")
            made = cls(words=words, file=file, **{name: found[name].numpy() for name in _ARRAYS})
            pointers, lists = made.pointers, len(made.documents)
            if (
                len(pointers) != len(words) + 1
                or pointers[0] != 0
                or pointers[-1] != lists
                or len(made.counts) != lists
            ):
                raise ValueError("lists that do not fit")
            if made.lengths.min(initial=0) < 0:
                raise ValueError("documents of fewer than no words")
            if (np.diff(pointers) < 0).any():
                raise ValueError("lists that overlap")
            return made
        except ValueError as error:
            raise broken(file, error) from None


def scores(segments: Sequence[Postings], alive: Sequence[np.ndarray], query: str, k1: float, b: float) -> np.ndarray:
    """BM25 of every document of every segment for one query, `[n]`; 0 for those without any of its words.

    As if the documents that are alive were indexed by themselves. Robertson et al. 1994, in Lucene's form:
    Σ over words ln(1 + (N − n + ½)/(n + ½)) · count / (count + k1·(1 − b + b·length/mean length)).

    Args:
        alive: which documents of each segment count.
    """
    total = sum(int(mask.sum()) for mask in alive)
    words = sum(int(each.lengths[mask].sum()) for each, mask in zip(segments, alive, strict=True))
    mean = words / max(1, total)
    starts = np.cumsum([0, *(len(each) for each in segments)])
    found = np.zeros(int(starts[-1]), np.float32)
    for word, times in Counter(lexical.words(query)).items():
        lists = [each.of_word(word) for each in segments]
        holding = sum(int(mask[documents].sum()) for (documents, _), mask in zip(lists, alive, strict=True))
        rarity = times * np.log1p((total - holding + 0.5) / (holding + 0.5))
        for each, (documents, counts), start in zip(segments, lists, starts[:-1], strict=True):
            held = counts + k1 * (1 - b + b * each.lengths[documents] / max(mean, 1e-9))
            found[start + documents] += (rarity * counts / held).astype(np.float32)
    return np.where(np.concatenate(alive), found, 0) if len(alive) else found
