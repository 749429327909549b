"""The task `language`: what a text costs, how it goes on, and its plain baselines."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from twofold import computing
from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.data.tokenizers import ByteTokenizer, Tokenizer, train_bpe
from twofold.errors import UserError
from twofold.parts import Mask, presets
from twofold.tasks import load, task
from twofold.tasks.language import GuidedBatch, GuidedWindows, LanguageData, LanguageModel, Windows

TEXTS = [
    "a short text",
    "ein längerer Text, mit Umlauten: äöü",
    "x",
    "the third text is the longest one of them all, is it not?",
]


def model(length: int = 16, tokenizer: Tokenizer | None = None) -> LanguageModel:
    torch.manual_seed(0)
    tokenizer = tokenizer or ByteTokenizer()
    net = presets.decoder(tokenizer.vocab_size, 32, 2, 4)
    return LanguageModel(net.eval(), tokenizer, {"length": length})


def rows(texts: list[str], splits: list[str] | None = None) -> Rows:
    return Rows.of({"text": texts}, name="texts", splits=splits)


def many(count: int = 60) -> Rows:
    return rows([f"{n} and {n} is {2 * n}, and that is all there is to say about {n}." for n in range(count)])


@torch.inference_mode()
def direct(given: LanguageModel, text: str) -> float:
    """The definition, for a text that fits the context: minus the log probability of its tokens after the start."""
    ids = torch.tensor([[given.start, *given.tokens([text])[0]]])
    chances = given.net(ids[:, :-1], mask=Mask.causal()).log_softmax(-1)
    return -float(chances.gather(-1, ids[:, 1:, None]).sum())


def test_a_score_is_the_cost_of_every_token_in_utf8_bytes() -> None:
    given = model(length=128)
    score = given.score(TEXTS)
    assert score.nats == pytest.approx([direct(given, text) for text in TEXTS], rel=1e-5)
    assert score.bytes.tolist() == [len(text.encode()) for text in TEXTS]
    assert score.bits_per_byte == pytest.approx(score.nats.sum() / math.log(2) / score.bytes.sum())
    assert score.each == pytest.approx(score.nats / math.log(2) / score.bytes)


@pytest.mark.parametrize("stride", [None, 1, 5, 16])
@torch.inference_mode()
def test_long_texts_are_read_in_windows_and_each_token_counts_once(stride: int | None) -> None:
    given, text = model(length=16), TEXTS[3]
    ids = [given.start, *text.encode()]
    step = stride or 8
    expected, reached = 0.0, 0
    for begin in range(0, len(ids), step):
        window = torch.tensor([ids[begin : begin + 17]])
        if begin + window.shape[1] - 1 <= reached:
            break
        chances = given.net(window[:, :-1], mask=Mask.causal()).log_softmax(-1)
        for place in range(reached - begin, window.shape[1] - 1):
            expected -= float(chances[0, place, window[0, place + 1]])
        reached = begin + window.shape[1] - 1
    assert reached == len(ids) - 1
    assert given.score([text], stride=stride).total == pytest.approx(expected, rel=1e-5)


def test_byte_and_subword_models_compare() -> None:
    """A network that knows nothing pays log2(vocabulary) bits a token, whatever a token is."""
    text = "the same text, again and again and again"
    for tokenizer in (ByteTokenizer(), train_bpe([text] * 3, 300)):
        given = model(64, tokenizer)
        with torch.no_grad():
            given.net.embedding.tokens.weight.zero_()  # type: ignore[union-attr, operator]
        expected = len(given.tokens([text])[0]) * math.log2(tokenizer.vocab_size) / len(text.encode())
        assert given.score([text]).bits_per_byte == pytest.approx(expected, rel=1e-5)


def test_generation_continues_texts() -> None:
    given = model(length=32)
    one, two = given.generate(["abc", "längere Vorgabe"], limit=8)
    assert one == given.generate("abc", limit=8)
    assert two == given.generate("längere Vorgabe", limit=8)
    # What does not fit loses its beginning: only the last 32 − 8 − 1 bytes matter.
    assert given.generate("z" * 40 + "q" * 23, limit=8) == given.generate("q" * 23, limit=8)
    drawn = given.generate("abc", limit=8, temperature=1.0, seed=1)
    assert drawn == given.generate("abc", limit=8, temperature=1.0, seed=1)
    assert drawn != given.generate("abc", limit=8, temperature=1.0, seed=2)


def test_bad_requests_are_refused() -> None:
    given = model(length=32)
    with pytest.raises(UserError, match="text 2 is empty"):
        given.score(["a", ""])
    with pytest.raises(UserError, match="stride is 33"):
        given.score(["a"], stride=33)
    with pytest.raises(UserError, match="32 tokens cannot be added; give from 1 to 31"):
        given.generate("a", limit=32)
    with pytest.raises(UserError, match="temperature is -1"):
        given.generate("a", limit=8, temperature=-1)
    with pytest.raises(UserError, match="top-p lies in"):
        given.generate("a", limit=8, temperature=1.0, top_p=2.0)
    assert given.score(["a lone \ud800 surrogate"]).bytes.tolist() == [len("a lone ") + 3 + len(" surrogate")]


def test_windows_cover_the_texts_in_order_and_depend_on_the_step_alone() -> None:
    texts = ["abcdef", "ghi"]
    windows = Windows(ByteTokenizer(), texts, length=3, batch=3, seed=0)
    stream = [257, *b"abcdef", 257, *b"ghi"]
    assert windows.windows.flatten().tolist() == stream[:9]
    assert torch.equal(windows(5, 0.1).ids, windows(5, 0.9).ids)
    assert sorted(windows(0, 0.0).ids[:, 0].tolist()) == sorted(stream[:9:3])
    with pytest.raises(UserError, match="give more text"):
        Windows(ByteTokenizer(), ["a"], length=8, batch=1, seed=0)


def test_data_comes_from_the_column_text() -> None:
    data = LanguageData.from_rows(rows(["a", "b", "c", "d"], ["train", "train", "validation", "test"]))
    assert data.part("train") == ["a", "b"]
    assert data.part("test") == ["d"]
    with pytest.raises(UserError, match="text"):
        LanguageData.from_rows(Rows.of({"query": ["a"]}))
    whole = LanguageData.from_rows(many())
    assert set(whole.parts) == {"train", "validation", "test"}
    cut = whole.cut(0.5)
    assert set(cut.texts) < set(whole.texts)
    assert cut.texts == whole.cut(0.5).texts


def test_the_decoder_learns_and_comes_back_from_its_folder(tmp_path: Path) -> None:
    work = task("language")
    data = work.read(many())
    system = configure("decoder", dim=32, layers=1, length=32, batch=4, lr=1e-2)
    before = work.evaluate(system.start(data, 0), data)
    fitted = system.fit(data, Steps(30), seed=0)
    after = work.evaluate(fitted.model, data)
    assert after.figures["bits_per_byte"] < 0.6 * before.figures["bits_per_byte"]
    assert after.items.shape == (len(data.part("test")),)
    again = load(fitted.model.save(tmp_path / "model"))
    assert work.evaluate(again, data).figures == after.figures
    assert again.generate("1 and", limit=8) == fitted.model.generate("1 and", limit=8)  # type: ignore[attr-defined]
    serve, requests = work.requests(again, data)
    assert serve(requests[0]).bytes.shape == (1,)


def test_a_decoder_over_learned_pieces() -> None:
    data = task("language").read(many())
    model = configure("decoder", dim=32, layers=1, tokenizer="bpe", vocab=300).start(data, 0)
    assert model.tokenizer.vocab_size <= 300
    with pytest.raises(UserError, match="does not divide into 4 heads"):
        configure("decoder", dim=36).start(data, 0)


def test_xz_costs_what_the_text_adds_to_the_context(tmp_path: Path) -> None:
    data = LanguageData.from_rows(many())
    fitted = configure("xz", context=2000).fit(data, Steps(1)).model
    text = data.part("test")[0]
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    whole, alone = (
        len(lzma.compress(given, format=lzma.FORMAT_RAW, filters=filters))
        for given in (fitted.context + text.encode(), fitted.context)
    )
    assert fitted.score([text]).each == pytest.approx([8 * (whole - alone) / len(text)])
    assert len(fitted.context) == 2000
    plain = configure("xz", context=0).fit(data, Steps(1)).model
    assert fitted.score(data.part("test")).bits_per_byte < 0.6 * plain.score(data.part("test")).bits_per_byte
    again = load(fitted.save(tmp_path / "xz"))
    assert np.array_equal(again.score([text]).nats, fitted.score([text]).nats)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="only measures"):
        again.generate("a")  # type: ignore[attr-defined]


def test_generated_text_does_not_depend_on_the_form_of_the_network() -> None:
    given = model(length=128)
    steps = given.generate("abc", 40)  # long enough to be made ready for steps
    alone = given.generating(1, 40)
    assert alone is not given.net
    assert given.generating(1, 40) is alone
    assert given.generating(5, 40) is given.net
    assert given.generate(["abc", "abc", "abc"], 40) == [steps] * 3
    with torch.no_grad():
        given.net.embedding.tokens.weight.neg_()
    assert given.generating(1, 40) is not alone
    assert given.copy().generating(1, 40) is not given.generating(1, 40)


def test_what_a_model_costs_in_use() -> None:
    found = task("language").in_use(model(length=128))
    each = 2 * 2 * 32 * 4  # of a token: keys and values of two layers, 32 wide, in float32
    assert {name: value for name, value in found.items() if "cache" in name} == {
        "cache_bytes@1024": 1_024 * each,
        "cache_bytes@8192": 8_192 * each,
        "cache_bytes@65536": 65_536 * each,
    }
    assert found["decoding_tokens_per_second"] > 0
    data = task("language").read(many())
    for constant in ("ssd", "s6"):
        made = configure("backbone", backbone=f"{constant}-1x32", length=32).fit(data, Steps(1)).model
        sizes = {v for k, v in task("language").in_use(made).items() if "cache" in k}
        assert len(sizes) == 1, "a state is as large behind any context"
    assert task("language").in_use(configure("xz").fit(data, Steps(1)).model) == {}


@pytest.mark.parametrize("id", ["entp", "mblm"])
def test_what_has_no_cache_of_keys_is_timed_too(id: str) -> None:
    made = configure(id).small().fit(task("language").read(many()), Steps(1)).model
    assert task("language").in_use(made)["decoding_tokens_per_second"] > 0


def test_generating_in_bfloat16() -> None:
    with computing.on(dtype="bfloat16"):
        assert isinstance(model(length=64).generate("abc", 5), str)


def test_guided_batches_keep_their_share_when_they_are_split() -> None:
    batch = GuidedBatch(torch.arange(8).reshape(4, 2), 0.3).shard(1, 2)
    assert isinstance(batch, GuidedBatch)
    assert batch.alpha == 0.3
    assert batch.ids.tolist() == [[2, 3], [6, 7]]
    assert batch.to(torch.device("cpu")).alpha == 0.3


def test_guides_of_windows_fade_and_may_be_drawn() -> None:
    windows = Windows(ByteTokenizer(), many().columns["text"], 16, 4, 0)
    made, drawn = GuidedWindows(windows), GuidedWindows(windows, sampled=True)
    assert [made(0, progress).alpha for progress in (0.0, 0.25, 0.5)] == pytest.approx([1.0, 0.5, 0.0])
    assert torch.equal(made(3, 0.25).ids, windows(3, 0.25).ids)
    torch.manual_seed(0)
    assert {round(drawn(0, 0.25).alpha, 6) for _ in range(20)} == {0.0, 0.5}
