"""Every benchmark of the evaluator, one after another: writes `benchmarks/results.md`.

Run from the project's root by `make bench`, on a machine that does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SECTIONS = ("metrics", "throughput", "throughput --memory", "triton", "ranking")
RESULTS = Path(__file__).with_name("results.md")
TITLE = """# What it costs to evaluate

Written by `make bench`. All candidates of a table take turns in one run; numbers are medians."""


def main() -> int:
    parts = [TITLE]
    for name in SECTIONS:
        print(f"benchmarks.{name} ...", flush=True)
        command = [sys.executable, "-W", "ignore", "-m", *f"benchmarks.{name}".split()]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"benchmarks.{name} failed; {RESULTS} was left as it is", file=sys.stderr)
            return done.returncode
        parts.append(done.stdout.strip())
    RESULTS.write_text("\n\n".join(parts) + "\n", "utf-8")
    print(f"wrote {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
