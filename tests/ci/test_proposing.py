"""The files of a pull request, written from a submission folder: what is written is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from evaluator.documents.submission import ImageSubmission
from evaluator.errors import BusbenchError
from harness.challenge import Challenge
from harness.proposing import Entrant, propose_folder, propose_image
from tests.support.command_line import busbench_in
from tests.support.factories import submission_document
from tests.support.forge import Forge
from tests.support.small_challenge import model_bytes

DATA = model_bytes(-2.0)
MINE = Entrant("alpha", "bright", "alice")
IMAGE = f"registry.example.org/alpha/net@sha256:{'2c' * 32}"


def hand_in(folder: Path, files: dict[str, bytes], **changes: object) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "submission.yaml").write_text(yaml.safe_dump(submission_document(files, **changes)))
    return folder


def image_folder(folder: Path) -> Path:
    """A submission of an image that predicts."""
    folder.mkdir()
    fields = {"team": "Team Alpha", "method": "bright", "track": "phantom", "image": IMAGE}
    (folder / "submission.yaml").write_text(yaml.safe_dump(fields))
    return folder


def accepting_images(forge: Forge) -> Challenge:
    """The challenge, whose track takes images, too."""
    challenge = forge.machine.challenge
    track = challenge.tracks["phantom"].model_copy(update={"accepts": ("onnx", "image")})
    return challenge.model_copy(update={"tracks": {"phantom": track}})


ALL = {"all.onnx": DATA}
EACH = {f"fold-{fold}.onnx": DATA for fold in range(5)}


@pytest.mark.parametrize("files", [ALL, EACH], ids=["one for all", "one a fold"])
def test_no_file_that_is_written_is_refused(
    files: dict[str, bytes], forge: Forge, tmp_path: Path
) -> None:
    work = forge.checkout("alice")
    challenge = forge.machine.challenge
    folder = hand_in(tmp_path / "mine", files)
    propose_folder(folder, work, MINE, challenge=challenge)
    head, _ = forge.propose(work)
    found = forge.check(head, challenge=challenge)
    assert set(found.blobs) == set(files)
    assert found.proposal.onnx is not None
    assert {model.file for model in found.proposal.onnx.models} == set(files)


def test_no_word_of_a_submission_is_lost_in_its_proposal(forge: Forge, tmp_path: Path) -> None:
    said = {"paper": "https://example.org", "external_data": "none", "authors": ["Ann"]}
    work, challenge = forge.checkout("alice"), forge.machine.challenge
    folder = hand_in(tmp_path / "mine", ALL, **said)
    propose_folder(folder, work, MINE, challenge=challenge)
    head, _ = forge.propose(work)
    submission = forge.check(head, challenge=challenge).proposal.submission("Alpha")
    assert submission is not None
    stated = submission.notes.model_dump(mode="json", exclude_defaults=True)
    assert stated == said


def test_no_file_of_an_earlier_proposal_is_left(forge: Forge, tmp_path: Path) -> None:
    work = forge.checkout("alice")
    challenge = forge.machine.challenge
    for number, files in enumerate((EACH, ALL)):
        folder = hand_in(tmp_path / f"mine-{number}", files)
        manifest, _ = propose_folder(folder, work, MINE, challenge=challenge)
    assert [path.name for path in manifest.with_suffix("").iterdir()] == ["all.onnx"]


def test_no_earlier_submission_that_was_merged_blocks_the_next(
    forge: Forge, tmp_path: Path
) -> None:
    """Of five models, one, then an image: each is a pull request that deletes what was there."""
    challenge = forge.machine.challenge
    for number, files in enumerate((EACH, ALL, {})):
        work = forge.checkout(f"alice-{number}")
        if files:
            folder = hand_in(tmp_path / f"mine-{number}", files)
            propose_folder(folder, work, MINE, challenge=challenge)
        else:
            propose_image(IMAGE, (), work, track="phantom", entrant=MINE, challenge=challenge)
        head, reference = forge.propose(work)
        assert set(forge.check(head, challenge=challenge).blobs) == set(files)
        forge.merge(reference)


@pytest.mark.parametrize("does", ["trains", "predicts"])
def test_no_file_of_onnx_is_left_beside_an_image(does: str, forge: Forge, tmp_path: Path) -> None:
    """The folder of models is gone, and a link in its place leads nowhere that is emptied."""
    work, challenge = forge.checkout("alice"), accepting_images(forge)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "thesis.tex").write_text("years of work")
    folder = image_folder(tmp_path / "image")
    for linked in (False, True):
        files = hand_in(tmp_path / f"mine-{linked}", EACH)
        manifest, _ = propose_folder(files, work, MINE, challenge=challenge)
        models = manifest.with_suffix("")
        models.with_name(".bright.partial").mkdir()  # left by a killed run
        if linked:
            shutil.rmtree(models)
            models.symlink_to(kept)
        if does == "predicts":
            propose_folder(folder, work, MINE, challenge=challenge)
        else:
            propose_image(IMAGE, (), work, track="phantom", entrant=MINE, challenge=challenge)
        assert [path.name for path in manifest.parent.iterdir()] == ["bright.yaml"]
    head, _ = forge.propose(work)
    assert not forge.check(head, challenge=challenge).blobs
    assert (kept / "thesis.tex").exists()


REFUSED: dict[str, tuple[dict[str, bytes], dict[str, object], str]] = {
    "another track": (ALL, {"track": "busbra"}, "alpha"),
    "some folds": (dict(list(EACH.items())[:3]), {}, "alpha"),
    "a team in capitals": (ALL, {}, "Alpha Team"),
    "a team outside": (ALL, {}, "../alpha"),
    "a team of others": (ALL, {}, "beta"),
    "a team that nobody registered": (ALL, {}, "gamma"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_refused_submission_leaves_a_file(case: str, forge: Forge, tmp_path: Path) -> None:
    files, changes, team = REFUSED[case]
    work = forge.checkout("alice")
    before = sorted(work.rglob("*"))
    folder = hand_in(tmp_path / "mine", files, **changes)
    with pytest.raises(BusbenchError) as error:
        propose_folder(
            folder, work, Entrant(team, "bright", "alice"), challenge=forge.machine.challenge
        )
    assert error.value.code in ("submission-invalid", "pull-request-refused")
    assert sorted(work.rglob("*")) == before


def test_no_image_that_is_written_is_refused(forge: Forge, tmp_path: Path) -> None:
    work, challenge = forge.checkout("alice"), forge.machine.challenge
    propose_image(
        IMAGE, ("run", "{bundle}"), work, track="phantom", entrant=MINE, challenge=challenge
    )
    head, _ = forge.propose(work)
    found = forge.check(head, challenge=challenge)
    assert found.proposal.image is not None and found.proposal.image.reference == IMAGE
    assert "training" in found.proposal.only_scoring


@pytest.mark.parametrize("reference", ["alpha/net:latest", f"alpha/net@sha256:{'2c' * 31}", "@"])
def test_no_image_without_a_digest_is_written(forge: Forge, reference: str) -> None:
    work = forge.checkout("alice")
    with pytest.raises(BusbenchError, match="reference"):
        propose_image(
            reference, (), work, track="phantom", entrant=MINE, challenge=forge.machine.challenge
        )
    assert not list(work.rglob("bright*"))


@pytest.mark.parametrize(
    ("what", "options", "status", "word"),
    [
        ("mine", (), 0, "written"),
        ("mine", ("--account", "bob"), 10, "may not hand in"),
        ("mine", ("--track", "phantom"), 2, "--track"),
        (IMAGE, ("--track", "phantom"), 0, "written"),
        (IMAGE, (), 2, "--track"),
        ("nothing", (), 2, "neither a folder nor an image"),
        ("mine", ("--repository", "."), 10, "--repository"),
    ],
)
def test_no_status_hides_what_became_of_a_proposal(
    what: str,
    options: tuple[str, ...],
    status: int,
    word: str,
    forge: Forge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = forge.checkout("alice")
    (work / "challenge.yaml").write_text(
        yaml.safe_dump({"tracks": {"phantom": {"dataset": "phantom", "split_version": "v1"}}})
    )
    monkeypatch.chdir(tmp_path)
    hand_in(tmp_path / "mine", ALL)
    words = ("--team", "alpha", "--method", "bright", "--repository", work)
    shown = busbench_in(capsys, "propose", what, *words, *options)
    assert shown.status == status, shown.err
    assert word in shown.out + shown.err
    assert (work / "submissions/alpha/bright.yaml").exists() is (status == 0)
    assert ("Only the scoring" in shown.out) is (status == 0)


def test_an_image_that_predicts_is_proposed_on_tracks_that_accept_one_alone(
    forge: Forge, tmp_path: Path
) -> None:
    work, folder = forge.checkout("alice"), image_folder(tmp_path / "image")
    with pytest.raises(BusbenchError, match="accepts ONNX files on track phantom"):
        propose_folder(folder, work, MINE, challenge=forge.machine.challenge)
    challenge = accepting_images(forge)
    propose_folder(folder, work, MINE, challenge=challenge)
    head, _ = forge.propose(work)
    found = forge.check(head, challenge=challenge)
    assert found.proposal.predict == IMAGE and not found.blobs
    submission = found.proposal.submission(found.team.name)
    assert isinstance(submission, ImageSubmission)
    assert (submission.team, submission.image) == ("Team Alpha", IMAGE)
    assert "--part val" in found.proposal.only_scoring
