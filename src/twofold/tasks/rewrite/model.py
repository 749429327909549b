"""Models that rewrite texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from twofold.data import batches
from twofold.data.tokenizers import Tokenizer
from twofold.decoding import generate
from twofold.errors import UserError
from twofold.objectives.loss import IGNORED
from twofold.parts import EncoderDecoder
from twofold.tasks.model import Model


class RewriteModel(Model):
    """An encoder–decoder. Settings: `source_tokens` and `target_tokens`, the longest texts."""

    task: ClassVar[str] = "rewrite"

    @property
    def net(self) -> EncoderDecoder:
        net = super().net
        assert isinstance(net, EncoderDecoder)
        return net

    @property
    def text(self) -> Tokenizer:
        """The tokenizer."""
        assert self.tokenizer is not None
        return self.tokenizer

    def encode(self, texts: Sequence[str], most: str) -> list[list[int]]:
        """Ids of texts, with the end token.

        Raises:
            UserError: a text is empty, or longer than the setting `most` allows; says how long it is.
        """
        content = self.text.encode(list(texts), specials=False)
        limit, end = int(self.spec[most]), self.text.eos
        assert end is not None
        sizes = [len(ids) + 1 for ids in content]
        if min(sizes, default=2) == 1:
            raise UserError(f"text {sizes.index(1) + 1} is empty; leave it out")
        if max(sizes, default=0) > limit:
            number, size = sizes.index(max(sizes)) + 1, max(sizes)
            raise UserError(f"text {number} needs {size} tokens; set {most}={size} or shorten it")
        return [[*ids, end] for ids in content]

    @torch.inference_mode()
    def rewrite(self, text: str | Sequence[str]) -> str | list[str]:
        """What a text, or each of many, becomes; the likeliest token each time.

        Raises:
            UserError: a text is empty or too long.
        """
        texts = [text] if isinstance(text, str) else list(text)
        ids = self.encode(texts, "source_tokens")
        found = [""] * len(texts)
        net, limit = self.net.eval(), int(self.spec["target_tokens"])
        for group in batches.buckets([len(row) for row in ids]):
            source, real = batches.pad([ids[i] for i in group], self.text.pad)
            decoder = net.recalling(source.to(self.device), real.to(self.device))
            made = generate(
                decoder, [[net.start]] * len(group), limit, stop=[self.text.eos or 0], pad=self.text.pad or 0
            )
            for i, row in zip(group, made.sequences(), strict=True):
                found[i] = self.text.decode(row)
        return found[0] if isinstance(text, str) else found

    @torch.inference_mode()
    def log_likelihood(self, sources: Sequence[str], targets: Sequence[str]) -> float:
        """Mean log probability of a UTF-8 byte of the targets, in nats."""
        given, wanted = self.encode(sources, "source_tokens"), self.encode(targets, "target_tokens")
        total, net = 0.0, self.net.eval()
        for group in batches.buckets([len(row) for row in given]):
            source, real = batches.pad([given[i] for i in group], self.text.pad)
            target, counted = batches.pad([wanted[i] for i in group], self.text.pad)
            logits = net(source.to(self.device), real.to(self.device), target.to(self.device)).float().cpu()
            labels = target.masked_fill(~counted, IGNORED)
            total += float(torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="sum"))
        return -total / sum(len(text.encode("utf-8", "surrogatepass")) for text in targets)
