"""The stage collect: masks of a participant's image, as PNG, become packed predictions.

From there on they are scored like those of any other submission.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluator.documents.base import Contract, Digest, write
from evaluator.documents.inference import Amount, Device, Large, Measured, Runtime
from evaluator.documents.predictions import Predictions
from evaluator.documents.reading import load_json
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, sha256_file
from evaluator.images.masks import read_mask
from evaluator.images.naming import Shown, shown
from evaluator.inference.hardware import device_name
from evaluator.predictions import DOCUMENT, RUNTIME, bits_file, pack, predicted_cases
from evaluator.progress import Progress, print_line, quiet
from evaluator.sealed import open_sealed

_SAME = "Seed or take out what draws random numbers or depends on the order of files or threads."


class Ran(Contract):
    """How the harness ran the image, and what its container took."""

    image: str  # its id
    device: Device
    threads: int
    seconds: Amount
    host_memory_mb: Large | None


def collect(
    first: Path,
    again: Path,
    out: Path,
    *,
    submission: Digest,
    images: Path,
    key: Path,
    ran: Ran | None,
    progress: Progress = quiet,
) -> Predictions:
    """Take in the masks of both starts; `predictions.json` is written last.

    Args:
        first: the masks of all images.
        again: those of the sample that a second start saw.
        out: an existing folder.
        submission: digest of the submission.
        ran: null where nothing of it was measured; then there is no `runtime.json`.

    Raises:
        BusbenchError: `predictions-invalid`; `model-nondeterministic` where the starts differ;
            `keys-invalid`, `bundle-invalid`.
    """
    with open_sealed(images, key) as (index, _):
        pass
    named = {(i.case_id, i.window): i for i in shown(index, submission, again=False)}
    sample = shown(index, submission, again=True)
    document = _write_masks(first, out, submission, index=index, named=named, progress=progress)
    for image in sample:
        before = read_mask(first, named[image.case_id, image.window])
        if pack(before) != pack(read_mask(again, image)):
            message = "The image gave another mask when it saw the same pixels again."
            raise BusbenchError(Code.MODEL_NONDETERMINISTIC, message, _SAME)
    if ran is not None:
        write(_runtime(ran, len(sample)), out / RUNTIME)
    write(document, out / DOCUMENT)
    return document


def _write_masks(
    first: Path,
    out: Path,
    submission: Digest,
    *,
    index: SealedIndex,
    named: dict[tuple[str, int], Shown],
    progress: Progress,
) -> Predictions:
    plain, transformed = predicted_cases(index)
    masks, done = {}, 0
    for window, cases in enumerate((plain, *transformed)):
        path = out / bits_file(None, window)
        with disk_errors(path), path.open("wb") as sink:
            for case in cases:
                sink.write(pack(read_mask(first, named[case.case_id, window])))
                progress("masks", done := done + 1, len(named))
        masks[path.name] = sha256_file(path)
    return Predictions(
        submission_sha256=submission,
        split_digest=index.split_digest,
        folds=(None,),
        cases=plain,
        transformed=transformed,
        masks=masks,
    )


def _runtime(ran: Ran, repeated: int) -> Runtime:
    """What the harness measured; an image's own library, precision and batches are not known."""
    return Runtime(
        backend="image",
        backend_version=ran.image[:100],
        provider="container",
        device=ran.device,
        precision=None,
        fixed_batches=(),
        repeatable=True,
        threads=ran.threads,
        measured=Measured(
            device_name=device_name(ran.device),
            latency_ms=None,
            batch_sizes=(),
            batch_dependent=(),
            repeated_cases=repeated,
            seconds=ran.seconds,
            host_memory_mb=ran.host_memory_mb,
            gpu_memory_mb=None,
            gpu_memory_of=None,
            energy_j=None,
        ),
    )


PATHS = ("first", "again", "images", "key", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which submission, and how it was run."""
    parser.add_argument("--submission", required=True, metavar="DIGEST")
    parser.add_argument("--ran", metavar="JSON", help="see `Ran`; default: not known")


def run(args: argparse.Namespace) -> None:
    """Take in the masks that a participant's image left."""
    collect(
        args.first,
        args.again,
        args.out,
        submission=args.submission,
        images=args.images,
        key=args.key,
        ran=None if args.ran is None else Ran.model_validate(load_json(args.ran.encode())),
        progress=print_line,
    )
