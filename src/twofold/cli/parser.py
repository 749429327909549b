"""The parser of one command's arguments; what it refuses becomes one line that names the fix."""

from __future__ import annotations

import argparse

from twofold.errors import UserError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from twofold.cli.commands import Command


class Parser(argparse.ArgumentParser):
    """`argparse`, but a mistake raises `UserError`, and an unknown option names the nearest known one."""

    def __init__(self, command: Command) -> None:
        super().__init__(
            prog=f"twofold {command.name}",
            description=command.summary[:1].upper() + command.summary[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  twofold {example}" for example in command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.options: list[str] = ["--help"]
        command.arguments(self)
        self.flag("--json", help="print JSON for a program instead of text for a person")
        self.flag("--quiet", help="show no progress")

    def option(self, *names: str, **settings: Any) -> None:
        """An option with a value; its default stands in the help."""
        self.options += names
        default = settings.get("default")
        if default is not None:
            settings["help"] += f" (default: {default})"
        self.add_argument(*names, **settings)

    def flag(self, *names: str, help: str) -> None:
        """An option that is there or not."""
        self.options += names
        self.add_argument(*names, action="store_true", help=help)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments.

        Raises:
            UserError: an unknown or malformed option, or an argument too many or too few.
        """
        found, extra = self.parse_known_args(words)
        for word in extra:
            if word.startswith("-"):
                name = word.partition("=")[0]
                raise UserError(f"unknown option {name!r}.{did_you_mean(name, self.options)} See: {self.prog} --help")
        if extra:
            words = " ".join(extra)
            raise UserError(f"too many arguments: {words}; quote texts of several words. See: {self.prog} --help")
        if getattr(found, "named_data", None) is not None:
            if found.data is not None:
                raise UserError(f"data is given twice: {found.data} and --data {found.named_data}; give it once")
            found.data = found.named_data
        return found

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See: {self.prog} --help")
