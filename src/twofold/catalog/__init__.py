"""What there is: cards, claims, the register and its index. Importing this loads no torch, numpy or pydantic.

Reading the index needs neither claims nor register, so a name is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twofold.catalog.claims import Arm, Budget, Claim, Guard, Parameters, Saving, Seconds, Steps, Tokens
    from twofold.catalog.register import Card, add_file, baseline, configure, resolve, system
    from twofold.catalog.search import find

__all__ = [
    "Arm",
    "Budget",
    "Card",
    "Claim",
    "Guard",
    "Parameters",
    "Saving",
    "Seconds",
    "Steps",
    "Tokens",
    "add_file",
    "baseline",
    "configure",
    "find",
    "resolve",
    "system",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module 'twofold.catalog' has no attribute {name!r}")
        home = {"find": "search"}.get(name) or ("claims" if name[0].isupper() and name != "Card" else "register")
        value = globals()[name] = getattr(import_module(f"twofold.catalog.{home}"), name)
        return value
