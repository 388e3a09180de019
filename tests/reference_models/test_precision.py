"""A lower precision is another file that says what it costs, and passes the same gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from evaluator.documents.base import read
from evaluator.documents.submission import Submission
from evaluator.errors import Code
from evaluator.gate import inspect
from evaluator.metrics import dice
from reference_models import pipeline
from reference_models.batches import Batches
from reference_models.config import Config, InputSettings
from reference_models.data import load_cases, open_bundle
from reference_models.errors import UsageError
from reference_models.machine import Machine
from reference_models.precision import PRECISIONS
from reference_models.submission import Titles

pytestmark = pytest.mark.slow

SIZE = InputSettings(height=64, width=64, mean=0.25, std=0.2)
CONFIG = Config(network="unext", input=SIZE, steps=90, batch=4, rate=0.006, validate_every=30)


def job(bundle: Path, out: Path, work: Path | None) -> pipeline.Job:
    return pipeline.Job(CONFIG, bundle, out, Titles("team", "unext"), work, device="cpu", threads=1)


@pytest.fixture(scope="module")
def work(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a fold that was trained until it finds the ellipses."""
    folder = tmp_path_factory.mktemp("trained")
    pipeline.train(job(bundle_path, folder / "submission", folder / "work"), [0])
    return folder / "work"


@pytest.fixture(scope="module", params=PRECISIONS)
def exported(
    request: pytest.FixtureRequest,
    work: Path,
    bundle_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path, list[str]]:
    """A precision, the submission in it, and what was said."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("lowered") / request.param
    pipeline.export(job(bundle_path, out, work), request.param, say=said.append)
    return request.param, out, said


def dices(model: Path, bundle_path: Path) -> list[float]:
    """Dice of each validation case of fold 0, by the evaluator's metric."""
    machine = Machine(torch.device("cpu"), torch.float32)
    batches = Batches(CONFIG, load_cases(open_bundle(bundle_path), SIZE), machine)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = []
    for images, masks in batches.validation(0):
        (logits,) = session.run(None, {"image": images.contiguous().numpy()})
        found += [dice(p[0] > 0, g[0].numpy() > 0) for p, g in zip(logits, masks, strict=True)]
    return found


def test_a_lower_precision_never_hides_what_it_costs(
    exported: tuple[str, Path, list[str]], work: Path, bundle_path: Path
) -> None:
    precision, out, said = exported
    written = json.loads(out.with_name(f"{out.name}.precision.json").read_text())
    (fold,) = written
    full = work.parent / "submission" / "fold-0.onnx"
    before, after = (np.mean(dices(path, bundle_path)) for path in (full, out / "fold-0.onnx"))
    assert fold["precision"] == precision and fold["cases"] == 4
    assert fold["dice_fp32"] == pytest.approx(before, abs=1e-6) and before > 0.6
    assert fold["dice"] == pytest.approx(after, abs=1e-6)
    assert fold["dice_loss"] == pytest.approx(before - after, abs=1e-6)
    assert abs(before - after) < {"fp16": 0.01, "int8": 0.05}[precision]
    assert any(f"fold 0 in {precision}: validation Dice {after:.4f}, " in line for line in said)


def test_a_lower_precision_is_smaller_and_passes_the_gate(
    exported: tuple[str, Path, list[str]], work: Path
) -> None:
    precision, out, _ = exported
    assert sorted(path.name for path in out.iterdir()) == ["fold-0.onnx", "submission.yaml"]
    declared = read(Submission, out / "submission.yaml", Code.SUBMISSION_INVALID, remedy="")
    (passed,) = inspect(out, declared).models  # float32 at both ends, any batch size
    full = (work.parent / "submission" / "fold-0.onnx").stat().st_size
    share = (out / "fold-0.onnx").stat().st_size / full
    assert share < {"fp16": 0.55, "int8": 0.35}[precision]
    model = onnx.load(out / "fold-0.onnx")
    assert {node.domain for node in model.graph.node} == {""}
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert {"fp16": TensorProto.FLOAT16, "int8": TensorProto.INT8}[precision] in kinds
    assert passed.gmacs is not None


def test_a_precision_never_takes_the_place_of_another(
    exported: tuple[str, Path, list[str]], work: Path, bundle_path: Path
) -> None:
    precision, out, _ = exported
    before = (out / "fold-0.onnx").read_bytes()
    with pytest.raises(UsageError, match="does not come from this training"):
        pipeline.export(job(bundle_path, out, work))
    with pytest.raises(UsageError, match="does not come from this training"):
        pipeline.export(job(bundle_path, work.parent / "submission", work), precision)
    assert (out / "fold-0.onnx").read_bytes() == before
    pipeline.export(job(bundle_path, out, work), precision)
    assert (out / "fold-0.onnx").read_bytes() == before


def test_a_lower_precision_without_a_kept_work_folder_is_refused(
    bundle_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="Name that folder with --work"):
        pipeline.export(job(bundle_path, tmp_path / "out", None), "int8")


def test_a_mirrored_model_is_never_another_answer_for_the_mirror_image(
    work: Path, bundle_path: Path, tmp_path: Path
) -> None:
    plain = job(bundle_path, tmp_path / "mirrored", work)
    mirrored = replace(plain, config=CONFIG.model_copy(update={"mirrored": True}))
    pipeline.export(mirrored)  # the trained weights serve both
    declared = read(
        Submission, mirrored.out / "submission.yaml", Code.SUBMISSION_INVALID, remedy=""
    )
    (counted,) = inspect(mirrored.out, declared).models
    one, both = (
        onnxruntime.InferenceSession(folder / "fold-0.onnx")
        for folder in (work.parent / "submission", mirrored.out)
    )
    images = np.random.default_rng(0).random((3, 1, 64, 64), np.float32)
    flipped = np.ascontiguousarray(images[..., ::-1])
    found, seen, other = (
        session.run(None, {"image": given})[0]
        for session, given in ((both, images), (one, images), (one, flipped))
    )
    assert np.allclose(found, (seen + other[..., ::-1]) / 2, atol=1e-5)
    assert np.allclose(found, both.run(None, {"image": flipped})[0][..., ::-1], atol=1e-5)
    (single,) = inspect(work.parent / "submission", declared_in(work.parent)).models
    assert counted.gmacs == pytest.approx(2 * (single.gmacs or 0))
    assert counted.parameters == single.parameters
    with pytest.raises(UsageError, match="does not come from this training"):
        pipeline.export(replace(plain, out=mirrored.out))


def declared_in(folder: Path) -> Submission:
    return read(
        Submission, folder / "submission" / "submission.yaml", Code.SUBMISSION_INVALID, remedy=""
    )
