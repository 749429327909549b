"""How long `import twofold` and the commands that only look take, beside `python -c pass`.

    python benchmarks/startup.py [--json]

Interleaved, in fresh processes; the smallest of the repeats counts, since whatever else the machine does only adds.
"""

from __future__ import annotations

import argparse
import json
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    times = {name: [seconds(s)] for name, s in STATEMENTS.items()}  # the first run may write byte code
    for _ in range(REPEATS):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    base = min(times["python -c pass"])
    rows = [{"arm": name, "ms": min(taken) * 1e3, "times": min(taken) / base} for name, taken in times.items()]
    if given.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(f"{row['arm']:<16}{row['ms']:6.1f} ms  {row['times']:4.1f} ×")


if __name__ == "__main__":
    main()
