"""Fixtures of these tests: a small training bundle, and a recipe that trains for a few steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reference_models import __main__ as cli
from tests.support.training_bundle import make_bundle


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle of 20 cases; read only."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "bundle", cases=20)


@pytest.fixture
def own_bundle(tmp_path: Path) -> Path:
    """A bundle that the test may damage."""
    return make_bundle(tmp_path / "bundle", cases=10)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of a few steps at 32 pixels."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "network: cmunext_s\n"
        "input: {height: 32, width: 48}\n"
        "steps: 12\nbatch: 4\nvalidate_every: 5\ncheckpoint_seconds: 0\n"
    )
    return path


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `python -m reference_models WORDS`: its status, output and errors."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reference_models", *map(str, words)])
        status = cli.main()
        return (status, *capsys.readouterr())

    return run
