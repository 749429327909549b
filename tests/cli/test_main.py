"""What every command shares: help, mistakes, exit codes, interruptions."""

from __future__ import annotations

import errno
import subprocess
import sys
from importlib.metadata import version

import pytest

from twofold import api
from twofold.cli import output
from twofold.cli.commands import COMMANDS


@pytest.mark.parametrize("words", [(), ("--help",), ("help",)])
def test_help_names_every_command(run, words) -> None:
    ran = run(*words)
    assert ran.code == 0
    for name in COMMANDS:
        assert f"  {name} " in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run, name) -> None:
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"usage: twofold {name}" in ran.out
    assert f"twofold {name} " in ran.out.partition("examples:")[2] or name in ("list", "cache")


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_parsed(name) -> None:
    import shlex

    from twofold.cli import parse

    for example in COMMANDS[name].examples:
        command, _ = parse(shlex.split(example))
        assert command.name == name


def test_data_may_be_named() -> None:
    from twofold.cli import parse

    for words in (["apply", "stat", "m", "a.csv"], ["apply", "stat", "m", "--data", "a.csv"]):
        assert parse(words)[1].data == "a.csv"
    assert parse(["study", "nope", "--data", "a.csv"])[1].model is None


def test_version(run) -> None:
    assert run("--version").out == f"twofold {version('twofold')}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("serch", "x"), "unknown command 'serch'. Did you mean 'search'?"),
        (("compare", "search", "--minuts", "3"), "unknown option '--minuts'. Did you mean '--minutes'?"),
        (("fit", "--sed=3", "gtr"), "unknown option '--sed'. Did you mean '--seed'?"),
        (("fit",), "the following arguments are required: system"),
        (("list", "everything"), "too many arguments: everything"),
        (("fit", "gtr", "--minutes", "soon"), "argument --minutes: invalid float value: 'soon'"),
        (("encode", "m", "x", "--side", "back"), "argument --side: invalid choice: 'back'"),
        (("reproduce",), "name one system, such as: reproduce gtr"),
        (("fit", "gtr", "--set", "lr"), "cannot read --set 'lr'; write --set key=value"),
        (("fit", "gtr", "--columns", "question"), "cannot read --columns 'question'"),
        (("fit", "gtr", "--steps", "0"), "--steps is 0; give at least 1"),
        (("fit", "gtr", "a.csv", "--data", "b.csv"), "data is given twice: a.csv and --data b.csv"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, words, says) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.error.startswith(f"twofold: {says}")
    assert ran.error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), "there is no a.txt; check the path"),
        (PermissionError(errno.EACCES, "Permission denied", "a.txt"), "no permission for a.txt"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; what was there before is untouched"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "there"), "there is a folder; give a file"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), "a/b is a file where a folder is needed"),
        (OSError(errno.EIO, "Input/output error", "a.txt"), "Input/output error (a.txt)"),
    ],
)
def test_errors_of_files_are_one_line(run, monkeypatch, error, says) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(api, "list", fail)
    ran = run("list")
    assert ran.code == 2
    assert ran.error.startswith(f"twofold: {says}")
    assert ran.error.count("\n") == 1


def test_a_traceback_only_when_debugging(run, monkeypatch, cards) -> None:
    assert "Traceback" not in run("show", "statt").error
    monkeypatch.setenv("TWOFOLD_DEBUG", "1")
    ran = run("show", "statt")
    assert ran.code == 2
    assert "Traceback" in ran.error
    assert ran.error.splitlines()[-1].startswith("twofold: unknown system 'statt'. Did you mean 'stat'?")


def test_a_fault_of_our_own_is_not_hidden(run, monkeypatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api, "list", fail)
    with pytest.raises(ZeroDivisionError):
        run("list")


@pytest.mark.parametrize(
    ("words", "verb", "kept"),
    [
        (("compare", "search", "-o", "there"), "compare", "what was done is kept in there; the same command goes on"),
        (("fit", "gtr", "-o", "model"), "fit", "what was trained is kept beside model; the same command goes on"),
        (("reproduce", "gtr"), "reproduce", "finished runs are kept; the same command goes on"),
        (("export", "minilm"), "export", "nothing was written"),
    ],
)
def test_ctrl_c_says_what_was_kept(run, monkeypatch, words, verb, kept) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, verb, interrupted)
    ran = run(*words)
    assert ran.code == 130
    assert ran.error.startswith(f"twofold: stopped; {kept}")
    assert ran.error.count("\n") == 1


def test_a_reader_who_has_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "twofold", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 0
    assert error == b""


def test_a_full_disk_behind_standard_output() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "twofold", "--help"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("twofold: the disk is full")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [(39_870.0, "39,870"), (8.61123, "8.611"), (0.30466, "0.3047"), (5082.0, "5,082"), (-2e5, "-200,000"), (0.0, "0")],
)
def test_figures_are_no_powers_of_ten(value: float, words: str) -> None:
    assert output.figure(value) == words
