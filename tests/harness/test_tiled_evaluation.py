"""A tiled submission from its folder to the report: no cost of an image is that of a tile."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path

import pytest
import yaml

from evaluator.documents.predictions import Predictions
from evaluator.files import sha256_bytes
from evaluator.predictions import open_predictions
from tests.support.inference import blur
from tests.support.small_challenge import SmallChallenge, make_submission

SIDE = 16  # of a tile


def tiles(predictions: Predictions, overlap: float) -> list[int]:
    """How many tiles each image has, counted by hand."""
    step = SIDE * (1 - overlap)
    return [
        (1 + ceil(max(0, case.height - SIDE) / step)) * (1 + ceil(max(0, case.width - SIDE) / step))
        for case in predictions.cases
    ]


def test_no_tiled_submission_is_reported_at_the_cost_of_a_tile(tmp_path: Path) -> None:
    challenge = SmallChallenge.make(tmp_path / "challenge")
    folder = make_submission(tmp_path / "submission")
    path, data = folder / "submission.yaml", blur()
    (folder / "all.onnx").write_bytes(data)
    document = yaml.safe_load(path.read_text())
    document["models"][0]["sha256"] = sha256_bytes(data)
    document["input"] = {
        "mode": "tiled",
        "height": SIDE,
        "width": SIDE,
        "overlap": 0.5,
        "blend": "gaussian",
    }
    path.write_text(json.dumps(document))
    result = challenge.evaluate(folder, tmp_path / "runs")
    counts = tiles(open_predictions(result.folder / "infer"), 0.5)
    assert max(counts) > 1
    per_tile = SIDE * SIDE * (8 * 9 + 8 * 8 * 9 + 8) / 1e9  # three convolutions
    (model,) = result.report.models
    assert model.gmacs == pytest.approx(per_tile * sum(counts) / len(counts))
    assert result.report.status == "complete"
