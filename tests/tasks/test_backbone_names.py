"""Text systems train with any of many backbones by name: search, sparse search and classifying."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twofold.catalog import Steps, configure
from twofold.tasks import task
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
