"""Every benchmark of the evaluator, one after another: writes `benchmarks/results.md`.

Run from the project's root by `make bench`, on a machine that does nothing else. Each section is
written as it ends, over its last one. `python -m benchmarks triton` repeats that section alone;
those for a GPU are measured only where they are named.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from evaluator.files import write_atomically

EVERYWHERE = (
    "metrics",
    "throughput",
    "throughput --host",
    "throughput --device-ms",
    "throughput --memory",
    "startup",
    "triton",
    "ranking",
)
SECTIONS = (*EVERYWHERE, "gpu", "startup --device cuda", "triton --device cuda")  # on a GPU
RESULTS = Path(__file__).with_name("results.md")
TITLE = """# What it costs to evaluate

Written by `make bench`, section by section. All candidates of a table take turns in one run;
numbers are medians."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    chosen = parser.parse_args().sections or EVERYWHERE
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    for name in chosen:
        print(f"benchmarks.{name} ...", flush=True)
        command = [sys.executable, "-W", "ignore", "-m", *f"benchmarks.{name}".split()]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"benchmarks.{name} failed; its section was left as it is", file=sys.stderr)
            return done.returncode
        page = RESULTS.read_text("utf-8") if RESULTS.exists() else ""
        write_atomically(RESULTS, with_section(page, done.stdout.strip()).encode())
    print(f"wrote {RESULTS}")
    return 0


def with_section(page: str, section: str) -> str:
    """The page with one section over the one of the same heading, or at its end."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    found = {part.splitlines()[0]: part.strip() for part in [*parts, section]}
    return "\n\n".join([TITLE, *found.values()]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
