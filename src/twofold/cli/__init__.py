"""The command line: commands are calls of the public API, and nothing else.

Exit codes: 0 done, 1 a fault of Twofold's own, 2 a mistake in what was asked for, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys

from twofold.errors import UserError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from twofold.cli.commands import Command


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command line and gives its exit code.

    A person's mistake is one line on standard error. `TWOFOLD_DEBUG=1` shows where it was found.
    """
    if sys.stdout is None:  # closed by whoever called
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    # Threads that wait by spinning keep those they wait for off a busy processor: 465 ms a query in place of 18.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = _run(list(sys.argv[1:] if words is None else words))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has enough; the rest, and what is flushed at exit, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, OSError) as error:
        _say(_sentence(error))
        return 2


def parse(words: Sequence[str]) -> tuple[Command, Namespace]:
    """The command and its arguments.

    Raises:
        UserError: no such command or option, or an argument too many or too few; names the nearest.
        SystemExit: help was asked for, and printed.
    """
    from twofold.cli.commands import COMMANDS

    command = COMMANDS.get(words[0])
    if command is None:
        raise UserError(f"unknown command {words[0]!r}.{did_you_mean(words[0], COMMANDS)} See: twofold --help")
    from twofold.cli.parser import Parser

    return command, Parser(command).parse(words[1:])


def _run(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        from twofold.cli.commands import overview

        print(overview())
        return 0
    if words[0] == "--version":
        import twofold

        print(f"twofold {twofold.__version__}")
        return 0
    try:
        command, arguments = parse(words)
    except SystemExit as done:  # --help
        return int(done.code or 0)
    try:
        return _call(command, arguments)
    except KeyboardInterrupt:
        _say(f"stopped; {command.kept.format_map(vars(arguments))}")
        return 130


def _call(command: Command, arguments: Namespace) -> int:
    from importlib import import_module

    module, _, name = command.run.partition(":")
    function = getattr(import_module(module), name)
    if command.group == "look" and not getattr(arguments, "semantic", False):
        return function(arguments) or 0
    from contextlib import redirect_stdout

    from twofold import progress
    from twofold.cli import live

    first = os.environ.get("RANK", "0") == "0"  # under torchrun only the first process speaks
    listener = live.listener() if first and not arguments.quiet else None
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(sys.stdout if first else nowhere),
        progress.listening(listener),
        live.notes(),
    ):
        return function(arguments) or 0


def _sentence(error: Exception) -> str:
    """An error as one line."""
    if isinstance(error, OSError):
        from twofold.cli.values import about_file

        return about_file(error)
    return " ".join(str(error).split())


def _say(text: str) -> None:
    if os.environ.get("TWOFOLD_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"twofold: {text}", file=sys.stderr)
