"""`python -m evaluator STAGE`: what the evaluator's containers run.

An image has the modules of its own stages alone, so a stage is imported when it is named. One that
fails leaves `error.json` in its output, and its exit status says who is to blame.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from evaluator.errors import BusbenchError
from evaluator.files import pretty_json, write_atomically
from evaluator.waiting import wait

ERROR = "error.json"
# Each module has `PATHS`, the names of its required paths, and `run(args)`; perhaps `add_options`.
STAGES = {
    "gate": "evaluator.gate.inspection",
    "infer": "evaluator.inference.infer",
    "ready": "evaluator.inference.ready",
    "unseal": "evaluator.images.unseal",
    "collect": "evaluator.images.collect",
    "score": "evaluator.scoring.score",
    "verdict": "evaluator.gate.verdict",
}


def main() -> int:
    """Run one stage; the exit status is the fault of what went wrong, or 0."""
    parser = argparse.ArgumentParser(prog="python -m evaluator", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("options", nargs=argparse.REMAINDER)
    words = parser.parse_args()
    try:
        stage = import_module(STAGES[words.stage])
    except ModuleNotFoundError as error:
        parser.error(f"this image does not contain the stage {words.stage} ({error.name})")
    options = argparse.ArgumentParser(prog=f"{parser.prog} {words.stage}")
    options.description = stage.run.__doc__
    for name in stage.PATHS:
        options.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    if hasattr(stage, "add_options"):
        stage.add_options(options)
    args = options.parse_args(words.options)
    try:
        stage.run(args)
    except BusbenchError as error:
        wait(args)  # before, there is no output
        fields = {"code": error.code, "message": error.message, "remedy": error.remedy}
        write_atomically(args.out / ERROR, pretty_json(fields))
        print(f"error {error.shown}", file=sys.stderr)
        return int(error.fault)
    return 0


if __name__ == "__main__":
    sys.exit(main())
