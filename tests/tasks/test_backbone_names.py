"""Text systems train with any of many backbones by name: search, sparse search and classifying."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.tasks import backbones, task
from twofold.tasks.backbone_names import as_arm, fix, layered
from twofold.tasks.examples import small_rows

NAMES = (
    "attention-1x32",
    "bert-1x32",
    "causal-conv-1x32",
    "centred-conv-1x32",
    "diff-mamba-2x64",
    "encoder-1x32",
    "hydra-1x64",
    "hyena-1x32",
    "laughing-hyena-2x32",
    "masformer-2x32",
    "modernbert-1x32",
    "s6-1x32",
    "shaped-attention-1x32",
    "simplified-transformer-1x32",
    "sparse-transformer-2x32",
    "ssd-1x64",
    "swan-gpt-2x32",
    "t5-1x32",
    "urpe-1x32",
)
SYSTEMS = {
    "gtr": ("search", "backbone"),
    "splade-plus": ("search", "backbone"),
    "modernbert": ("classify", "start_from"),
}


@pytest.fixture(scope="module")
def data():
    return {name: task(name).read(small_rows(80)) for name in ("search", "classify")}


@pytest.mark.parametrize("id", SYSTEMS)
@pytest.mark.parametrize("backbone", NAMES)
def test_text_systems_train_with_it(id: str, backbone: str, data) -> None:
    assert len(NAMES) >= 15
    kind, option = SYSTEMS[id]
    fitted = replace(configure(id).small(), **{option: backbone}).fit(data[kind], Steps(1))
    dims = {int(backbone.rpartition("x")[2])}
    assert any(part.dim in dims for part in fitted.model.net.modules() if hasattr(part, "embedding"))
    assert fitted.history.steps == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("hydrra-2x64", "unknown backbone 'hydrra-2x64'. Did you mean 'hydra-2x64'? Give a preset, mixer or system"),
        ("t55", "unknown backbone 't55'. Did you mean 't5'?"),
        ("minilmm", "Did you mean 'minilm'?"),
        ("models/mine", "unknown backbone 'models/mine'. Give a preset, mixer or system"),
    ],
)
def test_an_unknown_name_gets_the_nearest_and_the_command_that_lists_all(given: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        backbones.choose(given, ["a text"], 0, 32)
    assert says in str(refused.value)
    assert str(refused.value).endswith("; all names: twofold list --backbones")
    assert len(str(refused.value)) < 240


@pytest.mark.parametrize("given", ["hydrra-2x64", "t5-2x64", "minilm"])
def test_where_layers_are_wanted_only_names_of_layers_are_suggested(given: str) -> None:
    with pytest.raises(UserError, match="Give a mixer or a system with layers x width") as refused:
        backbones.pattern(given, 64, 2)
    assert len(str(refused.value)) < 240


def test_every_name_is_listed_once_with_what_it_is() -> None:
    every = backbones.every()
    ids = [each["id"] for each in every]
    assert len(ids) == len(set(ids))
    assert {*layered(), "t5", "tiny-encoder", "tiny-instructed", "minilm"} <= set(ids)
    assert all(each["summary"] for each in every)


@pytest.mark.parametrize(
    ("name", "kind", "arm"),
    [
        ("ssd", "language", "backbone(backbone=ssd-4x128)"),
        ("ssd-2x64", "solve", "backbone(backbone=ssd-2x64)"),
        ("hydra", "represent", "masked-backbone(backbone=hydra-4x128)"),
        ("hydra", "search", "gtr(backbone=hydra-4x128)"),
        ("attention", "classify", "modernbert(start_from=attention-4x128)"),
        ("hydra", "language", None),
        ("cross-attention", "language", None),
        ("ssd", "segment", None),
        ("sdd", "language", None),
    ],
)
def test_a_backbone_as_an_arm(name: str, kind: str, arm: str | None) -> None:
    assert as_arm(name, kind) == arm
    if arm is not None:
        id, option = arm.rstrip(")").split("(")
        assert configure(id, **dict([option.split("=")])).trains
        assert kind in configure(id).card.tasks


def test_one_that_looks_ahead_is_told_from_one_that_is_no_backbone() -> None:
    assert "it looks ahead" in fix("hydra", "language")
    assert '--systems "backbone(backbone=ssd-4x128)"' in fix("hydra", "language")
    assert fix("bm25", "language") == "leave it out of --systems"
