"""A whole evaluation on a CUDA device, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.documents.base import write
from evaluator.documents.inference import Device
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.files import sha256_file
from tests.support.gpu_networks import python, side_of
from tests.support.gpu_preparation import Networks
from tests.support.small_challenge import SmallChallenge

NAME = "unext"


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("challenge"))


@pytest.fixture(scope="module")
def submission(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, side = tmp_path_factory.mktemp("submission"), side_of(NAME)
    (folder / "all.onnx").write_bytes(networks.onnx(NAME).read_bytes())
    document = Submission(
        team="team",
        method=NAME,
        track="phantom",
        input=InputSpec(height=side, width=side, resize="letterbox"),
        output=OutputSpec(),
        opset=20,
        models=(ModelFile(file="all.onnx", sha256=sha256_file(folder / "all.onnx")),),
    )
    write(document, folder / "submission.yaml")
    return folder


def evaluate(
    challenge: SmallChallenge, submission: Path, runs: Path, device: str
) -> tuple[dict[str, Any], np.ndarray]:
    """The report of `busbench evaluate`, and the bits of all masks."""
    words = ("--bundle", challenge.bundles.path, "--keys", challenge.keys.path, "--out", runs)
    how = ("--device", device, "--runner", "process", "--json")
    done = python("harness", "evaluate", *map(str, (submission, *words, *how)))
    assert done.returncode == 0, done.stderr
    assert "plugin EP" not in done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    bits = [np.fromfile(path, np.uint8) for path in sorted(runs.glob("*/infer/*.bits"))]
    return report, np.unpackbits(np.concatenate(bits))


def test_an_evaluation_has_no_other_result_than_on_the_cpu(
    challenge: SmallChallenge, submission: Path, gpu: Device, tmp_path: Path
) -> None:
    wanted, masks = evaluate(challenge, submission, tmp_path / "cpu", "cpu")
    found, same_masks = evaluate(challenge, submission, tmp_path / "gpu", gpu)
    assert (masks != same_masks).mean() <= 1e-3 and 0.01 < masks.mean() < 0.99
    for name, metric in wanted["scores"]["groups"]["all"]["metrics"].items():
        other = found["scores"]["groups"]["all"]["metrics"][name]["mean"]
        assert other == pytest.approx(metric["mean"], rel=1e-2), name
    assert found["runtime"]["device"] == gpu
