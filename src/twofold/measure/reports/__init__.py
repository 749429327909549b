"""Reports for a person: tables in the terminal, pages in the browser, sections of the result pages.

    compare    the report of a comparison: `compare.terminal(data)`, `compare.render(data)`
    record     a claim's record: `record.markdown(record)`, `record.terminal(record)`
    study      a study's findings: `study.terminal(report)`, `study.render(report, title)`

made of

    terminal   tables as text
    html       self-contained pages
    plots      figures as inline SVG
    numbers    figures as a person reads them

A module is loaded when it is first named, matplotlib and rich when something is drawn.
"""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = ("compare", "html", "numbers", "plots", "record", "study", "terminal")


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
