"""Twofold: published ways to encode and decode, as working parts, compared on your own data.

    twofold.list(task="search")               what there is          twofold.find("shrink a BERT")   what fits a need
    twofold.show("gtr")                       one card               twofold.cite("gtr")             its source
    model = twofold.fit("gtr", "my.jsonl")    train                  twofold.load("model/")          use again
    twofold.apply("stat", model, keep=0.7)    change a model         twofold.export(model, "there")  hand it on
    twofold.compare("search", "my.jsonl")     all, side by side      twofold.evaluate(model)         one, measured
    twofold.reproduce("gtr")                  a claim, again         twofold.study("nope")           a report
    twofold.index("docs/", "model/", "there") make searchable        twofold.open_index("there")     search it
    twofold.backbones()                       names of layers

Importing this loads no torch; a name is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself costs half of what `import twofold` may take
if TYPE_CHECKING:
    from twofold.api import (
        apply,
        apply_files,
        backbones,
        cite,
        compare,
        evaluate,
        export,
        find,
        fit,
        index,
        list,
        load,
        open_index,
        pull,
        reproduce,
        show,
        study,
    )
    from twofold.catalog.claims import Arm, Claim, Guard, Parameters, Saving, Seconds, Steps, Tokens
    from twofold.catalog.register import baseline, system
    from twofold.errors import UserError

    __version__: str

__all__ = [
    "Arm",
    "Claim",
    "Guard",
    "Parameters",
    "Saving",
    "Seconds",
    "Steps",
    "Tokens",
    "UserError",
    "__version__",
    "apply",
    "apply_files",
    "backbones",
    "baseline",
    "cite",
    "compare",
    "evaluate",
    "export",
    "find",
    "fit",
    "index",
    "list",
    "load",
    "open_index",
    "pull",
    "reproduce",
    "show",
    "study",
    "system",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__version__":
            value = import_module("importlib.metadata").version("twofold")
        elif name in ("Arm", "Claim", "Guard", "Parameters", "Saving", "Seconds", "Steps", "Tokens"):
            value = getattr(import_module("twofold.catalog.claims"), name)
        elif name in ("baseline", "system"):
            value = getattr(import_module("twofold.catalog.register"), name)
        elif name == "UserError":
            value = import_module("twofold.errors").UserError
        elif name in __all__:
            value = getattr(import_module("twofold.api"), name)
        else:
            raise AttributeError(f"module 'twofold' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> object:
        return sorted({*globals(), *__all__})
