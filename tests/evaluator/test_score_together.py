"""Scores beside the fold models' mean: several windows, probabilities, the models as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyrage
import pytest
from numpy.typing import NDArray

from evaluator.consistency import KEPT_LESION, transform_case, window_seeds
from evaluator.documents.base import write
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.scores import RANKED, Scores
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError
from evaluator.files import sha256_file
from evaluator.metrics import case_metrics
from evaluator.metrics.secondary import calibration
from evaluator.predictions import bits_file, level, maps_file, pack
from evaluator.scoring.score import CASES, score
from evaluator.sealed import seal_archive
from harness.store import png_bytes

DIGEST, SEED, SHAPE, THRESHOLD = "0" * 64, "cd" * 32, (60, 70), 0.4
Levels = NDArray[np.uint8]


def case(number: int, **known: object) -> SealedCase:
    """One of twelve cases, two a patient, the last two without a lesion."""
    return SealedCase(
        case_id=f"c{number:02}",
        height=SHAPE[0],
        width=SHAPE[1],
        file=f"c{number:02}.png",
        label="normal" if number > 9 else "benign",
        patient_group=f"p{number // 2}",
        **known,  # type: ignore[arg-type]
    )


def truth(number: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    place = (10 + 4 * number, 30 + number)
    near = (rows - place[0]) ** 2 + (columns - place[1]) ** 2 <= (5 + number) ** 2
    return np.asarray(near & (number <= 9))


def levels(number: int, fold: int) -> Levels:
    """What a model of that fold is sure of: blurred, moved by its number."""
    random = np.random.default_rng(100 * fold + number)
    noise = random.normal(0, 20, SHAPE)
    moved = np.roll(truth(number), fold, axis=1) * 140.0 + 60 + noise
    return np.asarray(moved.clip(0, 255), np.uint8)


def mask(values: Levels) -> NDArray[np.bool_]:
    return np.asarray(values > THRESHOLD * 255)


def scored(
    root: Path,
    folds: Sequence[int | None] = (0, 1, 2),
    windows: int = 3,
    *,
    with_maps: bool = True,
    spoil: tuple[int, int] | None = None,
    cases: Sequence[SealedCase] = tuple(map(case, range(12))),
) -> Scores:
    """The scores of some fold models, all stages' files being written here.

    Args:
        spoil: fold and case whose probabilities are another's.
    """
    identity = pyrage.x25519.Identity.generate()
    index = SealedIndex(
        split_digest=DIGEST, consistency_seed=SEED, windows=windows, cases=tuple(cases)
    )
    files = [png_bytes(truth(n)) for n in range(len(cases))]
    (root / "labels.age").write_bytes(seal_archive(index, files, str(identity.to_public())))
    (root / "labels.key").write_text(str(identity))
    folder = root / "predictions"
    folder.mkdir()
    declared: list[list[PredictedCase]] = [[] for _ in range(1 + windows)]
    for place, fold in enumerate(folds):
        for window, seed in enumerate((None, *window_seeds(index))):
            seen = [
                (each, mask(levels(n, place)))
                if seed is None
                else transform_case(seed, each, mask(levels(n, place)))
                for n, each in enumerate(cases)
            ]
            declared[window] = [
                PredictedCase(case_id=each.case_id, height=m.shape[0], width=m.shape[1])
                for each, m in seen
            ]
            (folder / bits_file(fold, window)).write_bytes(b"".join(pack(m) for _, m in seen))
        if with_maps:
            data = [levels(n, place) for n in range(len(cases))]
            if spoil is not None and spoil[0] == place:
                data[spoil[1]] = 255 - data[spoil[1]]
            (folder / maps_file(fold)).write_bytes(b"".join(each.tobytes() for each in data))
    document = Predictions(
        submission_sha256=DIGEST,
        split_digest=DIGEST,
        folds=tuple(folds),
        cases=tuple(declared[0]),
        transformed=tuple(map(tuple, declared[1:])),
        masks={path.name: sha256_file(path) for path in folder.glob("*.bits")},
        maps={path.name: sha256_file(path) for path in folder.glob("*.maps")},
        threshold=THRESHOLD if with_maps else None,
    )
    write(document, folder / "predictions.json")
    return score(folder, root / "labels.age", root / "labels.key", out=root / "out")


def test_the_gap_is_against_the_mean_of_the_windows_that_keep_the_lesion(tmp_path: Path) -> None:
    """Counted once more from the masks alone, case by case and window by window."""
    scores = scored(tmp_path)
    index = SealedIndex(split_digest=DIGEST, consistency_seed=SEED, windows=3, cases=())
    for metric in RANKED:
        gaps: list[list[float]] = []
        for fold in range(3):
            gaps.append([])
            for n in range(12):
                reference, found = truth(n), mask(levels(n, fold))
                values = []
                for seed in window_seeds(index):
                    _, cut = transform_case(seed, case(n), reference)
                    _, seen = transform_case(seed, case(n), found)
                    if reference.any() and cut.sum() >= KEPT_LESION * reference.sum():
                        values.append(case_metrics(seen, cut)[metric])
                if values:
                    gaps[-1].append(case_metrics(found, reference)[metric] - float(np.mean(values)))
        held = scores.groups["all"].consistency
        assert held is not None and held.windows == 3 and held.cases == len(gaps[0]) <= 10
        assert held.gap[metric].folds == pytest.approx([np.mean(each) for each in gaps])


def test_windows_of_a_case_differ_and_the_first_is_that_of_old_sealings() -> None:
    one, many = (
        SealedIndex(split_digest=DIGEST, consistency_seed=SEED, windows=n, cases=()) for n in (1, 8)
    )
    assert window_seeds(one) == (SEED,) == window_seeds(many)[:1]
    assert len({*window_seeds(many)}) == 8
    off = SealedIndex(split_digest=DIGEST, windows=8, cases=())
    assert window_seeds(off) == ()
    old = {"schema": "busbench/sealed-index/v3", "split_digest": DIGEST, "cases": []}
    assert window_seeds(SealedIndex.model_validate(old | {"consistency_seed": SEED})) == (SEED,)


def test_fewer_windows_than_were_drawn_are_the_worst_and_more_are_refused(tmp_path: Path) -> None:
    scored(tmp_path)
    folder = tmp_path / "predictions"
    document = Predictions.model_validate_json((folder / "predictions.json").read_bytes())
    fewer = document.transformed[:2]
    masks = {n: d for n, d in document.masks.items() if "transformed-3" not in n}
    write(
        document.model_copy(update={"transformed": fewer, "masks": masks}),
        folder / "predictions.json",
    )
    labels, key = tmp_path / "labels.age", tmp_path / "labels.key"
    assert score(folder, labels, key, out=tmp_path / "fewer").invalid == 3 * 12
    identity = pyrage.x25519.Identity.from_str(key.read_text())
    index = SealedIndex(
        split_digest=DIGEST, consistency_seed=SEED, windows=1, cases=tuple(map(case, range(12)))
    )
    files = [png_bytes(truth(n)) for n in range(12)]
    labels.write_bytes(seal_archive(index, files, str(identity.to_public())))
    with pytest.raises(BusbenchError, match="windows that were not drawn") as refused:
        score(folder, labels, key, out=tmp_path / "more")
    assert refused.value.code == "predictions-invalid"


def test_calibration_is_per_case_first_and_of_plain_images_alone(tmp_path: Path) -> None:
    scores = scored(tmp_path)
    for name in ("brier", "ece"):
        folds = [
            np.mean([calibration(levels(n, fold), truth(n))[name] for n in range(12)])
            for fold in range(3)
        ]
        assert scores.groups["all"].metrics[name].folds == pytest.approx(folds)
        assert name in scores.groups["normal"].metrics
    rows = pd.read_parquet(tmp_path / "out" / CASES)
    assert {"brier", "ece"} <= {*rows.columns} and "transformed_brier" not in rows


def test_no_calibration_without_probabilities(tmp_path: Path) -> None:
    scores = scored(tmp_path, with_maps=False)
    assert all("brier" not in group.metrics for group in scores.groups.values())
    assert "brier" not in pd.read_parquet(tmp_path / "out" / CASES)
    assert scores.ensemble is not None and "brier" not in scores.ensemble.metrics


@pytest.mark.parametrize("spoil", [(0, 0), (1, 3), (2, 11)])
def test_probabilities_that_are_not_those_of_the_mask_are_refused(
    tmp_path: Path, spoil: tuple[int, int]
) -> None:
    with pytest.raises(BusbenchError, match="not what its probabilities are cut to") as refused:
        scored(tmp_path, spoil=spoil)
    assert refused.value.code == "predictions-invalid"
    assert not (tmp_path / "out" / "scores.json").exists()


@pytest.mark.parametrize("with_maps", [True, False])
def test_the_models_together_are_their_mean_or_their_majority(
    tmp_path: Path, with_maps: bool
) -> None:
    found = scored(tmp_path, with_maps=with_maps).ensemble
    assert found is not None and found.models == 3
    assert found.rule == ("mean-probability" if with_maps else "majority")
    joined = []
    for n in range(12):
        stack = np.stack([levels(n, fold) for fold in range(3)]).astype(float)
        votes = (stack > THRESHOLD * 255).sum(axis=0) > 1.5
        joined.append(stack.mean(axis=0) > THRESHOLD * 255 if with_maps else votes)
    for metric in RANKED:
        values = [case_metrics(m, truth(n))[metric] for n, m in enumerate(joined)]
        assert found.metrics[metric].mean == pytest.approx(np.mean(values))
    assert ("ece" in found.metrics) is with_maps
    assert found.metrics["dice"].std is None and found.metrics["dice"].ci_low is not None


def test_half_of_the_models_is_no_majority(tmp_path: Path) -> None:
    found = scored(tmp_path, (0, 1), with_maps=False).ensemble
    both = [mask(levels(n, 0)) & mask(levels(n, 1)) for n in range(12)]
    values = [case_metrics(m, truth(n))["dice"] for n, m in enumerate(both)]
    assert found is not None and found.metrics["dice"].mean == pytest.approx(np.mean(values))


def test_one_model_is_no_ensemble(tmp_path: Path) -> None:
    assert scored(tmp_path, (None,)).ensemble is None


def test_relative_distance_is_over_lesion_images_alone(tmp_path: Path) -> None:
    groups = scored(tmp_path).groups
    everything, lesions = (groups[name].metrics["hd95_relative"] for name in ("all", "lesion"))
    assert everything.mean == pytest.approx(lesions.mean) and everything.mean > 0
    assert "hd95_relative" not in groups["normal"].metrics


def test_grades_are_groups_where_they_have_patients_enough(tmp_path: Path) -> None:
    grades = ["2"] * 10 + ["4a"] * 2  # five patients and one
    cases = [case(n, birads=grade) for n, grade in enumerate(grades)]
    groups = scored(tmp_path, cases=cases).groups
    assert groups["birads 2"].patients == 5 and "birads 4a" not in groups


def test_a_byte_at_the_threshold_may_be_on_either_side() -> None:
    assert level(THRESHOLD) == 102
