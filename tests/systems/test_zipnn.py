"""ZipNN and its baseline, on models and on files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import twofold
from twofold.catalog import Arm, configure
from twofold.cli import main
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.tasks import load, task
from twofold.tasks.examples import small_model, small_rows

PACKERS = {"zipnn": ".tfz", "zstd": ".zst"}


@pytest.fixture(scope="module")
def rows():
    return small_rows()


@pytest.fixture
def file(tmp_path):
    made = torch.Generator().manual_seed(0)
    save_file({"w": (torch.randn(300, 500, generator=made) * 0.02).bfloat16()}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def run(*words):
    return main([str(word) for word in words] + ["--quiet"])


@pytest.mark.parametrize("id", PACKERS)
def test_a_model_keeps_its_index_and_gives_the_same(id, rows, tmp_path):
    model = small_model()
    model.index(rows.columns["document"], rows.columns["id"])
    model.save(tmp_path / "plain")
    small = twofold.apply(id, tmp_path / "plain", out=tmp_path / "small")
    assert (tmp_path / "small" / f"tensors{PACKERS[id]}").is_file()
    assert small.history[-1]["report"]["coded"] < small.history[-1]["report"]["raw"]
    again = load(tmp_path / "small")
    query = rows.columns["query"][:4]
    assert [h.id for hits in again.search(query) for h in hits] == [h.id for hits in model.search(query) for h in hits]
    assert torch.equal(again.encode(query).values, model.encode(query).values)
    twofold.apply(id, again, out=tmp_path / "back", unpack=True)
    before, after = (tmp_path / name / "tensors.safetensors" for name in ("plain", "back"))
    assert before.read_bytes() == after.read_bytes()


def test_of_a_chain_it_is_the_last_step(rows, tmp_path):
    small = twofold.apply(
        "stat,zipnn", small_model(), rows, **{"stat.keep": 0.7, "stat.samples": 64, "stat.tokens": 32}
    )
    assert [h["id"] for h in small.history] == ["stat", "zipnn"]
    small.save(tmp_path / "m")
    assert (tmp_path / "m" / "tensors.tfz").is_file()


def test_the_exponent_is_what_is_coded(file):
    report = twofold.apply_files("zipnn", file, file.with_suffix(".tfz"))
    mantissa, exponent = report["planes"]
    assert mantissa["coded"] == mantissa["bytes"]
    assert exponent["coded"] < 0.36 * exponent["bytes"]
    assert exponent["huffman"] + exponent["deflate"] == 2
    assert report["size"] < 0.69


def test_there_and_back_on_the_command_line(file, capsys):
    packed, again = file.with_suffix(".tfz"), file.with_name("again.safetensors")
    assert run("apply", "zipnn", file, "-o", packed, "--set", "threads=2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["coded"] == packed.stat().st_size
    assert run("apply", "zipnn", packed, "-o", again, "--set", "unpack=true") == 0
    assert again.read_bytes() == file.read_bytes()
    assert "bytes of safetensors" in capsys.readouterr().out


def test_a_folder_of_checkpoints_as_differences(tmp_path):
    made = torch.Generator().manual_seed(0)
    weight = torch.randn(200, 500, generator=made) * 0.02
    for step in (50, 100, 150):
        place = tmp_path / "run" / f"step-{step}"
        place.mkdir(parents=True)
        weight = weight + torch.randn(200, 500, generator=made) * 1e-6
        save_file({"w": weight.bfloat16()}, place / "model.safetensors")
        (place / "config.json").write_text("{}")
    alone = twofold.apply_files("zipnn", tmp_path / "run", tmp_path / "alone")
    deltas = twofold.apply_files("zipnn", tmp_path / "run", tmp_path / "deltas", base="first")
    assert [e["file"] for e in deltas["each"]] == [f"step-{s}/model.safetensors" for s in (50, 100, 150)]
    assert deltas["each"][0]["coded"] == alone["each"][0]["coded"]
    assert deltas["coded"] < 0.7 * alone["coded"]
    twofold.apply_files("zipnn", tmp_path / "deltas", tmp_path / "back", unpack=True, base="first")
    for file in sorted((tmp_path / "run").rglob("*.*")):
        assert (tmp_path / "back" / file.relative_to(tmp_path / "run")).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("model.safetensors",), "name it: -o model.tfz"),
        (("model.safetensors", "-o", "x.safetensors"), "name it: -o model.tfz"),
        (("model.safetensors", "-o", "x.tfz", "--set", "unpack=true"), "leave unpack out"),
        (("model.safetensors", "-o", "x.tfz", "--set", "base=first"), "name the base file"),
        (("model.safetensors", "-o", "x.tfz", "--set", "base=no.tfz"), "no file no.tfz"),
        (("model.safetensors", "-o", "x.tfz", "--set", "threads=0"), "threads"),
        (("done.tfz", "-o", "x.tfz"), "unpack=true"),
        (("model.safetensors", "-o", "done.tfz"), "--fresh"),
        (("empty", "-o", "x"), "holds no .safetensors file"),
        ((".", "-o", "here"), "is inside"),
        ((".", "-o", "empty/.."), "already"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(file, monkeypatch, capsys, words, told):
    monkeypatch.chdir(file.parent)
    (file.parent / "empty").mkdir()
    twofold.apply_files("zipnn", file, "done.tfz")
    capsys.readouterr()
    assert run("apply", "zipnn", *words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_models_that_do_not_fit_are_refused(rows):
    with pytest.raises(UserError, match="base works on files"):
        configure("zipnn", base="first").apply(small_model(), rows)
    with pytest.raises(UserError, match="not packed by zipnn"):
        configure("zipnn", unpack=True).apply(small_model(), rows)
    with pytest.raises(UserError, match="changes models, not files"):
        twofold.apply_files("stat", "a.safetensors", "b.safetensors")


def test_no_data_is_read(monkeypatch):
    from twofold import data

    monkeypatch.setattr(data, "read", lambda *a, **k: pytest.fail("read data"))
    assert twofold.apply("zipnn", small_model()).stored == ".tfz"


def test_the_task_measures_the_packed_file():
    judge, setting = task("store"), {"pieces": [["model.embedding."], ["model.stack."]], "dtypes": ["bfloat16"]}
    assert judge.evaluate(small_model(), "x").figures == {"size": 1.0, "exact": 1.0}
    sizes = []
    for id in ("zstd", "zipnn"):
        model = configure(id).apply(small_model(), Rows.of({}))
        figures = [judge.evaluate(model, "x", file=f, **setting).figures for f in (0, 1)]
        assert all(f["exact"] == 1 and f["size@bfloat16"] < 1 for f in figures)
        sizes.append(figures[1]["size@bfloat16"])
    assert sizes[1] < sizes[0]
    with pytest.raises(UserError, match="cut into 2 files"):
        judge.evaluate(small_model(), "x", file=2, **setting)


def test_reading_does_not_need_the_system(file):
    from twofold.checkpoints import tensors

    twofold.apply_files("zipnn", file, file.with_suffix(".tfz"))
    assert torch.equal(tensors.load(file.with_suffix(".tfz"))["w"], load_file(file)["w"])


@pytest.mark.parametrize("coder", ["_SAMPLE", "GAIN"])
def test_a_coder_that_changed_shows_in_the_trace(coder, monkeypatch):
    """Else runs that were kept from before would be taken for those of the new code."""
    from twofold.coding import entropy_bytes
    from twofold.trials import traces

    before = traces.trace(Arm("zipnn"))
    monkeypatch.setattr(entropy_bytes, coder, {"_SAMPLE": 1 << 12, "GAIN": 0.8}[coder])
    assert not traces.close(before, traces.trace(Arm("zipnn")))
