"""Li [239]: harmonic positions, merges by likelihood, the cross-entropy method, random blocks, the staircase."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.tokenizers import train_likelihood
from twofold.data.tokenizers.likelihood import gain, likelihood_merges
from twofold.errors import UserError
from twofold.parts import Attention, Harmonic, Mask, RandomBlocks, Reciprocal, Rope, presets, staircase
from twofold.parts.mixers.random_blocks import draw
from twofold.parts.positions import harmonic
from twofold.parts.staircase import rounded
from twofold.tasks import task
from twofold.tasks.examples import small_rows
from twofold.training.cross_entropy import Between, cross_entropy_search


def test_harmonic_numbers_and_the_bias() -> None:
    found = harmonic(torch.arange(600))
    by_hand = torch.tensor([sum(1 / k for k in range(1, n + 1)) for n in range(600)])
    assert found[0] == 0
    torch.testing.assert_close(found, by_hand, rtol=1e-5, atol=1e-6)
    places = torch.arange(9)[None]
    bias = Harmonic(2, Rope(), slopes=[1.0, 0.5]).bias(places, places)[0]
    assert (bias[:, 8].diff() > 0).all()
    assert (bias.diagonal(dim1=1, dim2=2) == 0).all()
    torch.testing.assert_close(bias[0], 2 * bias[1])
    flat = Attention(16, 2, position=Harmonic(2, Rope(), slopes=[0.0, 0.0]), causal=True)
    plain = Attention(16, 2, position=Rope(), causal=True)
    plain.load_state_dict(flat.state_dict())
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(flat(x), plain(x), rtol=1e-5, atol=1e-6)
    p = Reciprocal(2).after(torch.ones(1, 2, 9, 9), places, places)
    assert p[0, 0, 8].tolist() == pytest.approx([1 / (1 + d) for d in range(8, -1, -1)])
    with pytest.raises(UserError, match=r"Harmonic\(heads=2\)"):
        Attention(16, 2, position=Harmonic(4))


def likelihood(words, merges) -> float:
    """Σ n ln p after the merges, in order."""
    units: Counter[str] = Counter()
    for word, times in words.items():
        text = f" {' '.join(word)} "
        for a, b in merges:
            text = text.replace(" ", "  ").replace(f" {a}  {b} ", f" {a}{b} ").replace("  ", " ")
        for unit in text.split():
            units[unit] += times
    total = sum(units.values())
    return sum(n * math.log(n / total) for n in units.values())


def test_greedy_merges_are_the_best_where_they_do_not_interact() -> None:
    words = {"ab": 10, "cd": 7, "xaxb": 3, "cxd": 2}
    found, units = likelihood_merges(words, 2)
    pairs = {(w[i], w[i + 1]) for w in words for i in range(len(w) - 1)}
    best = max(itertools.permutations(sorted(pairs), 2), key=lambda merges: likelihood(words, merges))
    assert set(found) == set(best)
    total = sum(n * math.log(n / sum(units.values())) for n in units.values() if n)
    assert total == pytest.approx(likelihood(words, found))
    letters = Counter("".join(word * times for word, times in words.items()))
    first = gain(("a", "b"), 10, letters, letters.total())
    assert first == pytest.approx(likelihood(words, [("a", "b")]) - likelihood(words, []))
    twins = {"aaaab": 5}
    assert likelihood_merges(twins, 1)[0] == [("a", "a")]
    change = likelihood(twins, [("a", "a")]) - likelihood(twins, [])
    assert gain(("a", "a"), 10, Counter(a=20, b=5), 25) == pytest.approx(change)
    assert likelihood_merges({"aaaa": 5}, 2)[0] == []  # one unit is certain already


def test_any_text_comes_back() -> None:
    texts = small_rows().columns["text"]
    made = train_likelihood(texts, 300)
    for text in ("The lamp number 3 is quiet.", "Ünïcode — 漢字\n\ttab", "<s> </s>", " a  b "):
        assert made.decode(made.encode([text], specials=False)[0]) == text
    assert len(made.encode([texts[0]], specials=False)[0]) < len(texts[0])
    with pytest.raises(UserError, match="at least 260"):
        train_likelihood(texts, 100)


def test_the_search_moves_to_what_is_good() -> None:
    domains = {"x": Between(0.01, 100, log=True), "n": Between(1, 9, whole=True), "kind": ["a", "b", "c"]}

    def score(given):
        return -((math.log10(given["x"]) - 1) ** 2) - abs(given["n"] - 7) / 8 + (given["kind"] == "b")

    guided = [cross_entropy_search(score, domains, rounds=6, samples=10, seed=s)[0].score for s in range(5)]
    random = [cross_entropy_search(score, domains, rounds=1, samples=60, seed=s)[0].score for s in range(5)]
    assert np.mean(guided) > np.mean(random)
    trials = cross_entropy_search(score, domains, rounds=2, samples=4)
    assert len(trials) == 8
    assert trials[0].score >= trials[-1].score
    assert all(isinstance(t.settings["n"], int) and 0.01 <= t.settings["x"] <= 100 for t in trials)
    with pytest.raises(UserError, match="setting kind has nothing"):
        cross_entropy_search(score, {"kind": []})


def test_all_blocks_are_dense_and_draws_are_fair() -> None:
    torch.manual_seed(0)
    mixer = RandomBlocks(16, 4, 4, 6, kv_heads=2, position=Rope())
    plain = Attention(16, 4, 2, position=Rope(), causal=True)
    plain.load_state_dict(mixer.state_dict())
    x = torch.randn(2, 22, 16)
    torch.testing.assert_close(mixer(x), plain(x), rtol=1e-5, atol=1e-6)
    few, corrected = RandomBlocks(16, 4, 4, 3), RandomBlocks(16, 4, 4, 6, corrected=True)
    dense = few.seen
    few.load_state_dict(corrected.state_dict())
    real = torch.ones(2, 22, dtype=torch.bool)
    real[1, 21:] = False
    torch.testing.assert_close(few(x)[0], few(x, real)[0], rtol=1e-5, atol=1e-6)  # folded, and by its mask
    assert few.pairs(22) < plain.flops(22)
    assert dense == few.seen
    places = Mask.causal().places(1, 22, torch.device("cpu"))
    assert not corrected.drawn.at(places, places, 1).any()  # whatever is sure needs no correction
    drawn = [draw(20, 6, seed) for seed in range(400)]
    assert all(len(chosen) == 6 and {0, 20} <= set(chosen.tolist()) for chosen, _ in drawn)
    shares = np.mean([np.isin(np.arange(21), chosen) for chosen, _ in drawn], axis=0)
    chances = {int(b): float(p) for chosen, chance in drawn for b, p in zip(chosen, chance, strict=True)}
    assert all(abs(shares[b] - p) < 0.1 for b, p in chances.items())
    assert shares[19] > shares[10]


def test_a_staircase_of_16_bits_is_the_plain_cache_and_bytes_count() -> None:
    torch.manual_seed(0)
    net = presets.decoder(50, 32, 2, 4).eval()
    ids = torch.randint(50, (1, 160))

    def read(cache):
        with torch.no_grad():
            return torch.cat([net(piece, Mask.causal(), cache) for piece in ids.split(8, 1)], 1)

    plain, same, stairs = net.new_cache(1, 160), staircase(net, 1, 160, ()), staircase(net, 1, 160, ((1, 8), (2, 4)))
    whole = read(plain)
    assert torch.equal(read(same), whole)
    assert same.nbytes == plain.nbytes
    off = (read(stairs) - whole).abs().max()
    assert 0 < off < 0.5 * whole.abs().max()
    kept = stairs.layers[0]
    assert kept.stored == [4, 4, 4, 4, 8]
    # heads of 8: 5 groups of 32 tokens, keys and values, with a scale and a smallest value for each channel and token
    codes = 2 * 32 * 8 * (4 * 4 + 8) // 8
    scales = 5 * 4 * (8 + 32)
    assert kept.nbytes == 4 * (codes + scales)
    with pytest.raises(UserError, match="rounded already"):
        stairs.rewind(100)
    with pytest.raises(UserError, match="ages rising"):
        staircase(net, 1, 8, ((4, 4), (1, 8)))


def test_rounding_keeps_ends_and_errors_fall_with_bits() -> None:
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    errors = []
    for bits in (2, 4, 8):
        y = rounded(x, bits, 1)
        torch.testing.assert_close(y.amax(1), x.amax(1))
        torch.testing.assert_close(rounded(y, bits, 1), y, rtol=1e-4, atol=1e-5)  # a second time changes nothing
        assert all(len(row.unique()) <= 2**bits for row in y)
        errors.append(float((y - x).abs().max()))
    assert errors[0] > errors[1] > errors[2]


def test_the_study_takes_a_persons_model() -> None:
    system = configure("genai-math").small()
    model = configure("decoder").small().fit(task("language").read(small_rows()), Steps(1)).model
    assert len(system.run(model, small_rows()).tables) == 5
    with pytest.raises(UserError, match="rounds the cache"):
        system.run(configure("hydra").small().start(task("represent").read(small_rows()), 0), small_rows())
