"""ByT5 [112]: bytes come back, spans are put together again, T5's buckets, who sees what, writing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.noise import NOISES, noisy
from twofold.data.tokenizers import ByT5Tokenizer, Tokenizer
from twofold.errors import UserError
from twofold.objectives import corrupt_spans, restore
from twofold.parts import Mask, T5Bias, build, t5
from twofold.tasks import load, task
from twofold.tasks.examples import small_rewrites
from twofold.tasks.rewrite import edit_distance


@pytest.mark.parametrize("text", ["plain", "Ünïcödé 漢字 🙂", "\x00\t\n", " "])
def test_any_text_comes_back(text) -> None:
    made = ByT5Tokenizer()
    ids = made.encode([text])[0]
    assert ids == [*(byte + 3 for byte in text.encode()), 1]
    assert made.decode(ids) == text
    assert made.decode([0xC3 + 3, 68, 0, 1, 2]) == "A"  # half a letter is dropped
    assert Tokenizer.from_dict(made.to_dict()).encode([text])[0] == ids


def test_spans_and_the_rest_are_the_text() -> None:
    random = np.random.default_rng(0)
    sentinels = range(258, 158, -1)
    hidden = []
    for size in (2, 3, 40, 300):
        ids = random.integers(3, 120, size).tolist()
        source, target = corrupt_spans(ids, random, sentinels, mean=5)
        assert restore(source, target, sentinels) == ids
        spans = [i for i in source if i > 158]
        assert spans == list(sentinels)[: len(spans)]
        hidden.append((len(target) - len(spans), len(spans)))
    assert hidden[-1] == (45, 9)
    with pytest.raises(UserError, match="two tokens"):
        corrupt_spans([5], random, sentinels)


@pytest.mark.parametrize("two_way", [True, False])
def test_buckets_are_those_of_transformers(two_way) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-300, 301)
    theirs = T5Attention._relative_position_bucket(distance, bidirectional=two_way, num_buckets=32, max_distance=128)
    assert torch.equal(T5Bias(4, two_way=two_way).bucket(distance), theirs)


def network():
    torch.manual_seed(0)
    return t5(30, 16, 2, 24, 2, 1).double().eval()


SOURCE = torch.randint(3, 30, (2, 6), generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(3, 30, (2, 5), generator=torch.Generator().manual_seed(1))


def test_the_encoder_looks_both_ways_and_the_decoder_back() -> None:
    net, real = network(), torch.ones(2, 6, dtype=torch.bool)
    with torch.no_grad():
        whole = net(SOURCE, real, TARGET)
        for t in range(5):
            changed = TARGET.clone()
            changed[:, t] = (changed[:, t] + 1) % 30
            found = net(SOURCE, real, changed)
            torch.testing.assert_close(found[:, : t + 1], whole[:, : t + 1])
            assert t == 4 or not torch.allclose(found[:, t + 1], whole[:, t + 1])
        other = SOURCE.clone()
        other[:, -1] = (other[:, -1] + 1) % 30
        assert not torch.allclose(net.encoder.states(other, real)[:, 0], net.encoder.states(SOURCE, real)[:, 0])
        real[1, 4:] = False
        padded = net(SOURCE, real, TARGET)
        torch.testing.assert_close(padded[1:], net(SOURCE[1:, :4], real[1:, :4], TARGET[1:]), rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(padded[:1], whole[:1])


def test_step_by_step_is_the_whole_pass() -> None:
    net, real = network(), torch.ones(2, 6, dtype=torch.bool)
    real[1, 4:] = False
    with torch.no_grad():
        whole = net(SOURCE, real, TARGET)
        decoder = net.recalling(SOURCE, real)
        cache = decoder.new_cache(2, 5)
        shifted = torch.cat([torch.zeros(2, 1, dtype=torch.long), TARGET[:, :-1]], 1)
        steps = torch.cat([decoder(token, Mask.causal(), cache) for token in shifted.split(1, 1)], 1)
    torch.testing.assert_close(steps, whole, rtol=1e-9, atol=1e-11)
    again = build(net.spec()).double().eval()
    again.assign(net.tensors())
    torch.testing.assert_close(again(SOURCE, real, TARGET), whole)


def test_edits_are_counted() -> None:
    for a, b, n in (("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("ab", "ba", 2), ("same", "same", 0)):
        assert edit_distance(a, b) == n
    random = np.random.default_rng(0)
    assert noisy("hello", "antspeak", random) == "H E L L O"
    assert noisy("a", "drop", np.random.default_rng(3)) == "a"
    for kind in NOISES:
        assert noisy("some words of text", kind, random)
    with pytest.raises(UserError, match="unknown noise"):
        noisy("a", "dorp", random)


def test_words_are_rewritten_and_what_is_too_long_is_refused(tmp_path) -> None:
    data = task("rewrite").read(small_rewrites())
    for name in ("byt5", "t5"):
        model = configure(name, pretrain=0.5).small().fit(data, Steps(4)).model
        model.save(tmp_path / name)
        texts = data.part("test")[0]
        assert load(tmp_path / name).rewrite(texts) == model.rewrite(texts)
        assert model.rewrite(texts[0]) == model.rewrite(texts[:1])[0]
        assert model.log_likelihood(*data.part("test")) < 0
    short = configure("byt5", target_tokens=3).small()
    with pytest.raises(UserError, match="set target_tokens=5"):
        short.batches(short.start(data, 0), data, 0)
    with pytest.raises(UserError, match="text 1 is empty"):
        model.rewrite("")
    arms = zip(configure("byt5").claim.arms, (1000, 259), strict=True)
    sizes = [configure(arm.id, **arm.options).assembled(vocab, 0) for arm, vocab in arms]
    one, two = (sum(p.numel() for p in net.parameters()) for net in sizes)
    assert abs(two / one - 1) < 0.03
