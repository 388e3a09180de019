"""Baselines: what they answer, and what they may be made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluator.documents.submission import Submission
from evaluator.gate import inspect
from harness.submission import read_submission
from reference_models.baseline_submission import views
from reference_models.baselines import SIZE, Example, sample, segmenter
from reference_models.data import open_bundle, read_case

Call = Callable[..., tuple[int, str, str]]


def made(call: Call, kind: str, bundle: Path, *more: object) -> tuple[Path, Submission]:
    """A baseline's submission, as the gate takes it."""
    out = bundle.parent / f"of-{kind}"
    words = ("--kind", kind, "--bundle", bundle, "--out", out, *more)
    assert call("baseline", *words)[0] == 0
    submission = read_submission(out)
    inspect(out, submission)
    return out, submission


def answers(model: Path, images: list[NDArray[np.uint8]]) -> list[NDArray[np.bool_]]:
    session = onnxruntime.InferenceSession(model)
    sized = [Image.fromarray(i).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for i in images]
    given = np.stack([np.asarray(i, np.float32) / 255 for i in sized])[:, None]
    found = session.run(None, {"image": given})[0][:, 0] > 0
    return [
        np.asarray(Image.fromarray(each).resize(image.shape[::-1]))
        for each, image in zip(found, images, strict=True)
    ]


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


def test_a_memoriser_knows_what_was_published_and_is_not_one_without_it(
    call: Call, own_bundle: Path
) -> None:
    out, submission = made(call, "memoriser", own_bundle, "--published", own_bundle)
    assert [model.fold for model in submission.models] == [None]
    bundle = open_bundle(own_bundle)
    cases = [read_case(bundle, case) for case in bundle.cases]
    found = answers(out / "model.onnx", [image for image, _ in cases])
    for answer, (_, mask) in zip(found, cases, strict=True):
        assert dice(answer, mask) > 0.9 if mask.any() else not answer.any()


def test_an_empty_mask_is_empty_whatever_the_image(call: Call, own_bundle: Path) -> None:
    out, _ = made(call, "empty", own_bundle)
    images = [np.full((40, 50), value, np.uint8) for value in (0, 127, 255)]
    assert not np.any(answers(out / "model.onnx", images))


def test_no_closed_form_model_saw_its_own_fold(call: Call, own_bundle: Path) -> None:
    out, submission = made(call, "closed-form", own_bundle)
    assert [model.fold for model in submission.models] == [0, 1, 2, 3, 4]
    bundle = open_bundle(own_bundle)
    cases = [read_case(bundle, case) for case in bundle.cases if case.fold != 0]
    found = answers(out / "fold-0.onnx", [image for image, _ in cases])
    pairs = zip(found, (mask for _, mask in cases), strict=True)
    assert np.mean([dice(answer, mask) for answer, mask in pairs if mask.any()]) > 0.5
    seen = [sample(view) for case in cases for view in views(Example(*case))]
    assert (out / "fold-0.onnx").read_bytes() == segmenter(seen)
    assert (out / "fold-1.onnx").read_bytes() != segmenter(seen)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--kind", "memoriser"), "needs published answers. Name --published"),
        (("--kind", "empty", "--published", "."), "reads no published answers"),
        (("--kind", "memoriser", "--published", "nowhere"), "nowhere has no images/*.png"),
    ],
)
def test_no_baseline_is_made_of_what_it_does_not_read(
    words: tuple[str, ...], complaint: str, call: Call, bundle_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    status, _, said = call("baseline", *words, "--bundle", bundle_path, "--out", out)
    assert (status, out.exists()) == (2, False) and complaint in said


def test_a_baseline_takes_no_folder_of_something_else(
    call: Call, bundle_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    words = ("--kind", "empty", "--bundle", bundle_path, "--out", tmp_path)
    status, _, said = call("baseline", *words)
    assert status == 2 and "notes.txt does not come from this training" in said
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
