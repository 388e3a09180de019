"""Badges of the README, from pyproject.toml and the workflow of the tests: files, no other host."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

from harness.website.pages.feeds import badge

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / ".github" / "workflows" / "tests.yml"
WHEN = {"push": "push", "pull_request": "pull request"}


def badge_files() -> dict[str, str]:
    """Each badge's path in `docs`, and its drawing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    python = str(project["requires-python"]).removeprefix(">=")
    said = {
        "tests": ("tests", f"on every {_when()}"),
        "licence": ("licence", project["license"]),
        "python": ("Python", f"{python} or newer"),
        "docs": ("docs", f"of version {project['version']}"),
    }
    return {f"assets/badge-{name}.svg": badge(*texts) for name, texts in said.items()}


def _when() -> str:
    """What starts the tests."""
    triggers = yaml.safe_load(TESTS.read_text("utf-8"))[True]  # YAML 1.1 takes `on` for true
    return " and ".join(text for event, text in WHEN.items() if event in triggers)
