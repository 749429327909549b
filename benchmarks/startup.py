"""How long `import twofold` and the commands that only look take, beside `python -c pass`.

    python benchmarks/startup.py

Interleaved, in fresh processes; the smallest of the repeats counts, since whatever else the machine does only adds.
"""

from __future__ import annotations

import subprocess
import sys
import time

REPEATS = 15
BASE = "pass"
STATEMENTS = {
    "python -c pass": BASE,
    "import twofold": "import twofold",
    "twofold --help": "from twofold.cli import main; main(['--help'])",
    "twofold list": "from twofold.cli import main; main(['list'])",
    "twofold find": "from twofold.cli import main; main(['find', 'search', 'by', 'meaning'])",
    "twofold show": "from twofold.cli import main; main(['show', 'gtr'])",
}


def seconds(statement: str) -> float:
    """Seconds of one fresh process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    times = {name: [seconds(s)] for name, s in STATEMENTS.items()}  # the first run may write byte code
    for _ in range(REPEATS):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    base = min(times["python -c pass"])
    for name, taken in times.items():
        best = min(taken)
        print(f"{name:<16}{best * 1e3:6.1f} ms  {best / base:4.1f} ×")


if __name__ == "__main__":
    main()
