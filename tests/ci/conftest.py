"""Fixtures of the pull-request tests: a forge, and an organiser's state."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.forge import Forge, make_forge
from tests.support.small_challenge import SmallChallenge


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """A forge for what never comes to a scoring."""
    return make_forge(tmp_path, None)


@pytest.fixture(scope="session")
def organiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and bundles of a small challenge, laid out as a state."""
    root = tmp_path_factory.mktemp("organiser-state")
    small = SmallChallenge.make(root / "small")
    state = root / "state"
    (state / "bundles").mkdir(parents=True)
    (root / "small" / "bundles").rename(state / "bundles" / "phantom")
    small.keys.path.rename(state / "keys")
    return state
