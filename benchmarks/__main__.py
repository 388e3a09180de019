"""Every benchmark of the evaluator, one after another: writes `benchmarks/results.md`.

Run from the project's root by `make bench`, on a machine that does nothing else. Each section is
written as it ends, over its last one. `python -m benchmarks triton` repeats that section alone.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from evaluator.files import write_atomically

# Command -> its section's heading, in the order of the page.
SECTIONS = {
    "metrics": "HD95 of one pair, one thread",
    "throughput": "Throughput, from sealed PNG to packed masks",
    "throughput --memory": "Memory of the infer stage",
    "triton": "Triton beside ONNX Runtime",
    "ranking": "Standings of a track",
}
RESULTS = Path(__file__).with_name("results.md")
TITLE = """# What it costs to evaluate

Written by `make bench`, section by section. All candidates of a table take turns in one run;
numbers are medians."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    chosen = parser.parse_args().sections or list(SECTIONS)
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
    """The page with one section put in its place, over the one of the same heading."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    found = {heading(part): part.strip() for part in [*parts, section]}
    kept = [found[name] for name in SECTIONS.values() if name in found]
    return "\n\n".join([TITLE, *kept]) + "\n"


def heading(section: str) -> str:
    return section.splitlines()[0].removeprefix("## ")


if __name__ == "__main__":
    sys.exit(main())
