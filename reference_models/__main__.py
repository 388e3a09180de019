"""`python -m reference_models train|run`: the command line of the model zoo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reference_models.config import load_config, packaged_configs
from reference_models.errors import ModelsError
from reference_models.machine import prepare_machine
from reference_models.submission import Author, run, train


def _run(args: argparse.Namespace) -> None:
    """Train all folds, export them to ONNX and write a submission folder."""
    config = load_config(args.config)
    machine = prepare_machine(args.device, args.threads, config.precision)
    author = Author(args.team, args.method or config.network)
    path = run(config, args.bundle, args.out, args.work or args.out / ".work", machine, author)
    print(f"wrote {path}")


def _train(args: argparse.Namespace) -> None:
    """Train one fold, or all, and keep checkpoints and logs."""
    config = load_config(args.config)
    machine = prepare_machine(args.device, args.threads, config.precision)
    folds = None if args.all_folds else [args.fold]
    train(config, args.bundle, args.out, machine, folds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reference_models", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, function in (("train", _train), ("run", _run)):
        verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
        verb.set_defaults(function=function)
        recipes = ", ".join(packaged_configs())
        verb.add_argument("--config", default="demo", help=f"a YAML file, or one of: {recipes}")
        verb.add_argument("--bundle", type=Path, required=True, help="the training bundle")
        verb.add_argument("--out", type=Path, required=True, help="where results go")
        verb.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
        verb.add_argument("--threads", type=int, help="CPU threads; default: what is granted")
        if function is _run:
            verb.add_argument("--work", type=Path, help="checkpoints; default: OUT/.work")
            verb.add_argument("--team", default="BUSBench")
            verb.add_argument("--method", help="default: the network's name")
        else:
            which = verb.add_mutually_exclusive_group(required=True)
            which.add_argument("--fold", type=int, help="train this fold's model")
            which.add_argument("--all-folds", action="store_true", help="train every fold's model")
    return parser


def main() -> int:
    """Run one verb; a foreseen failure is one sentence and its exit status."""
    args = _parser().parse_args()
    try:
        args.function(args)
    except ModelsError as error:
        print(f"error {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
