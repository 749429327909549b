"""Classifying by asking: a text is written as a prompt, and the logits at its mask answer. Labels may be any words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold import computing, progress
from twofold.data import batches
from twofold.data.instructions import STYLES, Listing, Prompts
from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.parts import SequenceModel
from twofold.tasks.classify.data import Inputs
from twofold.tasks.classify.readers import Reader, TextReader

if TYPE_CHECKING:
    from twofold.tasks.classify.model import ClassifyModel


@dataclass(frozen=True)
class PromptInputs:
    """Prompts as ids, and the tokens that answer with each class."""

    ids: Int[Tensor, "batch time"]
    real: Bool[Tensor, "batch time"]
    mask: int
    answers: Int[Tensor, "classes"]

    @property
    def tokens(self) -> int:
        return int(self.real.sum())

    def rows(self, index: Tensor) -> PromptInputs:
        """Those prompts alone."""
        return replace(self, ids=self.ids[index], real=self.real[index])

    def to(self, device: torch.device) -> PromptInputs:
        """The same on another device."""
        moved = self.ids.to(device), self.real.to(device), self.answers.to(device)
        return PromptInputs(moved[0], moved[1], self.mask, moved[2])

    def embed(self, net: SequenceModel) -> Float[Tensor, "batch classes"]:
        """The logits of the answers at the mask."""
        states = net.states(self.ids, self.real)[self.ids == self.mask]
        logits: Tensor = net.apply_head(states)[:, self.answers]
        return logits


class PromptStore:
    """Prompts of many texts, handed out in padded batches."""

    def __init__(self, reader: PromptReader, tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[str]) -> None:
        self.prompts, listing = reader.written(tokenizer, texts, labels)
        self.answers = torch.tensor(listing.answers)
        self.mask, self.pad = tokenizer.mask or 0, tokenizer.pad

    def take(self, indices: Sequence[int] | np.ndarray) -> PromptInputs:
        """The inputs of those texts, in that order."""
        ids, real = batches.pad([self.prompts[i] for i in indices], self.pad)
        return PromptInputs(ids, real, self.mask, self.answers)


class PromptReader(Reader):
    """Texts written as prompts of at most `tokens` tokens, answered in a style: auto, letters or words.

    Args:
        words: what is listed and answered for a label, in its place.
    """

    kind = "prompt"
    free_labels = True

    def __init__(self, tokens: int, style: str = "auto", words: Mapping[str, str] | None = None) -> None:
        self.tokens, self.style, self.words = tokens, style, dict(words or {})

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokens": self.tokens, "style": self.style, "words": self.words}

    def listing(self, tokenizer: Tokenizer, labels: Sequence[str]) -> Listing:
        """How the labels are listed and answered.

        Raises:
            UserError: the style has no answer for one of them.
        """
        return STYLES[self.style](tokenizer, [self.words.get(label, label) for label in labels])

    def written(
        self, tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[str]
    ) -> tuple[list[list[int]], Listing]:
        """Ids of each text's prompt, and how the labels are answered.

        Raises:
            UserError: a text is empty, or the labels do not fit.
        """
        TextReader.check(texts)
        prompts = Prompts(tokenizer, self.tokens)
        listing = self.listing(tokenizer, labels)
        return [prompts.write(ids, listing) for ids in prompts.texts(texts)], listing

    def room(self, tokenizer: Tokenizer, labels: Sequence[str]) -> int:
        """Tokens that are left for a text beside the labels."""
        return Prompts(tokenizer, self.tokens).room(self.listing(tokenizer, labels))

    def logits(self, model: ClassifyModel, inputs: Inputs) -> np.ndarray:
        assert model.tokenizer is not None
        net = model.net.eval()
        if not isinstance(net, SequenceModel):
            raise UserError(f"{model.name} has no head over its vocabulary, so it cannot be asked; use mask-instruct")
        store = PromptStore(self, model.tokenizer, list(inputs), model.labels)
        found = np.zeros((len(inputs), len(model.labels)), np.float32)
        with progress.stage(f"ask about {len(inputs):,} texts", total=len(inputs)) as stage:
            for group in batches.buckets([len(p) for p in store.prompts]):
                with computing.inference():
                    found[group] = store.take(group).to(model.device).embed(net).float().cpu().numpy()
                stage.advance(len(group))
        return found
