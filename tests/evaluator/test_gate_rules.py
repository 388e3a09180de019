"""The static rules: what each of them refuses, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.gate import RULES, GateRefused, inspect
from tests.support.corpus.honest import SIZE, submission, tiny


def test_the_smallest_honest_network_passes_and_is_counted(tmp_path: Path) -> None:
    model = tiny()
    verdict = inspect(tmp_path, submission(tmp_path, model.SerializeToString()))
    (counted,) = verdict.models
    assert counted.nodes == 3
    assert counted.parameters == 8 * 9 + 8 + 8 + 1
    assert counted.gmacs == pytest.approx(SIZE * SIZE * (8 * 9 + 8) / 1e9)


def test_a_file_that_is_not_the_declared_one_is_refused(tmp_path: Path) -> None:
    declared = submission(tmp_path, tiny().SerializeToString())
    (tmp_path / "model.onnx").write_bytes(tiny(18).SerializeToString())
    with pytest.raises(GateRefused) as refusal:
        inspect(tmp_path, declared)
    assert [finding.code for finding in refusal.value.findings] == ["G-DIGEST"]
    assert refusal.value.code == "gate-refused"


def test_codes_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES)
