"""The export recipes of the participants' guide, run as they are written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from evaluator.gate import inspect
from tests.support import ROOT
from tests.support.corpus.honest import submission

GUIDE = (ROOT / "docs" / "participant.md").read_text("utf-8")
RECIPES = {
    "newer" if "dynamo=True" in code else "older": code
    for code in re.findall(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)
    if "torch.onnx.export(" in code
}


def test_no_exporter_of_torch_is_without_a_recipe() -> None:
    assert set(RECIPES) == {"newer", "older"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_makes_a_file_that_the_gate_refuses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one whose batch is not free, or whose maps are not those of the network."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = (
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Upsample(scale_factor=2.0, mode="bilinear"),
        torch.nn.Conv2d(4, 1, 1),
    )
    network = torch.nn.Sequential(*layers)
    monkeypatch.chdir(tmp_path)
    exec(RECIPES[name], {"torch": torch, "network": network})
    (file,) = tmp_path.iterdir()  # no weights beside it
    opset = int(re.findall(r"opset_version=(\d+)", RECIPES[name])[0])
    data = file.read_bytes()
    assert {"": opset}.items() <= {
        one.domain: one.version for one in onnx.load_from_string(data).opset_import
    }.items()
    assert inspect(tmp_path, submission(tmp_path, data, opset=opset, size=224)).models
    images = np.random.default_rng(0).random((3, 1, 224, 224), np.float32)
    (maps,) = onnxruntime.InferenceSession(data).run(None, {"image": images})
    with torch.no_grad():
        np.testing.assert_allclose(maps, network(torch.from_numpy(images)), atol=1e-5)


KERAS_NETWORK = """
import keras
image = keras.Input((128, 128, 1))
maps = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
maps = keras.layers.UpSampling2D(interpolation="bilinear")(maps)
network = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(maps))
network.save("fold-0.keras")
RECIPE
import numpy, onnxruntime
images = numpy.random.default_rng(0).random((3, 1, 128, 128), numpy.float32)
(found,) = onnxruntime.InferenceSession("fold-0.onnx").run(None, {"image": images})
expected = network.predict(numpy.moveaxis(images, 1, -1), verbose=0)
numpy.testing.assert_allclose(found, numpy.moveaxis(expected, -1, 1), atol=1e-5)
"""


@pytest.mark.slow
def test_no_recipe_for_keras_makes_a_file_that_the_gate_refuses(
    keras_python: Path, tmp_path: Path
) -> None:
    """Nor one whose batch is not free, or whose maps are not those of the network."""
    recipe = re.search(r"^```python\n(import keras.*?)^```", GUIDE, re.M | re.S)
    assert recipe is not None
    script = KERAS_NETWORK.replace("RECIPE", recipe[1])
    done = subprocess.run(
        [keras_python, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "fold-0.onnx").read_bytes()
    (tmp_path / "fold-0.keras").unlink()
    declared = submission(tmp_path, data, opset=17, size=128, kind="probabilities")
    assert inspect(tmp_path, declared).models
