"""Fixtures of the harness: keys, a browser, one evaluated submission."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from evaluator.documents.base import write
from harness.evaluation.evaluate import REPORT
from harness.ledger import append
from harness.quotas.submission_log import Pages, SubmissionLog
from harness.sealing.keys import Keys
from tests.support import absent
from tests.support.small_challenge import Evaluated, SmallChallenge, make_submission
from tests.support.website import Tab

CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium. Without one, tests skip on a laptop and fail in CI."""
    found = os.environ.get("BUSBENCH_CHROMIUM") or shutil.which("chromium")
    if found is None:
        absent("no chromium is installed (Debian's package `chromium`), so pages are not tested")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(CHROMIUM_FLAGS))
        yield started
        started.close()


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
