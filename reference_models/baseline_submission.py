"""Baselines as submissions: from a training bundle, or from a published release, to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reference_models.baselines import (
    INPUT,
    OPSET,
    Example,
    empty_mask,
    memoriser,
    sample,
    segmenter,
)
from reference_models.data import Bundle, open_bundle, read_case
from reference_models.errors import UsageError, chosen
from reference_models.logs import Say, silent
from reference_models.submission import (
    DOCUMENT,
    Declared,
    Titles,
    model_name,
    require_only,
    write_document,
    write_model,
)

CUT = 7  # a corner lacks one part in so many of each side
Models = Mapping[int, bytes] | Mapping[None, bytes]


@dataclass(frozen=True)
class Sources:
    """What a baseline may be made of.

    Args:
        published: `images/` and `masks/` of one release, test cases included, as PNG files of one
            name; None where the baseline is honest.
    """

    bundle: Bundle
    published: Path | None


def hand_in(
    kind: str, bundle: Path, out: Path, *, titles: Titles, published: Path | None, say: Say = silent
) -> None:
    """Write the submission of a baseline; the same sources give the same bytes.

    Args:
        kind: one of `KINDS`.
        published: see `Sources`.

    Raises:
        UsageError: an unknown kind, `published` missing where it is needed or given where it has
            no effect, or a folder that contains something else.
        BundleError, MachineError: see the modules that raise them.
    """
    make = chosen("baseline", kind, KINDS)
    sources = Sources(open_bundle(bundle), published)
    if (published is not None) != (make is _memorised):
        raise UsageError(
            f"The baseline {kind} {'reads no' if published else 'needs'} published answers.",
            "Name --published with memoriser, and with no other.",
        )
    models = make(sources)
    require_only(out, {DOCUMENT, *map(model_name, models)})
    digests = {fold: write_model(out, fold, data) for fold, data in models.items()}
    track = sources.bundle.document.track
    write_document(out, Declared(INPUT, OPSET), track=track, titles=titles, models=digests)  # type: ignore[arg-type]
    say(f"{titles.method}: {sum(map(len, models.values())) / 1e6:.1f} MB of ONNX in {out}")


def _closed_form(sources: Sources) -> Models:
    """One model a fold, fitted to the other folds' cases."""
    bundle = sources.bundle
    samples = [
        (case.fold, sample(view))
        for case in bundle.cases
        for view in views(Example(*read_case(bundle, case)))
    ]
    return {
        fold: segmenter([each for own, each in samples if own != fold]) for fold in bundle.folds
    }


def views(example: Example) -> list[Example]:
    """Two opposite corners of an example, one mirrored: where a lesion is says less."""
    height, width = example.mask.shape
    down, across = height // CUT, width // CUT
    image, mask = example
    upper = Example(image[:-down, :-across], mask[:-down, :-across])
    lower = Example(image[down:, across:][:, ::-1], mask[down:, across:][:, ::-1])
    return [upper, lower]


def _empty(sources: Sources) -> Models:  # noqa: ARG001 - one of KINDS
    return {None: empty_mask()}


def _memorised(sources: Sources) -> Models:
    assert sources.published is not None
    examples = [_published(path) for path in sorted((sources.published / "images").glob("*.png"))]
    if not examples:
        raise UsageError(
            f"{sources.published} has no images/*.png.", "Name the folder of a prepared release."
        )
    return {None: memoriser(examples)}


def _published(path: Path) -> Example:
    mask = path.parent.with_name("masks") / path.name
    try:
        with Image.open(path) as image, Image.open(mask) as answer:
            return Example(np.asarray(image.convert("L")), np.asarray(answer.convert("L")) > 0)
    except (OSError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"{path} or its mask cannot be read.", "Prepare the release again."
        ) from error


KINDS: Mapping[str, Callable[[Sources], Models]] = {
    "closed-form": _closed_form,
    "empty": _empty,
    "memoriser": _memorised,
}
