"""What a language model's experts do with the tokens of a text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from twofold.errors import UserError
from twofold.measure.experts import ExpertUse, expert_report
from twofold.parts import Mask
from twofold.tasks import HeatMap, Report, Table
from twofold.tasks.language import LanguageModel


def experts_of(model: LanguageModel, texts: Sequence[str], bits: float) -> Report:
    """How evenly each layer's experts are used on texts, and how much a token's type says about its expert.

    Args:
        model: a language model with experts.
        texts: what it reads; each as far as its context goes.
        bits: per byte, of these texts, for the report.

    Raises:
        UserError: no experts, or no text.
    """
    rows = [torch.tensor([[model.start, *ids][: model.length]]) for ids in model.tokens(texts)]
    if not rows:
        raise UserError("there is no unseen text to report on; give more text")

    def read() -> None:
        for ids in rows:
            model.net.states(ids.to(model.device), mask=Mask.causal())

    model.net.eval()
    uses = expert_report(model.net, read, torch.cat([ids[0] for ids in rows]))
    figures = {"bits_per_byte": bits}
    for number, use in enumerate(uses):
        figures |= {f"entropy.{number}": use.entropy, f"specialisation.{number}": use.specialisation or 0.0}
    return Report(figures, (_table(uses),), _maps(uses), _TEXT)


def _table(uses: Sequence[ExpertUse]) -> Table:
    columns = ("mixture", "experts", "busiest", "idlest", "evenness", "over capacity", "known from the token")
    return Table(
        "Use of experts",
        columns,
        tuple(
            (u.name, len(u.load), float(u.load.max()), float(u.load.min()), u.entropy, u.dropped, u.specialisation)
            for u in uses
        ),
    )


def _maps(uses: Sequence[ExpertUse]) -> tuple[HeatMap, ...]:
    most = max(len(use.load) for use in uses)
    values = tuple(tuple(float(v) for v in use.load) + (None,) * (most - len(use.load)) for use in uses)
    columns = tuple(str(expert) for expert in range(most))
    return (HeatMap("Share of choices", "expert", "mixture", columns, tuple(u.name for u in uses), values),)


_TEXT = (
    "Evenness is the entropy of the shares over the most that is possible. What is known from the token is the mutual "
    "information of token and first choice over the entropy of first choices; with few texts it is too high, since a "
    "token that is seen once tells everything."
)
