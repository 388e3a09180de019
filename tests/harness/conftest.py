"""Fixtures of the harness: keys, one evaluated submission."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from evaluator.documents.base import write
from harness.evaluation.evaluate import REPORT
from harness.ledger import append
from harness.quotas.submission_log import Pages, SubmissionLog
from harness.sealing.keys import Keys
from tests.support.small_challenge import Evaluated, SmallChallenge, make_submission
from tests.support.website import Tab


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """One organiser's keys."""
    return Keys.new(tmp_path_factory.mktemp("organiser") / "keys")


@pytest.fixture(scope="session")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Somebody else's keys."""
    return Keys.new(tmp_path_factory.mktemp("stranger") / "keys")


@pytest.fixture(scope="session")
def public_key(keys: Keys) -> Path:
    """The organiser's public key, as a reviewer holds it."""
    return keys.path / "report.pub"


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A window of a laptop's size."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Tab.of(context)
    context.close()


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """One submission's whole way, to be read by many tests."""
    root = tmp_path_factory.mktemp("evaluated")
    challenge = SmallChallenge.make(root)
    result = challenge.evaluate(make_submission(root / "submission"), root / "runs")
    append(root / "ledger.jsonl", result.signed, challenge.keys)
    write(Pages(), SubmissionLog.beside(root / "ledger.jsonl").path)
    return Evaluated(challenge, root / "runs", root / "ledger.jsonl", result.folder / REPORT)
