"""The data set helper in a training bundle, which the templates read theirs by, too."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evaluator.documents.input_spec import InputSpec, Resize
from evaluator.inference.preprocessing import to_input
from harness.template import HELPER
from tests.support.training_bundle import make_bundle, read_rows


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("dataset") / "training", 15)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle_dataset", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DATASET: Any = load(HELPER).BundleDataset


def test_the_helper_needs_no_package_but_numpy_and_pillow() -> None:
    tree = ast.walk(ast.parse(HELPER.read_text()))
    names = {a.name for node in tree if isinstance(node, ast.Import) for a in node.names}
    tree = ast.walk(ast.parse(HELPER.read_text()))
    names |= {str(node.module) for node in tree if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in names}
    assert packages - sys.stdlib_module_names == {"numpy", "PIL"}


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(16, 300), resize=st.sampled_from(get_args(Resize)), index=st.integers(0, 14)
)
def test_no_image_comes_to_its_size_otherwise_than_in_the_evaluator(
    bundle: Path, size: int, resize: Resize, index: int
) -> None:
    cases = DATASET(bundle, size=size, resize=resize)
    image, mask = cases[index]
    name = f"{cases.rows[index]['case_id']}.png"
    pixels = np.asarray(Image.open(bundle / "images" / name))
    np.testing.assert_array_equal(
        image, to_input(pixels, InputSpec(height=size, width=size, resize=resize))
    )
    assert mask.shape == image.shape == (1, size, size) and mask.dtype == np.float32
    assert set(np.unique(mask)) <= {0.0, 1.0}


def test_no_case_trains_the_model_that_it_validates(bundle: Path) -> None:
    rows = {row[0]: int(row[1]) for row in read_rows(bundle)}
    for fold in range(5):
        trains = {row["case_id"] for row in DATASET(bundle, fold=fold).rows}
        validates = {row["case_id"] for row in DATASET(bundle, fold=fold, validation=True).rows}
        assert trains | validates == set(rows) and not trains & validates
        assert validates == {case for case, own in rows.items() if own == fold}
    images, masks, folds = DATASET(bundle, size=32).arrays()
    assert images.shape == masks.shape == (15, 1, 32, 32)
    assert folds.tolist() == list(rows.values())


def test_pytorch_takes_it_as_it_is(bundle: Path) -> None:
    def flipped(image: Any, mask: Any) -> Any:
        return image[..., ::-1].copy(), mask[..., ::-1].copy()

    loader = torch.utils.data.DataLoader(DATASET(bundle, fold=1, transform=flipped), batch_size=4)
    plain = torch.utils.data.DataLoader(DATASET(bundle, fold=1), batch_size=4)
    for (images, masks), (own, truth) in zip(loader, plain, strict=True):
        assert images.dtype == masks.dtype == torch.float32
        assert torch.equal(images.flip(3), own) and torch.equal(masks.flip(3), truth)
    assert len(loader) == 3


@pytest.mark.parametrize(
    "wrong", [{"fold": 5}, {"fold": -1}, {"validation": True}, {"resize": "crop"}]
)
def test_no_option_that_can_not_take_effect_is_taken(bundle: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fold|resize"):
        DATASET(bundle, **wrong)
