"""Text systems train with any of many backbones by name: search, sparse search and classifying."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from twofold import api
from twofold.catalog import Steps, configure, index
from twofold.errors import UserError
from twofold.parts import SSD, Hydra, Mixer
from twofold.parts.named import names
from twofold.tasks import backbones, task
from twofold.tasks.backbone_names import as_arm, entries, fix, layered
from twofold.tasks.examples import rows_for, small_rows

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
        ("t55", "unknown backbone 't55'. Did you mean 't5-4x128'?"),
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


@pytest.mark.parametrize("given", ["hydrra-2x64", "t55-2x64", "minilmm"])
def test_where_layers_are_wanted_only_names_of_layers_are_suggested(given: str) -> None:
    with pytest.raises(UserError, match="Give a mixer or a system with layers x width") as refused:
        backbones.pattern(given, 64, 2)
    assert len(str(refused.value)) < 240


@pytest.mark.parametrize(("given", "whole"), [("t5-2x64", "t5-2x64"), ("bert", "bert-4x128"), ("minilm", "minilm")])
def test_a_whole_network_where_layers_are_wanted_is_told_what_takes_it(given: str, whole: str) -> None:
    with pytest.raises(UserError, match="whole network") as refused:
        backbones.pattern(given, 64, 4)
    assert f"--set backbone={whole})" in str(refused.value)
    assert f"--set start_from={whole})" in str(refused.value)
    assert backbones.check(whole, 64) is not None or whole == "minilm"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mamba-2x64", "s6-2x64"),
        ("mamba-2-2x64", "ssd-2x64"),
        ("mamba2-2x64", "ssd-2x64"),
        ("strided-2x64", "strided-attention-2x64"),
    ],
)
def test_what_a_mixer_is_called_elsewhere_and_the_beginning_of_a_name_are_known(given: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean '{meant}'\\?"):
        backbones.pattern(given, 64, 2)


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


TAKING = {
    card["id"]: option
    for card in index.select(kind="model")
    for option in ("backbone", "start_from")
    if option in card["options"]
}
ODD = ("hydra-1x64", "combiner-1x32", "bert-1x32")  # looks ahead, knows no prefixes, reads no more than it is told


@pytest.mark.parametrize("id", TAKING)
@pytest.mark.parametrize("backbone", ODD)
def test_what_training_cannot_do_is_refused_before_it(id: str, backbone: str) -> None:
    small = replace(configure(id).small(), **{TAKING[id]: backbone})
    data = task(small.card.tasks[0]).read(rows_for(small))
    try:
        small.check()
        model = small.start(data, 0)
        batches = small.batches(model, data, 0)
    except UserError:
        return
    model.net.train()
    for step in range(6):
        assert small.loss(model.net, batches(step, step / 6)).value.isfinite()


def why(name, longest: int) -> str:
    """Why a backbone is refused for inputs of so many tokens; empty: it is not."""
    try:
        backbones.check(name, longest)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", layered())
def test_sizes_that_nobody_gave_fit_into_the_shortest_inputs(name: str) -> None:
    long = why(name, 512)
    for longest in range(1, 10):
        assert why(name, longest) in ("", long)
    if not long:
        torch.manual_seed(0)
        chosen = backbones.choose(name + "-4x64", ["a text"], 0, 2, vocab=300)
        assert chosen.model.states(torch.zeros(1, 2, dtype=torch.long)).isfinite().all()


def test_sizes_that_were_given_are_refused_where_inputs_are_shorter() -> None:
    assert "use window=2 or less" in why([{"mixer": {"kind": "local-attention", "window": 5}}], 2)


AHEAD = {name for name, kind in names(Mixer).items() if kind.causal == "no"}


@pytest.mark.parametrize("name", [*sorted(AHEAD), "combiner", "attention", "local-attention", "ssd", "yoco"])
def test_what_writes_takes_no_mixer_that_looks_ahead(name: str) -> None:
    system = configure("unixcoder", backbone=f"{name}-2x32")
    if name not in AHEAD | {"combiner"}:
        return system.check()
    with pytest.raises(UserError, match=r"such as attention-2x128, or losses=\[masked, contrast\]"):
        system.check()
    replace(system, losses=("masked", "contrast")).check()


def test_a_layer_that_looks_ahead_is_found_in_a_pattern() -> None:
    assert len(AHEAD) >= 7
    with pytest.raises(UserError, match=r"mixer hydra always looks ahead.* such as attention-2x128$"):
        configure("unixcoder", backbone=[{}, {"mixer": "hydra"}], losses=["causal"]).check()


def test_a_graft_has_been_trained() -> None:
    with pytest.raises(UserError, match="graft=random-blocks-1x64 was never trained"):
        configure("codet5p", graft="random-blocks-1x64").check()
    with pytest.raises(UserError, match="Did you mean 'tiny-decoder'"):
        configure("codet5p", graft="tinny-decoder").check()
    configure("codet5p", graft="tiny-decoder").check()


@pytest.mark.parametrize(
    "name", ["entp-2x32", "minilmm-2x64", "tiny-encoderr-2x64", "bertt-2x64", "hydrra", "mamba-2x64"]
)
def test_only_what_can_be_named_is_suggested(name: str) -> None:
    said = why(name, 64)
    assert said
    for meant in re.findall(r"'([^']+)'", said.partition(" Give ")[0])[1:]:
        assert why(meant, 64) == "", meant


def test_show_suggests_a_size_too() -> None:
    with pytest.raises(UserError, match=r"unknown backbone 'bertt-2x64'\. Did you mean 'bert-2x64'"):
        api.show("bertt-2x64")


@pytest.mark.parametrize("name", ["entp-2x32", "mblm-2x32"])
def test_systems_whose_layers_do_not_stand_by_themselves_say_so(name: str) -> None:
    with pytest.raises(UserError, match=r"is a system and no backbone: .*twofold show (entp|mblm)"):
        api.show(name)
    assert "is a system and no backbone" in why(name, 64)


def experts(count: int) -> list[dict]:
    router, each = {"kind": "top-k", "experts": count, "k": 2}, {"kind": "experts", "count": count, "hidden": 8}
    return [{"mixer": "attention", "channel": {"kind": "moe", "router": router, "experts": each}}]


@pytest.mark.parametrize(
    ("id", "count", "sizes"),
    [
        ("gtr", 16, {"query_tokens": 4, "document_tokens": 8, "batch": 4}),
        ("rankt5", 100, {"query_tokens": 4, "document_tokens": 8, "batch": 1, "candidates": 2}),
        ("linear-head", 16, {"tokens": 8, "batch": 4}),
        ("m2-bert-loco", 16, {"query_tokens": 4, "document_tokens": 8, "batch": 4}),
    ],
)
def test_experts_share_the_tokens_of_a_batch(id: str, count: int, sizes: dict[str, int], data) -> None:
    small = replace(configure(id).small(), backbone=experts(count), **sizes)
    small.check()
    fitted = small.fit(data[small.card.tasks[0]], Steps(1))
    if id == "gtr":  # of one short query most experts see nothing
        assert fitted.model.encode(["a"], side="query").score(fitted.model.encode(["a"])).isfinite().all()
    with pytest.raises(UserError, match="use at most"):
        replace(small, backbone=experts(10_000)).check()


@pytest.mark.parametrize("name", ["ssd", "hydra", "two-way", "differential"])
@pytest.mark.parametrize("dim", [16, 30, 33, 41, 127, 130])
def test_state_spaces_of_any_width_have_heads_that_fit(name: str, dim: int) -> None:
    net = backbones.check(f"{name}-2x{dim}", 64)
    assert net is not None
    sizes = {part.head_dim for part in net.modules() if isinstance(part, SSD | Hydra)}
    assert sizes
    assert all(2 * dim % size == 0 and size > 2 for size in sizes)


@pytest.mark.parametrize("dim", [32, 64, 96, 128])
def test_state_spaces_keep_the_heads_they_have_where_these_fit(dim: int) -> None:
    assert entries("ssd", dim, 2) == [{"mixer": "ssd", "times": 2}]
    assert entries("differential", dim, 1) == [{"mixer": {"kind": "differential", "inner": "ssd", "layer": 1}}]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("attention-2x30", {"heads": 4}),
        ("attention-2x33", {}),
        ("combiner-2x30", {"heads": 6}),
        ("diff-mamba-2x33", {}),
        ("abbie-1x32", {}),
        ("masformer-1x32", {}),
        ("yoco-1x32", {}),
    ],
)
def test_a_sized_name_that_does_not_fit_is_refused_with_one_that_does(name: str, options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"; use [a-z-]+-\d+x\d+") as refused:
        backbones.pattern(name, 128, 4, **options)
    advice = str(refused.value).partition("; use ")[2].split(" or ")
    backbones.pattern(advice[0], 128, 4, **options).network(260, max_len=64)
    for heads in advice[1:]:
        backbones.pattern(name, 128, 4, heads=int(heads.removeprefix("heads="))).network(260, max_len=64)


def test_a_sized_name_goes_on_being_refused_where_no_size_helps() -> None:
    with pytest.raises(UserError, match="conv") as refused:
        backbones.pattern("attention-2x32", 128, 4, conv=64, max_len=32)
    assert "; use attention" not in str(refused.value)
