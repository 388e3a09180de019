"""Make the example board, by the project's own verbs.

    python -m benchmarks.board --data ../shared/data --out build/board

prints each command before it runs it. Everything goes on where it was interrupted. `--print` only
prints the commands, for your own shell, in an empty folder. It needs a Docker engine, and hours.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.board.plan import HERE, Places, Step, read_plan, steps

PROJECT = HERE.parents[1]
RUN = {"busbench": (sys.executable, "-m", "harness"), "python": (sys.executable,)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the releases")
    parser.add_argument("--out", type=Path, required=True, help="the board's folder; private")
    parser.add_argument("--splits", type=Path, default=PROJECT / "splits")
    parser.add_argument("--plan", type=Path, default=HERE / "plan.yaml")
    parser.add_argument("--print", action="store_true", help="print the commands, run none")
    chosen = parser.parse_args()
    places = Places(chosen.data.absolute(), chosen.splits.absolute())
    try:
        found = [*steps(read_plan(chosen.plan), places)]
    except (OSError, ValueError, yaml.YAMLError) as error:
        parser.error(f"{chosen.plan}: {error}")
    if chosen.print:
        print("\n".join(shlex.join(step.command) for step in found))
        return 0
    chosen.out.mkdir(parents=True, exist_ok=True)
    return run(found, chosen.out)


def run(found: Sequence[Step], folder: Path) -> int:
    """Run each step in `folder`; the status of the first that fails, or 0."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    for step in found:
        if step.made is not None and (folder / step.made).exists():
            continue
        print(f"$ {shlex.join(step.command)}", flush=True)
        first, *words = step.command
        command = [*RUN.get(first, (first,)), *words]
        done = subprocess.run(command, cwd=folder, env=environment, check=False)
        if done.returncode:
            print("That failed. Correct it, and run the same command again.", file=sys.stderr)
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
