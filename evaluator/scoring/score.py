"""The score stage: packed masks and sealed labels in, scores out. It never sees a model."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy  # whose parts are imported when they are first used
from numpy.typing import NDArray

from evaluator.consistency import transform_case, window_prefix, window_seeds
from evaluator.documents.base import write
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.scores import RANKED, Scores, labels_digest
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file, sha256_pixels, write_atomically
from evaluator.metrics import METRICS, ProfileVersion, ranking_profile
from evaluator.metrics.case import loops
from evaluator.metrics.secondary import CALIBRATION, UNKNOWN
from evaluator.png import decode_png
from evaluator.predictions import (
    DOCUMENT,
    REMEDY,
    level,
    open_predictions,
)
from evaluator.progress import Progress, print_line, quiet
from evaluator.scoring.cases import (
    Found,
    Measure,
    Truth,
    Truths,
    read_found,
    require_one_cut,
    score_case,
)
from evaluator.scoring.ensemble import score_ensemble
from evaluator.scoring.summary import DEFAULT, CaseScore, summarise
from evaluator.sealed import open_sealed
from evaluator.waiting import add_wait, wait

CASES = "cases.parquet"


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
        found = (Truth(case, numbered(decode_png(data, case, labels))) for case, data in stream)
        known = {t.case.case_id: t for t in sorted(found, key=lambda truth: truth.case.case_id)}
    _require_of(index, document, known, where=predictions)
    seeds = window_seeds(index)
    masks = {case_id: sha256_pixels(truth.mask) for case_id, truth in known.items()}
    measure = Measure(profile, all(t.case.spacing_mm is not None for t in known.values()))
    truths = _without(left_out, known)
    passes: list[list[CaseScore]] = []
    for window, seed in enumerate((None, *seeds)):
        seen = truths if seed is None else _transformed(seed, truths)  # once for all models
        of_models = (
            score_fold(predictions, document, fold, truths=seen, measure=measure, window=window)
            for fold in document.folds
        )
        passes.append([row for of_model in of_models for row in of_model])
        progress("scoring", window + 1, 1 + len(seeds))
    rows, *windows = passes
    scores = summarise(
        rows,
        windows,
        ensemble=score_ensemble(predictions, document, truths=truths, measure=measure),
        predictions_sha256=sha256_file(predictions / DOCUMENT),
        labels_sha256=labels_digest((i, known[i].case.label, mask) for i, mask in masks.items()),
        in_mm=measure.in_mm,
        profile=profile,
    )
    write_atomically(out / CASES, cases_parquet(rows, windows, masks))
    write(scores, out / "scores.json")
    return scores


def _transformed(seed: str, truths: Truths) -> Truths:
    return {i: Truth(*transform_case(seed, t.case, t.lesions)) for i, t in truths.items()}


def _require_of(index: SealedIndex, document: Predictions, truths: Truths, *, where: Path) -> None:
    """Raise `predictions-invalid` for another split, a case that is none, or too many windows."""
    passes: tuple[tuple[PredictedCase, ...], ...] = (document.cases, *document.transformed)
    reasons = {
        "belongs to another split": index.split_digest != document.split_digest,
        "names what is no test case": any(c.case_id not in truths for some in passes for c in some),
        "has windows that were not drawn": len(document.transformed) > len(window_seeds(index)),
    }
    for reason, holds in reasons.items():
        if holds:
            raise BusbenchError(Code.PREDICTIONS_INVALID, f"{where} {reason}.", REMEDY)


def _without(left_out: Collection[str], truths: Truths) -> dict[str, Truth]:
    """The test cases that are scored.

    Raises:
        BusbenchError: `bundle-invalid` where one that is left out is none, or nothing would remain.
    """
    unknown = sorted({*left_out} - truths.keys())
    kept = {case_id: truth for case_id, truth in truths.items() if case_id not in left_out}
    if unknown or not kept:
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
    measure: Measure,
    window: int = 0,
) -> Iterator[CaseScore]:
    """Every test case of one fold's model, in the order of `truths`; a missing one is the worst.

    Args:
        truths: of the images of that window.
        window: of the transformed images; 0: the plain images.
    """

    def scored(case_id: str, found: Found | None, status: str) -> CaseScore:
        return score_case(
            fold, truths[case_id], found, status=status, measure=measure, is_plain=window == 0
        )

    passes = (document.cases, *document.transformed)
    with_maps = window == 0 and document.threshold is not None
    rows = {}
    if window < len(passes) and passes[window]:
        for case_id, found in read_found(
            folder,
            passes[window],
            fold,
            shape_of=lambda case_id: truths[case_id].lesions.shape if case_id in truths else (),
            window=window,
            with_maps=with_maps,
        ):
            if case_id not in truths:  # it is left out
                continue
            if found is not None and found.levels is not None:
                require_one_cut(found.mask, found.levels, level(document.threshold or 0))
            rows[case_id] = scored(case_id, found, "wrong-size")
    unknown = UNKNOWN if with_maps else {}
    for case_id in truths:
        row = rows.get(case_id) or scored(case_id, None, "missing")
        yield replace(row, calibration=row.calibration or unknown)


def numbered(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lesions of a label by number: 255 alone is one lesion."""
    return np.minimum(pixels, 1) if ((pixels == 0) | (pixels == 255)).all() else pixels


def cases_parquet(
    rows: Sequence[CaseScore], windows: Sequence[Sequence[CaseScore]], masks: Mapping[str, str]
) -> bytes:
    """Every case of every fold as Parquet, one row each.

    Columns `transformed_…` are those of the first window of the consistency pass, where there was
    one, `transformed_2_…` those of the second; `awesome_bus_2025_…` those of that profile; `brier`
    and `ece` are there where probabilities were asked for. A metric is null where its profile
    leaves the case out.

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
        **{
            name: pa.array([row.calibration[name] for row in rows], pa.float64())
            for name in CALIBRATION
            if rows and rows[0].calibration
        },
    }
    for number, some in enumerate(windows, start=1):
        columns |= _columns(window_prefix(number), some)
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
    add_wait(parser)


def run(args: argparse.Namespace) -> None:
    """Score the predictions against the sealed labels."""
    if args.wait:
        loops()
        scipy.special  # noqa: B018  it is imported when it is named
        pa.array([])  # looks for pandas, and imports it where it is there
    wait(args)
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
