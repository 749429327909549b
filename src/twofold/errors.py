"""Errors that a person can act on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class TwofoldError(Exception):
    """Base of every error that Twofold raises on purpose."""


class UserError(TwofoldError):
    """A mistake in what was asked for: one line that says what is wrong and what to do.

    The command line prints it without a traceback and leaves with exit code 2.
    """


def typed(values: Iterable[int]) -> str:
    """Numbers as they are typed after an option, in one piece: `[8,4]`."""
    return f"[{','.join(map(str, values))}]"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a sentence, `" Did you mean 'gtr'?"`, or an empty string."""
    import difflib

    return meant(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6))


def meant(near: Iterable[str]) -> str:
    """`" Did you mean 'gtr' or 'gtr-2'?"`, or an empty string where there is none."""
    listed = " or ".join(map(repr, near))
    return f" Did you mean {listed}?" if listed else ""


def near_names(name: str, known: Iterable[str], alike: int = 1) -> list[str]:
    """Known names that are meant: up to three that have it as a word or begin with it, and `alike` spelt like it."""
    import difflib

    every = list(dict.fromkeys(known))
    parts = [each for each in every if name in each.split("-") or (len(name) > 2 and each.startswith(name))]
    return list(dict.fromkeys([*parts[:3], *difflib.get_close_matches(name, every, n=alike, cutoff=0.6)]))


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a list: names what was asked, the nearest, and all there are."""
    names = sorted(known)
    listed = ", ".join(names) if len(names) <= 20 else ", ".join(names[:20]) + ", …"
    return UserError(f"unknown {what} {name!r}.{did_you_mean(name, names)} Known: {listed}")
