"""Hostile models are refused or contained, each with its own code, and harm nobody after them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from evaluator.gate import GateLimits, GateRefused, inspect
from tests.support.corpus.honest import submission, tiny
from tests.support.corpus.hostile import HOSTILE, Hostile

pytestmark = pytest.mark.slow

# Shorter than the defaults, so that the suite is quick; the code that stops a bomb is the same.
LIMITS = GateLimits(load_seconds=5.0)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_model_is_refused_with_its_own_code(hostile: Hostile, tmp_path: Path) -> None:
    data = hostile.build(tmp_path)
    declared = submission(tmp_path, data, **hostile.declared)
    begun = time.process_time()  # of this process; those that it starts have a limit
    with pytest.raises(GateRefused) as refusal:
        inspect(tmp_path, declared, LIMITS)
    assert time.process_time() - begun < 30
    assert {finding.code for finding in refusal.value.findings} & hostile.codes
    assert str(refusal.value).isprintable()


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(HOSTILE) >= 40
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)


def test_an_honest_submission_passes_after_all_of_them(tmp_path: Path) -> None:
    assert inspect(tmp_path, submission(tmp_path, tiny().SerializeToString())).models
