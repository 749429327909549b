"""The commands on a folder of pictures with captions, as docs/search.md shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("cards")
THINGS = ("dog", "cat", "boat", "tram", "cake", "lamp", "kite", "bird", "tent", "drum")
PLACES = ("beach", "bridge", "garden")


@pytest.fixture
def photos(here: Path) -> Path:
    """Thirty pictures with two captions each."""
    folder = here / "photos"
    folder.mkdir()
    rows = ["image,caption"]
    for thing in THINGS:
        for place in PLACES:
            Image.new("RGB", (4, 4)).save(folder / f"{thing}-{place}.png")
            rows += [f"{thing}-{place}.png,a {thing} at the {place}", f"{thing}-{place}.png,the {place} with a {thing}"]
    (folder / "captions.txt").write_text("\n".join(rows))
    return folder


@pytest.mark.parametrize("kind", ["words", "vectors"])
def test_pictures_are_found_by_their_captions(run, photos, encoder, kind) -> None:
    model = "bm25" if kind == "words" else encoder
    assert run("index", "photos/", "-m", model, "-o", "i", "--json").json["documents"] == 30
    hits = run("search", "i", "a dog at the beach", "--json").json["hits"]
    assert hits[0]["id"] == "dog-beach.png"
    assert hits[0]["text"] == "a dog at the beach\nthe beach with a dog"
    among = run("search", encoder, "a dog at the beach", "--documents", "photos/", "--json").json["hits"]
    assert among[0]["id"] == "dog-beach.png"


def test_pictures_come_and_go_by_their_paths(run, here, photos) -> None:
    assert run("index", "photos", "-o", "i").code == 0
    assert run("index", "-o", "i", "--remove", "dog-beach.png").code == 0
    (here / "more").mkdir()
    Image.new("RGB", (4, 4)).save(here / "more" / "cat-beach.png")
    (here / "more" / "cat-beach.txt").write_text("an octopus")
    assert run("index", "more", "-o", "i", "--add").code == 0
    assert "dog-beach.png" not in run("search", "i", "dog", "-k", "30").out
    (hit,) = run("search", "i", "octopus", "--json").json["hits"]
    assert (hit["id"], hit["text"]) == ("cat-beach.png", "an octopus")


def test_training_and_comparison_hold_one_caption_of_each(run, photos) -> None:
    ran = run("fit", "bm25", "photos", "-o", "m", "--json")
    assert ran.code == 0, ran.error
    hits = run("search", "m", "dog beach", "--json").json["hits"]
    assert hits[0]["id"] == "dog-beach.png"
    assert "\n" not in hits[0]["text"]
    compared = run("compare", "search", "photos", "--systems", "bm25", "--json").json
    counts = compared["data"]["counts"]
    assert sum(part["documents"] for part in counts.values()) == 30
    assert sum(part["queries"] for part in counts.values()) == 30
    assert compared["data"]["notes"] == []


def refused(ran, says: str) -> None:
    assert ran.code == 2
    assert says in ran.error
    assert ran.error.count("\n") == 1


def test_one_caption_each_is_searched_and_not_compared(run, photos) -> None:
    for name in ("captions.txt", "metadata.jsonl"):
        (photos / name).write_text("\n".join(f'{{"file_name": "{t}-beach.png", "text": "a {t}"}}' for t in THINGS))
    (photos / "captions.txt").unlink()
    ran = run("index", "photos", "-o", "i", "--json")
    assert ran.json["documents"] == 10
    assert "photos: pictures without a caption, left out: 20 (bird-bridge.png, bird-garden.png, " in ran.error
    says = "each picture has one caption, so that none is left to ask for it; give pictures a second one"
    refused(run("compare", "search", "photos", "--systems", "bm25"), says)
    refused(run("fit", "bm25", "photos", "-o", "m"), says)


def test_pictures_that_cannot_be_searched(run, photos) -> None:
    (photos / "dog-beach.png").write_bytes(b"not even an image")
    refused(run("index", "photos", "-o", "i"), "photos/dog-beach.png is not an image that can be read")
    refused(run("compare", "search", "photos", "--systems", "bm25"), "dog-beach.png is not an image that can be read")
    (photos / "captions.txt").unlink()
    refused(
        run("index", "photos", "-o", "i"),
        "photos holds pictures (bird-beach.png, bird-bridge.png, bird-garden.png, …) and no captions; give",
    )
