"""What is longer than the text, wider than its surroundings or without tokens is refused when the network is made."""

from __future__ import annotations

import re

import pytest

from twofold.catalog import configure
from twofold.errors import UserError, typed
from twofold.parts import Mixer, Pattern
from twofold.parts.fitting import check_heads, experts_in, usual_heads
from twofold.parts.mixers.recurrent import RingConv
from twofold.parts.named import names


def network(layers, max_len=32, dim=32, **options):
    return Pattern.read(layers, dim=dim, heads=2).network(19, max_len=max_len, **options)


STRETCHES = {
    "window": {"window": 33},
    "local-attention": {"window": 33},
    "block-local": {"width": 33},
    "random-blocks": {"width": 33, "count": 2},
    "column-attention": {"stride": 33},
    "strided-attention": {"stride": 33},
    "summary-attention": {"stride": 33, "summary": 1},
    "fixed-attention": {"stride": 33, "summary": 1},
    "combiner": {"width": 33},
    "causal-conv": {"kernel": 33},
    "silu-conv": {"kernel": 33},
    "centred-conv": {"kernel": 33},
    "separable-conv": {"kernel": 33},
    "monarch-conv": {"kernel": 33},
    "ssd": {"kernel": 33, "head_dim": 8},
    "s6": {"kernel": 33},
    "hydra": {"kernel": 33, "head_dim": 8},
    "two-way": {"inner": {"kind": "s6", "kernel": 33}},
    "differential": {"inner": {"kind": "s6", "kernel": 33}, "layer": 1},
}


def changed(given, new):
    """Plain data with other values for some options, at any depth."""
    if not isinstance(given, dict):
        return given
    return {key: new.get(key, changed(value, new)) for key, value in given.items()}


def advised(text) -> dict[str, int]:
    """The options that a message names behind `use`."""
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", text[text.index("; use ") :])}


@pytest.mark.parametrize("longest", [32, 31, 7])
@pytest.mark.parametrize("name", STRETCHES)
def test_stretches_longer_than_the_text_are_refused(name, longest) -> None:
    given = {"kind": name, **STRETCHES[name]}
    with pytest.raises(UserError, match=f"of 33 is longer than the longest input, {longest}; use") as refused:
        network([{"mixer": given}], max_len=longest)
    assert network([{"mixer": given}], max_len=33)
    assert network([{"mixer": given}], max_len=None)
    new = advised(str(refused.value))
    assert network([{"mixer": changed(given, new)}], max_len=longest)
    with pytest.raises(UserError):  # and it is the largest of these
        network([{"mixer": changed(given, {option: size + 1 for option, size in new.items()})}], max_len=longest)


@pytest.mark.parametrize("name", ["summary-attention", "fixed-attention"])
def test_a_shorter_block_has_fewer_summaries(name) -> None:
    given = {"kind": name, "stride": 33, "summary": 20}
    with pytest.raises(UserError, match="use stride=8 with summary=7 or less"):
        network([{"mixer": given}], max_len=8)
    assert network([{"mixer": {**given, "stride": 8, "summary": 7}}], max_len=8)
    with pytest.raises(UserError, match="1 summary positions in blocks of 1; use stride=2 or more"):
        network([{"mixer": {**given, "stride": 1, "summary": 1}}], max_len=8)


@pytest.mark.parametrize("kernel", [2, 32])
def test_both_odd_neighbours_of_an_even_kernel_are_named(kernel) -> None:
    with pytest.raises(UserError, match=f"use kernel={kernel - 1} or kernel={kernel + 1}"):
        network([{"mixer": {"kind": "centred-conv", "kernel": kernel}}])


@pytest.mark.parametrize(("positions", "kernel", "fits"), [(8, 9, [7]), (9, 11, [9]), (8, 4, [3, 5]), (1, 3, [1])])
def test_kernels_that_go_around_a_ring_are_named(positions, kernel, fits) -> None:
    advice = "use " + " or ".join(f"kernel={each}" for each in fits)
    with pytest.raises(UserError, match=f"{advice}$"):
        RingConv(2, positions, kernel)
    assert all(RingConv(2, positions, each) for each in fits)
    with pytest.raises(UserError, match=f"{advice}$"):
        configure("wave-rnn", positions=positions, kernel=kernel).check()


def test_every_mixer_with_such_a_size_is_among_them() -> None:
    sizes = {"window", "width", "stride", "kernel"}
    assert set(STRETCHES) <= set(names(Mixer))
    for name, cls in names(Mixer).items():
        if cls.__module__.startswith("twofold.") and sizes & set(cls.__init__.__annotations__):
            assert name in STRETCHES or name in ("ring-conv", "hyena"), name  # a ring, and a kernel inside of maps


@pytest.mark.parametrize("name", ["window", "combiner", "causal-conv", {"kind": "ssd", "head_dim": 8}])
def test_sizes_that_nobody_gave_may_reach_further(name) -> None:
    assert network([{"mixer": name}], max_len=3)


def test_a_convolution_in_front_is_no_longer_than_the_text() -> None:
    with pytest.raises(UserError, match="its conv of 9 is longer than the longest input, 8; use conv=8"):
        network([{"conv": 9}], max_len=8)


@pytest.mark.parametrize(
    ("system", "option"),
    [
        ("yoco", "window"),
        ("swan-gpt", "window"),
        ("masformer", "width"),
        ("combiner", "width"),
        ("sparse-transformer", "stride"),
    ],
)
def test_systems_refuse_them_too_and_have_defaults_that_fit(system, option) -> None:
    sizes = {"dim": 32, "heads": 2, "layers": 4, "length": 16}
    with pytest.raises(UserError, match=f"{system}.*{option} of 17 is longer.*use {option}=16"):
        configure(system, **sizes, **{option: 17}).network(19)
    assert configure(system, **sizes).network(19)
    assert configure(system, **sizes, **{option: 16}).network(19)


def test_readers_of_a_shared_cache_take_no_convolution_of_the_pattern() -> None:
    layers = [{"mixer": {"kind": "ssd", "head_dim": 8}}, {"shared": [{}, {}]}]
    net = Pattern.read({"layers": layers, "dim": 32, "heads": 2, "conv": 3}).network(19, causal=True)
    assert [type(layer).__name__ for layer in net.stack.layers] == ["Block", "SharedCache"]


def test_no_position_is_none_for_mixers_without_queries_too() -> None:
    assert network([{"mixer": "causal-conv", "position": "no-position"}])


def test_the_longest_of_stretches_with_the_same_name_counts() -> None:
    inner = {"kind": "causal-conv", "kernel": 40}
    for given in ({"inner": inner, "back": "silu-conv"}, {"inner": "silu-conv", "back": inner}):
        with pytest.raises(UserError, match="kernel of 40 is longer"):
            network([{"mixer": {"kind": "two-way", **given}}])


@pytest.mark.parametrize(("dim", "heads"), [(16, 1), (64, 2), (96, 3), (100, 2), (128, 4), (33, 1), (768, 24)])
def test_nobody_has_to_know_how_many_heads_divide_a_width(dim, heads) -> None:
    assert usual_heads(dim) == heads


MIXTURE = {
    "kind": "moe",
    "router": {"kind": "top-k", "experts": 9, "k": 1},
    "experts": {"kind": "experts", "count": 9, "hidden": 4},
}


def test_more_experts_than_tokens_are_refused() -> None:
    with pytest.raises(UserError, match=r"9 experts are more than the 8 tokens.*use at most 8 experts"):
        network([{"channel": MIXTURE}], max_len=8)
    assert network([{"channel": MIXTURE}], max_len=9)
    nine = {**MIXTURE, "router": {**MIXTURE["router"], "k": 9}}
    with pytest.raises(UserError, match="use at most 8 experts with k=8"):
        network([{"channel": nine}], max_len=8)
    assert network([{"channel": nine}], max_len=9)
    assert network([{"channel": MIXTURE}], max_len=8, tokens=16)
    halves = {"kind": "multi-head", "heads": 2, "inner": {**MIXTURE, "router": {**MIXTURE["router"], "dim": 16}}}
    halves["inner"]["experts"] = {**MIXTURE["experts"], "dim": 16}
    assert network([{"channel": halves}], max_len=8)  # 16 halves of tokens
    with pytest.raises(UserError, match=r"9 experts are more than the 8 parts of tokens.*use at most 8 experts"):
        network([{"channel": halves}], max_len=4)
    assert experts_in(halves, heads=4) == (9, 2)
    assert experts_in({key: value for key, value in halves.items() if key != "heads"}, heads=4) == (9, 4)


def test_parts_of_tokens_count_where_the_pattern_gives_the_heads() -> None:
    inner = {**MIXTURE, "router": {**MIXTURE["router"], "dim": 16}, "experts": {**MIXTURE["experts"], "dim": 16}}
    assert network([{"channel": {"kind": "multi-head", "inner": inner}}], max_len=8)


@pytest.mark.parametrize(
    ("system", "options"),
    [
        ("moe-lm", {"experts": 10**9}),
        ("moe-lm", {"experts": 17}),
        ("mh-moe", {"experts": 1000}),
        ("deepspeed-moe", {"pyramid": (1, 17)}),
        ("smlp", {"experts": 32}),
    ],
)
def test_systems_count_the_tokens_of_a_batch(system, options) -> None:
    sizes = {"dim": 32, "layers": 2, "length": 8, "batch": 2}
    sizes |= {} if system == "smlp" else {"heads": 2}
    with pytest.raises(UserError, match=f"{system if system != 'smlp' else 'moe'}.*: .* experts are more than the"):
        configure(system, **sizes, **options).network(19)


@pytest.mark.parametrize(
    ("system", "options", "fits", "too_many"),
    [
        ("moe-lm", {"experts": 17}, {"experts": 16}, {"experts": 17}),
        ("moe-lm", {"experts": 10**9}, {"experts": 16}, {"experts": 17}),
        ("mh-moe", {"experts": 1000}, {"experts": 12}, {"experts": 13}),
        ("mh-moe", {"experts": 10**30, "token_heads": 4}, {"experts": 12}, {"experts": 13}),
        ("mh-moe", {"batch": 1}, {"experts": 6}, {"experts": 7}),  # the 8 that it has by default
        ("mh-moe", {"experts": 20, "k": 2, "router": "softmax-topk"}, {"experts": 14}, {"experts": 15}),
        (
            "deepspeed-moe",
            {"layers": 3, "pyramid": (4, 20, 30)},
            {"pyramid": [4, 16, 16]},
            {"pyramid": [4, 17, 16]},
        ),
        ("deepspeed-moe", {"batch": 1, "layers": 1, "pyramid": (9,)}, {"pyramid": [8]}, {"pyramid": [9]}),
    ],
)
def test_the_experts_that_are_advised_are_the_most_that_fit(system, options, fits, too_many) -> None:
    sizes = {"dim": 32, "layers": 2, "heads": 2, "length": 8, "batch": 2} | options
    ((option, most),) = fits.items()
    advice = f"use {option}={typed(most) if isinstance(most, list) else most} or less, or longer texts"
    with pytest.raises(UserError, match=re.escape(advice)):
        configure(system, **sizes).network(19)
    assert configure(system, **{**sizes, **fits}).network(19)
    with pytest.raises(UserError, match="experts are more than the"):
        configure(system, **{**sizes, **too_many}).network(19)


@pytest.mark.parametrize("system", ["moe-lm", "deepspeed-moe"])
def test_a_single_short_text_a_batch_has_room_for_the_usual_experts(system) -> None:
    assert configure(system, batch=1, length=8).network(19)


@pytest.mark.parametrize(("dim", "heads"), [(36, 4), (100, 3), (50, 4)])
@pytest.mark.parametrize(
    ("system", "options"),
    [
        ("swan-gpt", {}),
        ("yoco", {}),
        ("yoco", {"self_mixer": "retention"}),
        ("yoco", {"kv_heads": 1}),
        ("masformer", {}),
        ("abbie", {}),
        ("combiner", {}),
        ("simplified-transformer", {}),
        ("genai-math", {}),
        ("entp", {}),
        ("urpe", {}),
        ("sparse-transformer", {}),
        ("backbone", {"backbone": [{"mixer": "gated-retention"}]}),
        ("backbone", {"backbone": [{"mixer": "attention", "position": {"kind": "rope", "fraction": 0.4}}]}),
    ],
)
def test_widths_and_heads_that_systems_advise_are_their_options_and_can_be(system, options, dim, heads) -> None:
    sizes = {"dim": dim, "heads": heads, "layers": 4} | options
    try:
        configure(system, **sizes).network(19)
    except UserError as refused:
        text = str(refused)
        found = re.findall(r"(\w+)=(\d+)", text[text.index("; use ") :])
        assert found
        for option, value in found:
            assert configure(system, **{**sizes, option: int(value)}).network(19), (option, value)
    else:
        assert system in ("urpe", "sparse-transformer")  # no rotary positions: heads may be of odd width
        assert dim % heads == 0


def test_other_widths_inside_a_pattern_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"mixer ssd is 64 wide.* 32; leave its dim out, or write \{mixer: ssd, dim: 64"
    ):
        network([{"mixer": {"kind": "ssd", "dim": 64}}])
    with pytest.raises(UserError, match=r"channel mixer swiglu is 64 wide.*leave its dim out"):
        network([{"channel": {"kind": "swiglu", "dim": 64}}])
    assert network([{"mixer": "ssd", "dim": 64}])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": [{}], "heads": 0}, "heads is 0; it must be at least 1"),
        ({"layers": [{}], "hidden": 0}, "hidden is 0"),
        ({"layers": [{}], "conv": -1}, "conv is -1; it must be at least 0"),
        ([{"conv": "3"}], "conv is '3'; it must be a whole number"),
        ([{"conv": -2}], "conv is -2"),
        ([{"wiring": 3}], "wiring is 3; give a name"),
        ([{"wiring": ["pre"]}], "wiring is"),
        ([{"loop": [{}], "inject": "yes"}], "inject is 'yes'; give true or false"),
        ([{"times": 10_001}], "times is 10001; it must be a whole number from 1 to 10,000"),
        ({"mixer": "ssd"}, "this is one layer; put it into brackets"),
        ({"shared": [{}]}, "this is one layer; put it into brackets"),
        ([{"shared": [{"conv": 3}]}], "leave conv out"),
        ({"layers": [{"shared": [{}, {}]}], "conv": 3}, "leave conv out"),
    ],
)
def test_entries_of_another_kind_are_refused(given, message) -> None:
    with pytest.raises(UserError, match=message):
        network(given)


@pytest.mark.parametrize(("dim", "heads"), [(100, 3), (66, 4), (8, 5), (9, 5), (7, 7)])
def test_what_is_advised_for_heads_can_be(dim, heads) -> None:
    with pytest.raises(UserError, match="heads of even width") as refused:
        check_heads("decoder", dim, heads)
    advice = re.findall(r"(dim|heads)=(\d+)", str(refused.value).split("use ")[1])
    assert advice
    for option, value in advice:
        check_heads("decoder", **({"dim": dim, "heads": heads} | {option: int(value)}))
