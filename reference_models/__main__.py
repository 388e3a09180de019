"""`python -m reference_models`: train, export, or both in one go; or write a baseline.

The standard library's parser: a participant's image should carry no more than training needs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from reference_models import pipeline
from reference_models.baseline_submission import KINDS, hand_in
from reference_models.combine import combine
from reference_models.config import PROFILES, load_config, packaged_configs
from reference_models.errors import MachineError, ModelsError
from reference_models.logs import print_line, say_line
from reference_models.precision import FULL, PRECISIONS
from reference_models.submission import Titles

TEAM = "BUSBench reference"


def _train(args: argparse.Namespace) -> None:
    """Train one fold or all, and export what is finished; a killed training goes on."""
    folds = None if args.all_folds else [args.fold]
    pipeline.train(_job(args), folds, print_line, say=say_line)


def _export(args: argparse.Namespace) -> None:
    """Export every finished fold again, in any precision, and write the submission."""
    pipeline.export(_job(args), args.precision, print_line, say=say_line)


def _run(args: argparse.Namespace) -> None:
    """Train every fold, export each, and leave a submission folder."""
    pipeline.train(_job(args), None, print_line, say=say_line)


def _baseline(args: argparse.Namespace) -> None:
    """Write the submission of a network that needs no training."""
    titles = Titles(args.team, args.kind if args.method is None else args.method)
    hand_in(args.kind, args.bundle, args.out, titles=titles, published=args.published, say=say_line)


def _combine(args: argparse.Namespace) -> None:
    """Write a submission that averages the models of another one, over folds or mirror images."""
    combine(
        args.submission,
        args.bundle,
        args.out,
        mirrored=args.mirrored,
        ensemble=args.ensemble,
        method=args.method,
        say=say_line,
    )


VERBS = {"train": _train, "export": _export, "run": _run}


def _job(args: argparse.Namespace) -> pipeline.Job:
    config = load_config(args.config, args.profile, args.set)
    method = _method(config.network, args) if args.method is None else args.method
    return pipeline.Job(
        config=config,
        bundle=args.bundle,
        out=args.out or Path("runs") / Path(args.config).stem,
        titles=Titles(args.team, method),
        work=args.work,
        device=args.device,
        threads=args.threads,
        start=args.init,
        events=args.tensorboard,
    )


def _method(network: str, args: argparse.Namespace) -> str:
    precision = getattr(args, "precision", FULL)
    return network if precision == FULL else f"{network} {precision}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reference_models",
        description="Train reference networks on a training bundle and leave a submission.",
        epilog="Example: python -m reference_models run --config demo --bundle BUNDLE --out OUT",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, function in VERBS.items():
        verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
        verb.set_defaults(function=function)
        _add_options(verb)
        if name == "train":
            which = verb.add_mutually_exclusive_group(required=True)
            which.add_argument("--fold", type=int, help="train this fold's model alone")
            which.add_argument("--all-folds", action="store_true", help="train every fold's model")
        if name == "export":
            verb.add_argument(
                "--precision",
                choices=(FULL, *PRECISIONS),
                default=FULL,
                help="of weights and activations; what a lower one costs in Dice is measured",
            )
            verb.epilog = (
                "Example: python -m reference_models export --config unext --bundle BUNDLE "
                "--work WORK --precision int8 --out unext-int8"
            )
    _add_baseline(verbs.add_parser("baseline", help=_baseline.__doc__))
    _add_combine(verbs.add_parser("combine", help=_combine.__doc__))
    return parser


def _add_combine(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(function=_combine)
    verb.description = _combine.__doc__
    verb.epilog = (
        "Example: python -m reference_models combine unext --bundle BUNDLE --ensemble "
        "--out unext-ensemble"
    )
    verb.add_argument("submission", type=Path, help="with one model a fold, by this trainer")
    _add_bundle(verb)
    verb.add_argument("--out", type=Path, required=True, help="the submission folder")
    verb.add_argument(
        "--mirrored",
        action="store_true",
        help="average the answers for an image and its mirror image, at twice the cost",
    )
    verb.add_argument(
        "--ensemble",
        action="store_true",
        help="one file for all folds, which averages the probabilities of their models",
    )
    verb.add_argument("--method", help="the method on the board; default: says what is averaged")


def _add_baseline(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(function=_baseline)
    verb.description = _baseline.__doc__
    verb.epilog = (
        "Example: python -m reference_models baseline --kind closed-form --bundle BUNDLE "
        "--out closed-form"
    )
    verb.add_argument(
        "--kind",
        required=True,
        choices=tuple(KINDS),
        help="closed-form: a ridge regression on brightness and place; empty: no lesion anywhere; "
        "memoriser: cheats, it looks the answer up among --published",
    )
    _add_bundle(verb)
    verb.add_argument("--out", type=Path, required=True, help="the submission folder")
    verb.add_argument(
        "--published",
        type=Path,
        metavar="STORE",
        help="a prepared release with its test cases, which memoriser learns by heart",
    )
    verb.add_argument("--team", default=TEAM, help="the team on the board")
    verb.add_argument("--method", help="the method on the board; default: the kind")


def _add_bundle(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--bundle", type=Path, required=True, help="the training bundle")


def _add_options(verb: argparse.ArgumentParser) -> None:
    recipes = ", ".join(packaged_configs())
    verb.add_argument("--config", default="demo", help=f"a YAML file, or one of: {recipes}")
    profiles = ", ".join(PROFILES)
    verb.add_argument("--profile", help=f"instead of the recipe's settings: {profiles}")
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one setting of the recipe, as in --set steps=200 --set input.height=128",
    )
    _add_bundle(verb)
    verb.add_argument("--out", type=Path, help="the submission folder; default: runs/RECIPE")
    verb.add_argument("--work", type=Path, help="checkpoints and logs; default: OUT/work")
    verb.add_argument("--init", type=Path, help="weights to start from, see docs/train.md")
    verb.add_argument("--tensorboard", type=Path, help="a folder for TensorBoard's events")
    verb.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
    verb.add_argument("--threads", type=_positive, help="CPU threads; default: what is granted")
    verb.add_argument("--team", default=TEAM, help="the team on the board")
    verb.add_argument("--method", help="the method on the board; default: the network's name")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main() -> int:
    """Run one verb; a foreseen failure is one sentence and its exit status."""
    args = _parser().parse_args()
    try:
        args.function(args)
    except ModelsError as error:
        return _failed(error)
    except torch.OutOfMemoryError:
        return _failed(MachineError("The device has too little memory.", "Lower the batch."))
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    return 0


def _failed(error: ModelsError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.status


if __name__ == "__main__":
    sys.exit(main())
