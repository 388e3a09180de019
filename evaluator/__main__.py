"""`python -m evaluator gate|infer|ready|score`: what the evaluator's containers run.

A stage that fails leaves `error.json` in its output and says who is to blame by its exit status.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Literal, get_args

from evaluator.backends import BACKENDS, Device, InferSettings
from evaluator.backends.triton_server import TritonOptions
from evaluator.contract import GateVerdict, Submission, read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import pretty_json, write_atomically
from evaluator.progress import print_line

ERROR = "error.json"


# Each stage imports its own component only when it runs: the score image has no ONNX packages.
def run_gate(args: argparse.Namespace) -> None:
    """Check a submission's files before any runtime sees them."""
    from evaluator.gate import GateLimits, inspect  # noqa: PLC0415

    remedy = "Compare it with submission_template/submission.yaml."
    path = args.submission / "submission.yaml"
    submission = read(Submission, path, Code.SUBMISSION_INVALID, remedy)
    write(inspect(args.submission, submission, GateLimits()), args.out / "gate.json")


def run_infer(args: argparse.Namespace) -> None:
    """Run the gated models on the sealed images."""
    from evaluator.infer import infer  # noqa: PLC0415

    verdict = read(GateVerdict, args.gate, Code.STAGE_CRASHED, "Run the evaluation again.")
    infer(
        args.submission,
        verdict,
        args.out,
        images=args.images,
        key=args.key,
        settings=_settings(args),
        progress=print_line,
    )


def run_ready(args: argparse.Namespace) -> None:
    """Try whether inference could run here, without a submission."""
    from evaluator.ready import ready  # noqa: PLC0415

    ready(args.out, images=args.images, key=args.key, settings=_settings(args))


def _settings(args: argparse.Namespace) -> InferSettings:
    triton = TritonOptions(args.triton, args.triton_repository, args.tritonserver)
    return InferSettings(args.device, args.threads, args.batch_size, args.backend, triton)


def run_score(args: argparse.Namespace) -> None:
    """Score the predictions against the sealed labels."""
    from evaluator.score import score  # noqa: PLC0415

    score(args.predictions, args.labels, args.key, args.out, print_line)


def _batch_size(text: str) -> int | Literal["auto"]:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is neither auto nor a number above 0")
    return "auto" if text == "auto" else int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluator", description=__doc__)
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    paths = {
        run_gate: ("submission", "out"),
        run_infer: ("submission", "gate", "images", "key", "out"),
        run_ready: ("images", "key", "out"),
        run_score: ("predictions", "labels", "key", "out"),
    }
    for function, names in paths.items():
        name = function.__name__.removeprefix("run_")
        stage = stages.add_parser(name, help=function.__doc__, description=function.__doc__)
        stage.set_defaults(run=function)
        for path in names:
            stage.add_argument(f"--{path}", type=Path, required=True, metavar="PATH")
        if function in (run_infer, run_ready):
            stage.add_argument("--device", choices=get_args(Device), default="cpu")
            stage.add_argument("--backend", choices=tuple(BACKENDS), default="onnxruntime")
            stage.add_argument("--threads", type=int, default=1)
            stage.add_argument("--batch-size", type=_batch_size, default="auto", metavar="N|auto")
            stage.add_argument("--triton", metavar="HOST:PORT", help="a server that runs already")
            stage.add_argument("--triton-repository", type=Path, metavar="PATH", help="its models")
            stage.add_argument("--tritonserver", type=Path, metavar="PATH", help="or one to start")
    return parser


def main() -> int:
    """Run one stage; the exit status is the fault of what went wrong, or 0."""
    args = _parser().parse_args()
    try:
        args.run(args)
    except BusbenchError as error:
        fields = {"code": error.code, "message": error.message, "remedy": error.remedy}
        write_atomically(args.out / ERROR, pretty_json(fields))
        print(f"error {error}", file=sys.stderr)
        return int(error.fault)
    return 0


if __name__ == "__main__":
    sys.exit(main())
