"""Make the example board and its page of results, by the project's own verbs.

    python -m benchmarks.board --data ../shared/data --out build/board --docs docs

prints each command before it runs it. Everything goes on where it was interrupted. `--print` only
prints the commands, for your own shell, in an empty folder. It needs a Docker engine, and hours:
networks that `--trained` has not are trained here. FOLDER of `--trained` contains
TRACK/NETWORK/given, each as `busbench benchmark` takes it (docs/benchmark.md), and for the split by
image leak/NETWORK/given; single/NETWORK is a submission of one model. Beside the file of --plan
are recipes/NETWORK.yaml and challenge.yaml, and notes.yaml where the page has more to say.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from benchmarks.board.plan import PLAN, PROJECT, SINGLE, read_plan
from benchmarks.board.steps import Places, Step, steps
from harness.sandbox.sources import BASE_VARIABLE

RUN = {"busbench": (sys.executable, "-m", "harness"), "python": (sys.executable,)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the releases")
    parser.add_argument("--out", type=Path, required=True, help="the board's folder; private")
    parser.add_argument("--splits", type=Path, default=PROJECT / "splits")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--trained", type=Path, metavar="FOLDER", help="trained elsewhere")
    parser.add_argument("--docs", type=Path, help="write the results here; default: OUT/docs")
    parser.add_argument("--print", action="store_true", help="print the commands, run none")
    chosen = parser.parse_args()
    try:
        plan = read_plan(chosen.plan)
    except (OSError, ValueError, yaml.YAMLError) as error:
        parser.error(f"{chosen.plan}: {error}")
    given = {} if chosen.trained is None else trained_in(chosen.trained.absolute())
    asked = {*plan.trained, *((SINGLE, name) for name in plan.single)}
    if unknown := {*given} - asked:
        parser.error(f"{'/'.join(min(unknown))} is not in the plan; take it out of --trained.")
    if chosen.trained is not None and not given:
        parser.error(f"{chosen.trained} has no folder TRACK/NETWORK/given.")
    places = Places(
        chosen.data.absolute(),
        chosen.splits.absolute(),
        given=given,
        base=os.environ.get(BASE_VARIABLE),
        plan=chosen.plan.absolute(),
        docs=str((chosen.docs or chosen.out / "docs").absolute()),
    )
    here = ["/".join(one) for one in plan.trained if one not in given]
    if chosen.trained is not None and here:
        print(f"To be trained here, for --trained has not: {', '.join(here)}.", file=sys.stderr)
    found = [*steps(plan, places)]
    if chosen.print:
        print("\n".join(shlex.join(step.command) for step in found))
        return 0
    chosen.out.mkdir(parents=True, exist_ok=True)
    return run(found, chosen.out)


def trained_in(folder: Path) -> Mapping[tuple[str, str], Path]:
    """What was trained elsewhere, by track and network."""
    found = {(path.parts[-3], path.parts[-2]): path for path in folder.glob("*/*/given")}
    single = {(SINGLE, path.name): path for path in folder.glob(f"{SINGLE}/*/") if path.is_dir()}
    return dict(sorted((found | single).items()))


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
