"""Workflows: no stranger gets a secret, a right or a moment on the organiser's machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci.check_pr import main as check_main
from evaluator.documents.base import Contract
from harness.proposal import Proposal, Teams
from tests.support import ROOT, absent

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
SUBMISSION = [path for path in WORKFLOWS if path.stem.startswith("submission-")]
GITLAB = ROOT / "ci" / "gitlab-ci.example.yml"


def read(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text("utf-8"))
    document["on"] = document.pop(True)  # YAML 1.1 reads `on` as true
    return dict(document)


def steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in document["jobs"].values() for step in job.get("steps", ())]


def test_no_workflow_is_unknown_to_these_tests() -> None:
    names = [path.stem for path in WORKFLOWS]
    submission = ["submission-check", "submission-merge", "submission-score"]
    assert names == ["release", *submission, "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    for line in re.findall(r"uses: (.*)", path.read_text()):
        if line.startswith("./"):  # of this repository, at the same commit
            continue
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_are_given_job_by_job_and_none_to_the_machine_with_the_keys(path: Path) -> None:
    document = read(path)
    assert document["permissions"] == {}
    assert "concurrency" in document
    for job in document["jobs"].values():
        if "uses" in job:  # a workflow of this repository, whose jobs are looked at by themselves
            assert job["permissions"] == {"contents": "read"}
            continue
        assert "timeout-minutes" in job
        if "self-hosted" in job["runs-on"]:
            assert job["permissions"] == {"contents": "read"}
            assert job["environment"] == "scoring"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_token_stays_on_disk_and_no_expression_is_in_a_script(path: Path) -> None:
    for step in steps(read(path)):
        assert "${{" not in step.get("run", "")
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_a_stranger_starts_has_no_secret_and_not_our_machine() -> None:
    for path in WORKFLOWS:
        document = read(path)
        triggers = set(document["on"])
        assert not triggers & {"pull_request_target", "issue_comment", "workflow_run"}
        if "pull_request" in triggers:
            text = path.read_text()
            assert "secrets." not in text and "self-hosted" not in text
            assert "environment" not in text
            for job in document["jobs"].values():
                assert job["permissions"] == {"contents": "read"}


def test_no_job_that_runs_our_code_may_write_a_release() -> None:
    jobs = read(FOLDER / "release.yml")["jobs"]
    writers = [name for name, job in jobs.items() if "write" in job["permissions"].values()]
    assert writers == ["publish"]
    publish = jobs["publish"]
    assert not [step for step in publish["steps"] if "checkout" in step.get("uses", "")]
    assert "python" not in str(publish) and "secrets." not in str(publish)
    assert jobs["build"]["needs"] == "tests" and publish["needs"] == "build"


def test_all_logic_is_in_scripts_that_exist() -> None:
    called = set()
    for path in (*WORKFLOWS, GITLAB):
        called |= set(re.findall(r"-m (ci\.\w+)", path.read_text()))
        for script in re.findall(r"python (ci/\w+\.py)", path.read_text()):
            assert (ROOT / script).is_file()
        for step in steps(read(path)) if path != GITLAB else ():
            assert len(step.get("run", "").splitlines()) <= 4
    assert called == {"ci.check_pr", "ci.score_pr", "ci.after_merge"}


@pytest.mark.parametrize("module", ["check_pr", "score_pr", "after_merge"])
def test_scripts_take_the_options_that_workflows_give(module: str) -> None:
    command = [sys.executable, "-m", f"ci.{module}", "--help"]
    usage = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in (*SUBMISSION, GITLAB):
        text = path.read_text().replace("\\\n", " ")
        text = re.sub(r"\n\s+(?=--)", " ", text)
        for call in re.findall(rf"-m ci\.{module}\b(.*)", text):
            options = re.findall(r"--[a-z]+", call)
            assert options
            for option in options:
                assert option in usage, (path, option)


def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a tool of the extra `dev`. Without it, tests skip on a laptop and fail in CI."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    tool = shutil.which(name, path=path)
    if tool is None:
        absent(f"{name} is not installed; it comes with the extra `dev`")
    return subprocess.run(
        [tool, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_zizmor_finds_nothing() -> None:
    done = run("zizmor", "--offline", "--no-progress", FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actionlint_finds_nothing(path: Path) -> None:
    """With shellcheck, which it asks about the scripts in steps."""
    done = run("actionlint", "-no-color", "-shellcheck", "shellcheck", path)
    assert done.returncode == 0, done.stdout + done.stderr


WRONG = {
    "an expression that names nothing": ("github.event.pull_request.base.sha", "github.evnt.sha"),
    "a script that splits words": ('"$BASE" --head "$HEAD"', "$BASE --head $HEAD"),
    "a right that there is not": ("contents: read", "content: read"),
    "a job that waits for nobody": ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.04\n    needs: x"),
}


@pytest.mark.parametrize("what", WRONG)
def test_actionlint_would_find_it(what: str, tmp_path: Path) -> None:
    """A tool that looks at nothing finds nothing either."""
    text = (FOLDER / "submission-check.yml").read_text("utf-8")
    good, bad = WRONG[what]
    assert good in text
    (tmp_path / "wrong.yml").write_text(text.replace(good, bad))
    words = ("-no-color", "-shellcheck", "shellcheck", tmp_path / "wrong.yml")
    assert run("actionlint", *words).returncode == 1


def test_the_repositorys_own_list_of_teams_and_the_pages_examples_are_valid() -> None:
    Teams.model_validate(yaml.safe_load((ROOT / "submissions" / "teams.yaml").read_text()))
    page = (ROOT / "docs" / "pull-requests.md").read_text("utf-8")
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```$", page, re.M | re.S)
    documents = [yaml.safe_load(re.sub(r"^   ", "", block, flags=re.M)) for block in blocks]
    models: dict[str, type[Contract]] = {
        "busbench/teams/v1": Teams,
        "busbench/proposal/v2": Proposal,
    }
    assert [document["schema"] for document in documents].count("busbench/proposal/v2") == 2
    for document in documents:
        models[document["schema"]].model_validate(document)


def test_a_person_can_run_the_check_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    head = ["--base", "HEAD", "--head", "HEAD", "--author", "me", "--repository", str(ROOT)]
    assert check_main(head) == 10
    assert "It changes 0 submissions" in capsys.readouterr().err
