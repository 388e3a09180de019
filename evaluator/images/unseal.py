"""The stage unseal: test images in clear, as PNG in a memory volume that a participant will see.

Names, order, times and the files' numbers on the volume are all those of a shuffled list, so that
nothing but its pixels tells what an image is. No label, key or seed is there.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.consistency import transform_case, window_seeds
from evaluator.documents.base import Digest, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors
from evaluator.images.naming import FOLDER, LIST, Shown, ShownImage, ShownImages, shown
from evaluator.progress import Progress, print_line, quiet
from evaluator.sealed import decode_image, open_sealed

FAST = 1  # zlib's level: speckle hardly compresses at any


def unseal(
    volume: Path,
    submission: Digest,
    *,
    images: Path,
    key: Path,
    again: bool,
    progress: Progress = quiet,
) -> None:
    """Write the images of one start, and their list, to `volume`.

    Args:
        submission: digest of the submission, which decides the names.
        again: whether it is the second start, of a sample.

    Raises:
        BusbenchError: `keys-invalid`, `bundle-invalid`; `limits-too-low` where the volume is full.
    """
    folder, drafts = volume / FOLDER, volume / ".drafts"
    try:
        with disk_errors(volume):
            for made in (folder, drafts):
                made.mkdir()
            listed = _write_drafts(drafts, submission, images, key=key, again=again)
            for number, image in enumerate(listed, start=1):
                draft = drafts / image.file
                data = draft.read_bytes()
                draft.unlink()
                (folder / image.file).write_bytes(data)  # a file of its own: numbered as sorted
                os.utime(folder / image.file, (0, 0))
                progress("images", number, len(listed))
            drafts.rmdir()
            entries = tuple(ShownImage(file=i.file, height=i.height, width=i.width) for i in listed)
            write(ShownImages(images=entries), volume / LIST)
    except BusbenchError as error:
        if error.code != Code.DISK_FULL:
            raise
        message = "The test images do not fit into limits.infer.output_mb and output_files."
        remedy = "Raise these limits in challenge.yaml, and run the same command again."
        raise BusbenchError(Code.LIMITS_TOO_LOW, message, remedy) from error


def _write_drafts(
    drafts: Path, submission: Digest, images: Path, *, key: Path, again: bool
) -> list[Shown]:
    """Write the PNG of every image that is shown; which they are."""
    with open_sealed(images, key) as (index, cases):
        listed = shown(index, submission, again=again)
        by_image = {(image.case_id, image.window): image for image in listed}
        seeds = (None, *window_seeds(index))
        for case, data in cases:
            pixels = decode_image(data, case, images)
            for window, seed in enumerate(seeds):
                image = by_image.get((case.case_id, window))
                if image is None:
                    continue
                view = pixels if seed is None else transform_case(seed, case, pixels)[1]
                (drafts / image.file).write_bytes(encode_png(view))
    return listed


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """An image (H, W) uint8 as a grey PNG without any metadata."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=FAST)
    return stream.getvalue()


PATHS = ("images", "key", "volume", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which submission, and which start."""
    parser.add_argument("--submission", required=True, metavar="DIGEST")
    parser.add_argument("--start", choices=("first", "again"), required=True)


def run(args: argparse.Namespace) -> None:
    """Write the test images where a participant's image will find them."""
    unseal(
        args.volume,
        args.submission,
        images=args.images,
        key=args.key,
        again=args.start == "again",
        progress=print_line,
    )
