"""Addition spelled out in steps, each part of a step shown or not (Kazemnejad et al. 2023, section 6).

A function of a length, as the study takes them from anybody; it draws from the global `random`.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from functools import partial
from typing import Any, Literal

from twofold.tasks.solve import SolveData

StepPart = Literal["input", "computation", "output", "variables", "remaining"]
STEP_PARTS: tuple[StepPart, ...] = ("input", "computation", "output", "variables", "remaining")
FORMATS: tuple[tuple[StepPart, ...], ...] = (
    (),
    STEP_PARTS,
    *(tuple(p for p in STEP_PARTS if p != left) for left in STEP_PARTS),
)
"""No scratchpad, all parts of a step, and each part left out in turn."""
RESULT = "#"
"""The symbol behind which an answer's result stands."""


def addition(length: int, show: Collection[StepPart] = ()) -> tuple[str, str]:
    """Two numbers of `length` digits together (the first has one more where that is odd) and their sum.

    With a scratchpad, a step for each column from the right comes before the result: the digits it reads (input), the
    sum with the carry (computation), the digit it writes (output), the new carry (variables), and the digits still to
    be read (remaining input).

    >>> random.seed(1)
    >>> addition(4, show=("input", "output"))
    ('27+91=', '7,1>8;2,9>1;#118')
    """
    a, b = _number((length + 1) // 2), _number(max(1, length // 2))
    result = f"{RESULT}{int(a) + int(b)}"
    return f"{a}+{b}=", "".join(f"{step};" for step in _steps(a, b, show)) + result if show else result


def additions(show: tuple[StepPart, ...], train_len: int, test_len: int, **sizes: Any) -> SolveData:
    """Additions up to the two lengths, in one format; `sizes` as `SolveData.from_function` has them."""
    name = f"addition ({', '.join(show)})" if show else "addition"
    return SolveData.from_function(name, partial(addition, show=show), train_len, test_len, marker=RESULT, **sizes)


def _number(digits: int) -> str:
    return str(random.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits))


def _steps(a: str, b: str, show: Collection[StepPart]) -> list[str]:
    width = max(len(a), len(b))
    a, b = a.zfill(width), b.zfill(width)
    steps, carry = [], 0
    for column in reversed(range(width)):
        x, y = a[column], b[column]
        total = int(x) + int(y) + carry
        parts: dict[StepPart, str] = {
            "input": f"{x},{y}",
            "computation": f":{x}+{y}+{carry}={total}",
            "output": f">{total % 10}",
            "variables": f"c{total // 10}",
            "remaining": f"|{a[:column]}+{b[:column]}",
        }
        carry = total // 10
        steps.append("".join(text for name, text in parts.items() if name in show))
    return steps
