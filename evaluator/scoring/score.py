"""The score stage: packed masks and sealed labels in, scores out. It never sees a model."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evaluator.consistency import transform_case
from evaluator.documents.base import write
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.scores import RANKED, Scores, labels_digest
from evaluator.documents.sealed import SealedCase
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file, sha256_pixels, write_atomically
from evaluator.metrics import METRICS, ProfileVersion, ranking_profile
from evaluator.metrics.lesions import count_lesions, missed
from evaluator.png import decode_png
from evaluator.predictions import (
    DOCUMENT,
    REMEDY,
    bits_file,
    open_predictions,
    read_packed,
    unpack,
)
from evaluator.progress import Progress, print_line, quiet
from evaluator.scoring import awesome_bus
from evaluator.scoring.summary import DEFAULT, CaseScore, summarise
from evaluator.sealed import open_sealed

CASES = "cases.parquet"


@dataclass(frozen=True)
class Truth:
    """A test case as the organiser knows it."""

    case: SealedCase
    lesions: NDArray[np.uint8]  # (H, W): 0 where none is, else a lesion's number from 1

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The union of the lesions, (H, W)."""
        return self.lesions > 0


Truths = Mapping[str, Truth]  # by case id, in its order


def score(
    predictions: Path,
    labels: Path,
    key: Path,
    *,
    out: Path,
    profile: ProfileVersion = DEFAULT,
    left_out: Collection[str] = (),
    progress: Progress = quiet,
) -> Scores:
    """Score a submission's predictions against the sealed labels.

    Writes `cases.parquet` (every case of every fold: for the organiser alone) and, last,
    `scores.json` into `out`: the same bytes for the same input.

    Args:
        profile: what masks are measured by.
        left_out: test cases that are not scored, since the submission may have been trained on
            their images.

    Raises:
        BusbenchError: `predictions-invalid`, `bundle-invalid`, `keys-invalid`.
    """
    document = open_predictions(predictions)
    with open_sealed(labels, key) as (index, stream):
        if index.split_digest != document.split_digest:
            raise BusbenchError(
                Code.PREDICTIONS_INVALID, f"{predictions} belongs to another split.", REMEDY
            )
        found = (Truth(case, numbered(decode_png(data, case, labels))) for case, data in stream)
        truths: Truths = {
            t.case.case_id: t for t in sorted(found, key=lambda truth: truth.case.case_id)
        }
    seed = index.consistency_seed
    transformed = {} if seed is None else {i: _transformed(seed, t) for i, t in truths.items()}
    _require_known_cases(predictions, document.cases, truths)
    _require_known_cases(predictions, document.transformed, transformed)
    masks = {case_id: sha256_pixels(truth.mask) for case_id, truth in truths.items()}
    labelled = labels_digest((i, truths[i].case.label, mask) for i, mask in masks.items())
    in_mm = all(truth.case.spacing_mm is not None for truth in truths.values())
    scored, transformed = _without(left_out, truths), _without(left_out, transformed)
    rows: list[CaseScore] = []
    transformed_rows: list[CaseScore] = []
    for number, fold in enumerate(document.folds, start=1):
        rows += score_fold(predictions, document, fold, truths=scored, in_mm=in_mm, profile=profile)
        if transformed:
            transformed_rows += score_fold(
                predictions,
                document,
                fold,
                truths=transformed,
                in_mm=in_mm,
                profile=profile,
                is_transformed=True,
            )
        progress("scoring", number, len(document.folds))
    scores = summarise(
        rows,
        transformed_rows,
        predictions_sha256=sha256_file(predictions / DOCUMENT),
        labels_sha256=labelled,
        in_mm=in_mm,
        profile=profile,
    )
    write_atomically(out / CASES, cases_parquet(rows, transformed_rows, masks))
    write(scores, out / "scores.json")
    return scores


def _transformed(seed: str, truth: Truth) -> Truth:
    return Truth(*transform_case(seed, truth.case, truth.lesions))


def _require_known_cases(where: Path, cases: Sequence[PredictedCase], truths: Truths) -> None:
    for case in cases:
        if case.case_id not in truths:
            raise BusbenchError(
                Code.PREDICTIONS_INVALID, f"{where} names what is no test case.", REMEDY
            )


def _without(left_out: Collection[str], truths: Truths) -> dict[str, Truth]:
    """The test cases that are scored.

    Raises:
        BusbenchError: `bundle-invalid` where one that is left out is none, or nothing would remain.
    """
    unknown = sorted({*left_out} - truths.keys()) if truths else []
    kept = {case_id: truth for case_id, truth in truths.items() if case_id not in left_out}
    if unknown or (truths and not kept):
        what = f"{unknown[0]}, which is no test case" if unknown else "every test case"
        remedy = "Name the frozen split and the cross-audit that belong to this bundle."
        raise BusbenchError(Code.BUNDLE_INVALID, f"What is left out names {what}.", remedy)
    return kept


def score_fold(
    folder: Path,
    document: Predictions,
    fold: int | None,
    *,
    truths: Truths,
    in_mm: bool,
    profile: ProfileVersion = DEFAULT,
    is_transformed: bool = False,
) -> Iterator[CaseScore]:
    """Every test case of one fold's model, in the order of `truths`; a missing one is the worst.

    Args:
        is_transformed: whether `truths` are those of the transformed images.
    """
    cases = document.transformed if is_transformed else document.cases
    packed = read_packed(folder / bits_file(fold, is_transformed), cases) if cases else ()
    found = {
        c.case_id: score_case(
            fold,
            c,
            data,
            truth=truths[c.case_id],
            in_mm=in_mm,
            profile=profile,
            is_transformed=is_transformed,
        )
        for c, data in packed
        if c.case_id in truths
    }
    for case_id, truth in truths.items():
        yield found.get(case_id) or _worst(fold, truth, "missing", in_mm=in_mm, profile=profile)


def score_case(
    fold: int | None,
    predicted: PredictedCase,
    packed: bytes,
    *,
    truth: Truth,
    in_mm: bool,
    profile: ProfileVersion = DEFAULT,
    is_transformed: bool = False,
) -> CaseScore:
    """One case of one fold's model: its packed mask against the truth."""
    if (predicted.height, predicted.width) != truth.lesions.shape:
        return _worst(fold, truth, "wrong-size", in_mm=in_mm, profile=profile)
    mask, reference = unpack(packed, predicted.height, predicted.width), truth.mask
    spacing = truth.case.spacing_mm if in_mm else None
    values = profile.values(mask, reference, spacing)
    lesion = int(reference.sum())
    status = "ok" if lesion or mask.any() else "true-negative"
    counts = count_lesions(mask, truth.lesions)
    published = {} if is_transformed else awesome_bus.values(mask, reference)
    return CaseScore(fold, truth.case, lesion, status, values, counts, published)


def _worst(
    fold: int | None, truth: Truth, status: str, *, in_mm: bool, profile: ProfileVersion
) -> CaseScore:
    spacing, lesion = truth.case.spacing_mm if in_mm else None, int(truth.mask.sum())
    values = profile.worst(truth.lesions.shape, spacing, lesion=lesion > 0)
    counts, published = missed(truth.lesions), awesome_bus.WORST
    return CaseScore(fold, truth.case, lesion, status, values, counts, published)


def numbered(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lesions of a label by number: 255 alone is one lesion."""
    return np.minimum(pixels, 1) if set(np.unique(pixels)) <= {0, 255} else pixels


def cases_parquet(
    rows: Sequence[CaseScore], transformed: Sequence[CaseScore], masks: Mapping[str, str]
) -> bytes:
    """Every case of every fold as Parquet, one row each.

    Columns `transformed_…` are those of the consistency pass, where there was one;
    `awesome_bus_2025_…` those of that profile. A metric is null where its profile leaves the case
    out.

    Args:
        masks: case id -> digest of the reference's pixels.
    """
    cases = [row.case for row in rows]
    columns: dict[str, pa.Array] = {
        "case_id": pa.array([case.case_id for case in cases], pa.string()),
        "fold": pa.array([row.fold for row in rows], pa.int8()),  # null: one model for all folds
        "class": pa.array([case.label for case in cases], pa.string()),
        "mask_sha256": pa.array([masks[case.case_id] for case in cases], pa.string()),
        "patient_group": pa.array([case.patient_group for case in cases], pa.string()),
        "device": pa.array([case.device for case in cases], pa.string()),
        **_columns("", rows),
        **{
            f"awesome_bus_2025_{name}": pa.array(
                [row.awesome_bus[name] for row in rows], pa.float64(), from_pandas=True
            )
            for name in RANKED
        },
        **{
            f"lesions_{name}": pa.array([getattr(row.lesions, field) for row in rows], pa.int32())
            for name, field in (("marked", "lesions"), ("found", "found"), ("false", "false"))
        },
        **(_columns("transformed_", transformed) if transformed else {}),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def _columns(prefix: str, rows: Sequence[CaseScore]) -> dict[str, pa.Array]:
    whole = {
        "height": [row.case.height for row in rows],
        "width": [row.case.width for row in rows],
        "lesion_px": [row.lesion for row in rows],
    }
    return {
        f"{prefix}status": pa.array([row.status for row in rows], pa.string()),
        **{f"{prefix}{name}": pa.array(column, pa.int32()) for name, column in whole.items()},
        **{
            f"{prefix}{m}": pa.array([r.values[m] for r in rows], pa.float64(), from_pandas=True)
            for m in METRICS
        },
    }


PATHS = ("predictions", "labels", "key", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options beside the paths."""
    parser.add_argument("--profile", type=ranking_profile, default=DEFAULT)
    what = "a JSON list of test cases that are not scored"
    parser.add_argument("--left-out", type=Path, metavar="PATH", help=what)


def run(args: argparse.Namespace) -> None:
    """Score the predictions against the sealed labels."""
    left_out = [] if args.left_out is None else json.loads(args.left_out.read_bytes())
    score(
        args.predictions,
        args.labels,
        args.key,
        out=args.out,
        profile=args.profile,
        left_out=left_out,
        progress=print_line,
    )
