"""scikit-learn's everyday models: taken, counted, run as scikit-learn runs them, at batch 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn import ensemble, linear_model, naive_bayes, svm
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    Normalizer,
    PolynomialFeatures,
    RobustScaler,
)

from evaluator.gate import GateRefused, inspect
from evaluator.inference.separable import is_separable
from tests.support.corpus.honest import SIZE, constant, model_of, submission

FEATURES = 3
KERNELS = np.eye(FEATURES, dtype=np.float32).reshape(FEATURES, 1, 1, FEATURES)
ROWS = np.random.default_rng(0).random((300, FEATURES)).astype(np.float32)
TRUTH = (ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2] > 0.7).astype(int)

logistic = linear_model.LogisticRegression
MODELS: dict[str, Callable[[], Any]] = {
    "forest": lambda: ensemble.RandomForestClassifier(8, random_state=0),
    "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0),
    "histogram-boosting": lambda: ensemble.HistGradientBoostingClassifier(max_iter=8),
    "bagging": lambda: ensemble.BaggingClassifier(n_estimators=3, random_state=0),
    "logistic": logistic,
    "linear": linear_model.LinearRegression,
    "sgd": lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "svc": lambda: svm.SVC(probability=True, random_state=0),
    "svr": svm.SVR,
    "bayes": naive_bayes.GaussianNB,
    "normalizer": lambda: make_pipeline(Normalizer(), logistic()),
    "robust": lambda: make_pipeline(RobustScaler(), logistic()),
    "polynomial": lambda: make_pipeline(PolynomialFeatures(2), logistic()),
    "binarizer": lambda: make_pipeline(Binarizer(threshold=0.5), logistic()),
}


def on_pixels(fitted: Any, options: Any = None) -> onnx.ModelProto:
    """A fitted model on each pixel and its two neighbours: maps (N, 1, SIZE, SIZE)."""
    made = convert_sklearn(
        fitted,
        initial_types=[("rows", FloatTensorType([None, FEATURES]))],
        target_opset={"": 17, "ai.onnx.ml": 3},
        options=options,
    )
    last = made.graph.output[-1].name
    ends = [helper.make_node("Identity", [last], ["column"])]
    if hasattr(fitted, "predict_proba"):
        ends = [helper.make_node("Gather", [last, "lesion"], ["column"], axis=1)]
    nodes = [
        helper.make_node("Conv", ["x", "kernels"], ["maps"], pads=[0, 1, 0, 1]),
        helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "table"], ["rows"]),
        *made.graph.node,
        *ends,
        helper.make_node("Reshape", ["column", "image"], ["y"]),
    ]
    stored = [
        constant("kernels", KERNELS, np.float32),
        constant("table", [-1, FEATURES]),
        constant("lesion", [1]),
        constant("image", [-1, 1, SIZE, SIZE]),
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return model_of(nodes, [*stored, *made.graph.initializer], opset_imports=imports)


def fitted(name: str) -> Any:
    return MODELS[name]().fit(ROWS, TRUTH)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_everyday_model_is_refused_or_run_otherwise(name: str, tmp_path: Path) -> None:
    estimator = fitted(name)
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "classes_") else None
    data = on_pixels(estimator, options).SerializeToString()
    proba = hasattr(estimator, "predict_proba")
    given = submission(tmp_path, data, kind="probabilities" if proba else "logits")
    (counted,) = inspect(tmp_path, given).models
    assert counted.parameters > 0

    image = np.random.default_rng(1).random((1, 1, SIZE, SIZE), np.float32)
    (found,) = onnxruntime.InferenceSession(data).run(None, {"x": image})
    padded = np.pad(image[0, 0], ((0, 0), (1, 1)))
    rows = np.stack([padded[:, k : k + SIZE] for k in range(FEATURES)], -1).reshape(-1, FEATURES)
    wanted = estimator.predict_proba(rows)[:, 1] if proba else estimator.predict(rows)
    np.testing.assert_allclose(found.ravel(), wanted, atol=1e-3)
    assert not (counted.gmacs is not None and "forest" in name)  # a tree multiplies nothing
    if name in ("forest", "svr", "linear"):  # nothing is known of their rows, so of their images
        assert not is_separable(tmp_path / "model.onnx", given.input)


def test_no_table_of_a_forest_escapes_the_count(tmp_path: Path) -> None:
    """Thresholds, features, weights and classes of all nodes; not the links between them."""
    few, many = (
        ensemble.RandomForestClassifier(trees, random_state=0, max_depth=6).fit(ROWS, TRUTH)
        for trees in (2, 20)
    )
    for forest in (few, many):
        nodes = sum(each.tree_.node_count for each in forest.estimators_)
        leaves = sum(each.tree_.n_leaves for each in forest.estimators_)
        data = on_pixels(forest, {id(forest): {"zipmap": False}}).SerializeToString()
        (counted,) = inspect(tmp_path, submission(tmp_path, data, kind="probabilities")).models
        assert 2 * nodes + 2 * leaves <= counted.parameters <= 2 * nodes + 4 * leaves + 50


@pytest.mark.parametrize(
    ("target", "options", "advice"),
    [
        (TRUTH, {"zipmap": True}, "zipmap"),
        (np.array(["benign", "lesion"])[TRUTH], {"zipmap": False}, "fit it on the whole numbers"),
    ],
    ids=["maps", "text"],
)
def test_no_refusal_of_a_classifier_leaves_out_the_cure(
    target: np.ndarray, options: dict[str, Any], advice: str, tmp_path: Path
) -> None:
    forest = ensemble.RandomForestClassifier(2, random_state=0, max_depth=2).fit(ROWS, target)
    data = on_pixels(forest, {id(forest): options}).SerializeToString()
    with pytest.raises(GateRefused, match=advice):
        inspect(tmp_path, submission(tmp_path, data))


def _tables(**changes: Any) -> dict[str, Any]:
    return {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "nodes_missing_value_tracks_true": [0, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [-1.0, 2.0],
        "n_targets": 1,
    } | changes


def test_no_whole_tree_is_refused(tmp_path: Path) -> None:
    assert _accepts(_forest(), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes_featureids": [FEATURES, 0, 0]},
        {"nodes_featureids": [-1, 0, 0]},
        {"nodes_truenodeids": [0, 0, 0]},
        {"nodes_falsenodeids": [9, 0, 0]},
        {"nodes_truenodeids": [1, 2, 1], "nodes_modes": ["BRANCH_LEQ"] * 3},
        {"target_weights": [1.0]},
        {"target_ids": [7, 7]},
        {"n_targets": 10**9},
    ],
    ids=str,
)
def test_no_broken_tree_passes(changes: dict[str, Any], tmp_path: Path) -> None:
    assert not _accepts(_forest(**changes), tmp_path)


def _forest(**changes: Any) -> onnx.ModelProto:
    table = _tables(**changes)
    forest = helper.make_node(
        "TreeEnsembleRegressor", ["rows"], ["column"], domain="ai.onnx.ml", **table
    )
    nodes = [
        helper.make_node("Conv", ["x", "kernels"], ["maps"], pads=[0, 1, 0, 1]),
        helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "table"], ["rows"]),
        forest,
        helper.make_node("Reshape", ["column", "image"], ["y"]),
    ]
    stored = [
        constant("kernels", KERNELS, np.float32),
        constant("table", [-1, FEATURES]),
        constant("image", [-1, 1, SIZE, SIZE]),
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return model_of(nodes, stored, opset_imports=imports)


def _accepts(model: onnx.ModelProto, folder: Path) -> bool:
    try:
        inspect(folder, submission(folder, model.SerializeToString()))
    except GateRefused:
        return False
    return True
