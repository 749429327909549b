"""Models that solve problems, and how well they do at each length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from twofold.data.made.algorithms import ASK, END, FIRST, PAD, START, Problems
from twofold.decoding import generate
from twofold.errors import UserError, did_you_mean
from twofold.objectives import Loss, causal
from twofold.parts import Mask, SequenceModel
from twofold.tasks.model import Model
from twofold.tasks.solve.data import SolveBatch


def solve_loss(net: nn.Module, batch: SolveBatch) -> Loss:
    """Cross-entropy of the answers, end token included; prompts do not count."""
    mask = Mask.causal() & Mask.segments(batch.segments)
    return causal(net(batch.ids, mask), batch.ids, batch.counted)


@dataclass(frozen=True)
class Scores:
    """Accuracy at each length, `[n]` each.

    Args:
        lengths: of the problems.
        token: share of an answer's symbols that stand in their place; symbols past the answer's end are not looked at.
        exact: share of problems whose whole answer is right and ends where it should.
    """

    lengths: np.ndarray
    token: np.ndarray
    exact: np.ndarray

    def between(self, shortest: int, longest: int) -> tuple[float, float]:
        """Mean over a range of lengths of token accuracy and exact match; NaN where it holds none."""
        inside = (self.lengths >= shortest) & (self.lengths <= longest)
        if not inside.any():
            return float("nan"), float("nan")
        return float(self.token[inside].mean()), float(self.exact[inside].mean())


class SolveModel(Model):
    """A causal network that reads `<start> prompt <ask>` and writes `answer <end>`.

    The task's setting `names` lists what each id is called, `marker` what precedes the result in an answer that
    holds its working too (or None).
    """

    task: ClassVar[str] = "solve"

    @property
    def net(self) -> SequenceModel:
        net = super().net
        assert isinstance(net, SequenceModel)
        return net

    @property
    def names(self) -> list[str]:
        """What each id is called."""
        return list(self.spec["names"])

    def solve(self, prompt: str | Sequence[Any], limit: int | None = None) -> list[str] | list[list[str]]:
        """The answer to a problem, or to each of many, as symbols.

        Args:
            prompt: a text (split at blanks where it has some, else into characters), or a list of such problems,
                or of lists of symbols.
            limit: symbols in an answer at most; by default four times the longest prompt, and at least 16.

        Raises:
            UserError: a symbol that the model does not know.
        """
        many = not isinstance(prompt, str)
        texts = list(prompt) if many else [prompt]
        ids = [[START, *(self._id(s) for s in self._split(text)), ASK] for text in texts]
        longest = max((len(row) for row in ids), default=2) - 2
        made = self._answers(ids, limit or max(16, 4 * longest))
        names = self.names
        answers = [[names[i] for i in row if i >= FIRST] for row in made]
        return answers if many else answers[0]

    def score(self, sets: Sequence[Problems]) -> Scores:
        """Greedy answers to problems, one set a length, held against the known answers."""
        token, exact = [], []
        for given in sets:
            wanted = [row[row != PAD].tolist() for row in given.answers]
            prompts = [row[row != PAD].tolist() for row in given.prompts]
            made = self._answers(prompts, max(map(len, wanted)))
            pairs = [(self._judged(w), self._judged(m)) for w, m in zip(wanted, made, strict=True)]
            # The end token itself is no symbol: it counts in the exact match alone.
            token.append(np.mean([_share(w[:-1], m) for w, m in pairs]))
            exact.append(np.mean([w == m for w, m in pairs]))
        lengths = np.array([int(given.lengths[0]) for given in sets])
        return Scores(lengths, np.array(token), np.array(exact))

    @torch.inference_mode()
    def log_likelihood(self, sets: Sequence[Problems]) -> float:
        """Mean log probability of a token of the known answers, in nats (0 is best); the end token counts."""
        total, count = 0.0, 0
        for given in sets:
            ids, _, counted = (torch.from_numpy(x).to(self.device) for x in given.sequences())
            loss = causal(self.net.eval()(ids, Mask.causal()), ids, counted)
            number = int(counted.sum())
            total, count = total - float(loss.value) * number, count + number
        return total / count

    def _answers(self, prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        made = generate(self.net.eval(), prompts, limit, stop=[END], pad=PAD)
        return [row[:n] for row, n in zip(made.ids.tolist(), made.lengths.tolist(), strict=True)]

    def _judged(self, answer: list[int]) -> list[int]:
        """What stands behind the last marker; all of it where there is no marker."""
        marker = self.spec.get("marker")
        if marker is None:
            return answer
        known = self.names.index(marker)
        places = [i for i, symbol in enumerate(answer) if symbol == known]
        return answer[places[-1] + 1 :] if places else []

    def _split(self, text: str | Sequence[Any]) -> list[str]:
        if not isinstance(text, str):
            return [str(symbol) for symbol in text]
        return text.split() if " " in text.strip() else list(text)

    def _id(self, symbol: str) -> int:
        names = self.names
        if symbol not in names[FIRST:]:
            known = names[FIRST:]
            shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
            raise UserError(f"unknown symbol {symbol!r}.{did_you_mean(symbol, known)} The model knows: {shown}")
        return names.index(symbol, FIRST)


def _share(wanted: Sequence[int], made: Sequence[int]) -> float:
    if not wanted:
        return 1.0
    return sum(w == m for w, m in zip(wanted, made, strict=False)) / len(wanted)
