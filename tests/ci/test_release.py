"""Releases: a tag, the project, the citation and the changelog never state different versions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ci.release_notes import release_notes

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "ci" / "release_notes.py"
CHANGELOG = "# Changelog\n\n## 1.2.0 - 2030-01-01\n\n- New.\n\n## 1.1.0\n\n- Old.\n\n## 1.0.0\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose files agree on version 1.2.0."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.0\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def test_notes_hold_nothing_of_another_version(project: Path) -> None:
    assert release_notes("v1.2.0", project) == "- New.\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pyproject.toml", '[project]\nversion = "1.1.0"\n', "pyproject.toml states version 1.1.0"),
        ("CITATION.cff", "cff-version: 1.2.0\n", "CITATION.cff states version none"),
        ("CHANGELOG.md", "# Changelog\n\n## 1.1.0\n\n- Old.\n", "no text below a heading"),
        ("CHANGELOG.md", "## 1.2.0\n\n## 1.1.0\n\n- Old.\n", "no text below a heading"),
    ],
)
def test_no_release_is_made_of_files_that_disagree(
    project: Path, name: str, text: str, message: str
) -> None:
    (project / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        release_notes("v1.2.0", project)


def test_a_wrong_tag_ends_without_notes() -> None:
    """By the path that the workflow uses, with no package of the project on the path."""
    command = [sys.executable, "-I", str(SCRIPT), "v0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert "the tag is v0.0.0" in done.stderr


def test_the_citation_is_not_of_another_release_than_the_changelogs_newest() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert newest is not None
    assert (citation["version"], citation["date-released"]) == newest.groups()
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["message"]


def test_no_hook_runs_a_tool_that_the_project_does_not_install() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [each["repo"] for each in hooks] == ["local"]  # nothing is fetched from elsewhere
    beside = Path(sys.executable).parent
    for hook in hooks[0]["hooks"]:
        tool = hook["entry"].split()[0]
        assert tool.startswith(".venv/bin/")
        assert shutil.which(Path(tool).name, path=str(beside)), hook["id"]


@pytest.mark.parametrize("name", ["bug", "proposal"])
def test_no_issue_form_asks_a_question_without_a_label(name: str) -> None:
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text("utf-8"))
    assert form["name"] and form["description"]
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["id"] and part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)
