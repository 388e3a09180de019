"""Folds of a submission: the track's, one model each, or one model for all; else no number."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from evaluator.documents.submission import ImageSubmission, Submission
from evaluator.errors import BusbenchError
from harness.challenge import Challenge, Track
from harness.evaluation.images import check
from harness.evaluation.validation import ValidateSubmission
from harness.execution import ExecutionEnvironment
from harness.sandbox.cached import Context
from harness.sandbox.process_runner import ProcessRunner
from harness.sealing.training import TrainingSet
from harness.submission import DOCUMENT, check_folds, write_document
from tests.support.factories import submission_document
from tests.support.inference import blur
from tests.support.training_bundle import make_bundle

DATA = blur()
WRONG = [(0,), (1,), (1, 2), (0, 2), (1, 2, 3), (0, 1, 2, 3), (0, 1, 4)]


def document(folds: tuple[int | None, ...], **changes: object) -> dict[str, object]:
    written = submission_document({f"{number}.onnx": DATA for number in range(len(folds))})
    for model, fold in zip(written["models"], folds, strict=True):  # type: ignore[call-overload]
        model["fold"] = fold
    return written | changes


def hand_in(folder: Path, folds: tuple[int | None, ...], **changes: object) -> Path:
    folder.mkdir()
    for number in range(len(folds)):
        (folder / f"{number}.onnx").write_bytes(DATA)
    (folder / "submission.yaml").write_text(yaml.safe_dump(document(folds, **changes)))
    return folder


SUBSETS = [
    folds for size in range(1, 6) for folds in itertools.combinations(range(6), size)
]  # 62, and each against four tracks


@pytest.mark.parametrize("track", [2, 3, 5, None])
def test_no_set_of_folds_but_the_tracks_own_passes(track: int | None) -> None:
    for folds in SUBSETS:
        submission = Submission.model_validate(document(folds))
        whole = folds == tuple(range(track or len(folds))) and len(folds) > 1
        assert (check_folds(submission, track) is None) == whole, folds
    assert check_folds(Submission.model_validate(document((None,))), track) is None


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("folds") / "training", 12, folds=3)


@pytest.mark.parametrize("folds", WRONG)
def test_no_check_or_validation_takes_other_folds(
    folds: tuple[int, ...], bundle: Path, tmp_path: Path
) -> None:
    folder = hand_in(tmp_path / "submission", folds)
    with pytest.raises(BusbenchError, match="folds 0 to 2") as error:
        ValidateSubmission.of(
            folder, bundle, tmp_path, environment=ExecutionEnvironment("process", Challenge())
        )
    assert error.value.code == "submission-invalid"
    declared = Challenge(tracks={"phantom": Track(dataset="phantom", split_version="v1", folds=3)})
    for challenge, facts in ((declared, None), (Challenge(), TrainingSet.open(bundle))):
        with pytest.raises(BusbenchError, match="folds 0 to 2") as error:
            check(folder, Context(ProcessRunner(), challenge), training=facts)
        assert error.value.code == "submission-invalid"


def test_no_track_that_is_not_declared_passes_the_check(bundle: Path, tmp_path: Path) -> None:
    folder = hand_in(tmp_path / "submission", (None,), track="phantmo")
    declared = Challenge(tracks={"phantom": Track(dataset="phantom", split_version="v1")})
    with pytest.raises(BusbenchError, match=r"no track phantmo, but phantom\.") as error:
        check(folder, Context(ProcessRunner(), declared))
    assert error.value.code == "submission-invalid"
    with pytest.raises(BusbenchError, match="is for track phantmo, not phantom") as error:
        check(folder, Context(ProcessRunner(), Challenge()), training=TrainingSet.open(bundle))
    assert error.value.code == "submission-invalid"


def test_no_image_passes_the_check_with_the_bundle_of_another_track(
    bundle: Path, tmp_path: Path
) -> None:
    name = f"registry.example/net@sha256:{'7' * 64}"
    image = ImageSubmission(team="team", method="net", track="phantmo", image=name)
    write_document(image, tmp_path / DOCUMENT)
    accepts = Track(dataset="phantom", split_version="v1", folds=3, accepts=("image",))
    declared = Challenge(tracks={"phantom": accepts, "phantmo": accepts})
    with pytest.raises(BusbenchError, match="is for track phantmo, not phantom") as error:
        check(tmp_path, Context(ProcessRunner(), declared), training=TrainingSet.open(bundle))
    assert error.value.code == "submission-invalid"
