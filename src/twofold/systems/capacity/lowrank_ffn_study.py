"""How loss falls with training operations, dense and structured; and what low rank costs trained weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from twofold import progress
from twofold.catalog import Steps
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.costs import parameters, training_flops
from twofold.measure.scaling import fit_power_law
from twofold.surgery import blocks, factorise
from twofold.tasks import Model, Plot, Report, Table, task
from twofold.tasks.language import LanguageData, LanguageModel, LanguageSystem

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Ranks at which trained weights are looked at, as shares of the full one."""


@dataclass(frozen=True)
class Form:
    """One decoder of the study: what it is, the width of the dense one beside it, and how it is made."""

    name: str
    dim: int
    system: LanguageSystem


@dataclass(frozen=True)
class Trained:
    """What came of one: training operations, weights, bits per byte of unseen text."""

    form: Form
    width: int
    flops: float
    parameters: int
    bits: float


def scaling(forms: Sequence[Form], rows: Rows | None, tokens_per_weight: float, texts: int | None, seed: int) -> Report:
    """Trains every form and fits a power law to each name's.

    Decoders of one size see the same tokens: `tokens_per_weight` for each weight in the blocks of the first form of
    that size.
    """
    job = task("language")
    data = job.read(job.default_data if rows is None else rows)
    assert isinstance(data, LanguageData)
    steps: dict[int, int] = {}
    trained = []
    with progress.stage("decoders", total=len(forms)) as stage:
        for form in forms:
            given = form.system
            if form.dim not in steps:
                weights = sum(parameters(block) for _, block in blocks(given.network(1)))
                steps[form.dim] = max(10, math.ceil(tokens_per_weight * weights / (given.batch * given.length)))
            model = given.fit(data, Steps(steps[form.dim]), seed=seed).model
            assert isinstance(model, LanguageModel)
            tokens = steps[form.dim] * given.batch * given.length
            spent = training_flops(model.net, given.length, tokens)
            bits = job.evaluate(model, data, texts=texts).figures["bits_per_byte"]
            trained.append(Trained(form, model.net.dim, spent, parameters(model.net), bits))
            stage.advance(note=f"{form.name}, {form.dim}: {bits:.3f}")
    return _report(trained)


def _report(trained: Sequence[Trained]) -> Report:
    figures: dict[str, float] = {}
    laws, lines = [], {}
    for name in dict.fromkeys(t.form.name for t in trained):
        own = [t for t in trained if t.form.name == name]
        key = name.replace(" ", "_")
        for t in own:
            figures[f"bits_per_byte.{key}.{t.form.dim}"] = t.bits
        lines[name] = tuple((t.flops, t.bits) for t in own)
        law = fit_power_law([t.bits for t in own], [t.flops for t in own])
        figures[f"exponent.{key}"] = law.exponent.mean
        figures[f"exponent_low.{key}"], figures[f"exponent_high.{key}"] = law.exponent.low, law.exponent.high
        laws.append((name, law.exponent.mean, law.exponent.low, law.exponent.high, len(own)))
    columns = ("form", "dense width", "width", "weights", "training operations", "bits per byte")
    runs = tuple((t.form.name, t.form.dim, t.width, t.parameters, t.flops, t.bits) for t in trained)
    tables = (
        Table("Decoders", columns, runs),
        Table("Scaling exponents", ("form", "exponent", "low", "high", "points"), tuple(laws)),
    )
    plot = Plot("Bits per byte by training operations", "training operations", "bits per byte", lines)
    text = (
        "Bits per byte fall as training operations to the power of minus the exponent. Its 95 % interval resamples the "
        "points; with so few of them it is rough."
    )
    return Report(figures, tables, (plot,), text)


def factorised(model: Model, rows: Rows | None, texts: int | None) -> Report:
    """Bits per byte of a trained model whose feed-forward matrices are cut to lower rank, with no training after.

    Raises:
        UserError: the model is no language model.
    """
    if not isinstance(model, LanguageModel):
        raise UserError(f"lowrank-ffn factorises language models, and this is one for {model.task}; give another")
    job = task("language")
    data = job.read(job.default_data if rows is None else rows)
    whole = sum(parameters(block.channel) for _, block in blocks(model.net) if block.channel is not None)
    figures, found = {}, []
    with progress.stage("ranks", total=1 + len(SHARES)) as stage:
        for share in (None, *SHARES):
            net = model.net if share is None else factorise(model.net, share)
            kept = sum(parameters(block.channel) for _, block in blocks(net) if block.channel is not None) / whole
            judged = LanguageModel(net, model.tokenizer, model.spec)
            bits = job.evaluate(judged, data, texts=texts).figures["bits_per_byte"]
            name = "as it is" if share is None else f"{share:g}"
            figures[f"bits_per_byte.{name.replace(' ', '_')}"] = bits
            found.append((name, kept, bits))
            stage.advance(note=f"{name}: {bits:.3f}")
    columns = ("rank, of the full", "weights, of the dense", "bits per byte")
    table = Table("Trained weights at lower rank", columns, tuple(found))
    points = tuple((kept, bits) for _, kept, bits in found[1:])
    plot = Plot("Bits per byte by what is kept", "weights, of the dense", "bits per byte", {"factorised": points})
    return Report(figures, (table,), (plot,), "Feed-forward matrices cut by singular values, without training after.")
