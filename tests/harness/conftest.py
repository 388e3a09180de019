"""What the harness's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.sealing.keys import Keys


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
