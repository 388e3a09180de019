"""Checks that the evaluator takes what `train.py` writes: `python -m pytest`, without labels."""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml
from PIL import Image

HERE = Path(__file__).resolve().parents[1]
FOLDS = 2


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A training bundle of drawn lesions."""
    folder = tmp_path_factory.mktemp("bundle")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        image = rng.integers(90, 160, (80, 100), dtype=np.uint8)
        mask = np.zeros((80, 100), bool)
        top, left = rng.integers(10, 40, 2)
        mask[top : top + 25, left : left + 30] = True
        image[mask] //= 3
        for kind, pixels in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"case-{number}.png")
        rows.append({"case_id": f"case-{number}", "fold": number % FOLDS})
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["case_id", "fold"])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "bundle.json").write_text(json.dumps({"track": "phantom"}))
    return folder


@pytest.fixture(scope="session")
def out(bundle, tmp_path_factory):
    """What `train.py` makes of that bundle, in its quick mode."""
    folder = tmp_path_factory.mktemp("out") / "submission"
    command = [sys.executable, HERE / "train.py", "--bundle", bundle, "--out", folder, "--quick"]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="session")
def declared(out):
    return yaml.safe_load((out / "submission.yaml").read_text())


def test_no_checkpoint_is_left(out, declared):
    names = {model["file"] for model in declared["models"]} | {"submission.yaml", "curves.csv"}
    assert {path.name for path in out.iterdir()} <= names
    for model in declared["models"]:
        digest = hashlib.sha256((out / model["file"]).read_bytes()).hexdigest()
        assert digest == model["sha256"]


def test_no_model_depends_on_the_batch(out, declared):
    size = declared["input"]["height"]
    maps = 2 if declared["output"]["kind"] == "softmax" else 1
    images = np.random.default_rng(1).random((3, 1, size, size), np.float32)
    for model in declared["models"]:
        session = onnxruntime.InferenceSession(out / model["file"])
        name = session.get_inputs()[0].name
        (together,) = session.run(None, {name: images})
        alone = np.concatenate([session.run(None, {name: image[None]})[0] for image in images])
        assert together.shape == (3, maps, size, size)
        assert together.dtype == np.float32
        np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_gate_refuses_nothing(out):
    command = ["busbench", "check", str(out), "--runner", "process"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
