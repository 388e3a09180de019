"""The files of a pull request, written from a submission folder: what is written is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ci.check_pr import check
from ci.propose import main, propose
from evaluator.errors import BusbenchError
from tests.support.factories import submission_document
from tests.support.forge import Forge, git
from tests.support.small_challenge import model_bytes

DATA = model_bytes(-2.0)


def hand_in(folder: Path, files: dict[str, bytes], **changes: object) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "submission.yaml").write_text(yaml.safe_dump(submission_document(files, **changes)))
    return folder


ALL = {"all.onnx": DATA}
EACH = {f"fold-{fold}.onnx": DATA for fold in range(5)}


@pytest.mark.parametrize("files", [ALL, EACH], ids=["one for all", "one a fold"])
def test_no_file_that_is_written_is_refused(
    files: dict[str, bytes], forge: Forge, tmp_path: Path
) -> None:
    work = forge.checkout("alice")
    challenge = forge.machine.challenge
    folder = hand_in(tmp_path / "mine", files)
    propose(folder, work, ("alpha", "bright"), challenge=challenge)
    head, _ = forge.propose(work)
    git(forge.clone, "fetch", "-q", "origin", "refs/pull/*/head:refs/pulls/*")
    found = check(forge.machine.repository, forge.base, head, author="alice", challenge=challenge)
    assert set(found.blobs) == set(files)
    assert found.proposal.onnx is not None
    assert {model.file for model in found.proposal.onnx.models} == set(files)


def test_no_file_of_an_earlier_proposal_is_left(forge: Forge, tmp_path: Path) -> None:
    work = forge.checkout("alice")
    challenge = forge.machine.challenge
    for number, files in enumerate((EACH, ALL)):
        folder = hand_in(tmp_path / f"mine-{number}", files)
        manifest = propose(folder, work, ("alpha", "bright"), challenge=challenge)
    assert [path.name for path in manifest.with_suffix("").iterdir()] == ["all.onnx"]


REFUSED: dict[str, tuple[dict[str, bytes], dict[str, object], str]] = {
    "another track": (ALL, {"track": "busbra"}, "alpha"),
    "some folds": (dict(list(EACH.items())[:3]), {}, "alpha"),
    "a team in capitals": (ALL, {}, "Alpha Team"),
    "a team outside": (ALL, {}, "../alpha"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_refused_submission_leaves_a_file(case: str, forge: Forge, tmp_path: Path) -> None:
    files, changes, team = REFUSED[case]
    work = forge.checkout("alice")
    before = sorted(work.rglob("*"))
    folder = hand_in(tmp_path / "mine", files, **changes)
    with pytest.raises(BusbenchError) as error:
        propose(folder, work, (team, "bright"), challenge=forge.machine.challenge)
    assert error.value.code in ("submission-invalid", "pull-request-refused")
    assert sorted(work.rglob("*")) == before


def test_no_status_hides_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--team", "alpha", "--method", "bright", "--repository", str(tmp_path)]
    assert main([str(tmp_path / "nothing"), *words]) == 10
