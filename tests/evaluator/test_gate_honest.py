"""Honest exports pass the gate, and are counted as PyTorch counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.gate import inspect
from tests.support.corpus.honest import HONEST, Honest, submission

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("honest", HONEST, ids=lambda honest: honest.name)
def test_an_honest_export_passes(honest: Honest, tmp_path: Path) -> None:
    model = honest.build()
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    declared = submission(tmp_path, model.SerializeToString(), opset=opset, **honest.declared)
    (counted,) = inspect(tmp_path, declared).models
    assert counted.opset == opset
    # Its reshapes hide the sizes from shape inference, and unknown is then said, not guessed.
    assert (counted.gmacs is None) == (honest.name == "scikit-learn")
