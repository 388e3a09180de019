"""A pull request hands in one submission of its author's team, and does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ci.check_pr import check
from evaluator.errors import BusbenchError
from evaluator.files import sha256_bytes
from harness.challenge import Challenge
from tests.support import ROOT
from tests.support.forge import TEAMS, Forge, git, hand_in, manifest
from tests.support.small_challenge import model_bytes

pytestmark = pytest.mark.slow


def refused(
    forge: Forge, head: str, code: str = "pull-request-refused", author: str = "alice"
) -> str:
    with pytest.raises(BusbenchError) as caught:
        forge.check(head, author)
    assert caught.value.code == code, caught.value
    return caught.value.message


def test_one_submission_with_its_files_may_be_taken(forge: Forge) -> None:
    work = forge.checkout("alice")
    hand_in(work)
    head, _ = forge.propose(work)
    for author in ("alice", "ALICE", "al"):
        forge.check(head, author)


def test_a_fork_that_is_behind_the_base_may_be_taken(forge: Forge) -> None:
    work = forge.checkout("fork")
    (forge.clone / "README.md").write_text("Meanwhile the base moved on.\n")
    git(forge.clone, "add", "-A")
    git(forge.clone, "commit", "-q", "-m", "Move on")
    git(forge.clone, "push", "-q", "origin", "main")
    hand_in(work)
    forge.check(forge.propose(work)[0])


def test_a_manifest_alone_may_name_files_that_were_uploaded(forge: Forge) -> None:
    work = forge.checkout("alice")
    (hand_in(work).parent / "bright" / "all.onnx").unlink()
    forge.check(forge.propose(work)[0])


def test_a_lfs_pointer_counts_as_its_file(forge: Forge) -> None:
    work = forge.checkout("alice")
    file = hand_in(work).parent / "bright" / "all.onnx"
    sha256 = sha256_bytes(model_bytes(-2.0))
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize 200\n"
    file.write_text(pointer)
    forge.check(forge.propose(work)[0])
    file.write_text(pointer.replace(sha256, "0" * 64))
    assert "not the file that was declared" in refused(forge, forge.propose(work)[0])
    file.write_text(pointer.replace("size 200", "size 3000000000"))
    assert "larger than" in refused(forge, forge.propose(work)[0])


def _edit(path: str, text: str = "changed\n") -> Callable[[Path], None]:
    def edit(work: Path) -> None:
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)

    return edit


def _link(work: Path) -> None:
    place = work / "submissions" / "alpha" / "bright" / "all.onnx"
    place.unlink()
    place.symlink_to("/etc/passwd")


def _linked_manifest(work: Path) -> None:
    place = work / "submissions" / "alpha" / "bright.yaml"
    place.unlink()
    place.symlink_to("../teams.yaml")


def _rename(work: Path) -> None:
    old = work / "submissions" / "beta" / "old.yaml"
    old.rename(work / "submissions" / "alpha" / "bright.yaml")


OUTSIDE: dict[str, Callable[[Path], None]] = {
    "the scorer": _edit("harness/score.py"),
    "a workflow": _edit(".github/workflows/x.yml"),
    "git's attributes": _edit(".gitattributes", "* filter=evil\n"),
    "its attributes in the folder": _edit("submissions/alpha/.gitattributes"),
    "a submodule": _edit(".gitmodules"),
    "the teams": _edit("submissions/teams.yaml"),
    "another team's file": _edit("submissions/beta/old.yaml"),
    "a second submission": _edit("submissions/alpha/second.yaml"),
    "another method's file": _edit("submissions/alpha/second/all.onnx"),
    "an undeclared file": _edit("submissions/alpha/bright/extra.onnx"),
    "a file below": _edit("submissions/alpha/bright/deep/all.onnx"),
    "a link instead of a model": _link,
    "a link instead of a manifest": _linked_manifest,
    "a deleted file": lambda work: (work / "harness" / "score.py").unlink(),
    "a moved file": _rename,
    "a program": lambda work: (work / "submissions/alpha/bright/all.onnx").chmod(0o755),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_nothing_else_is_changed(forge: Forge, what: str) -> None:
    work = forge.checkout("alice")
    hand_in(work)
    OUTSIDE[what](work)
    refused(forge, forge.propose(work)[0])


def test_an_empty_pull_request_is_refused(forge: Forge) -> None:
    assert "0 submissions" in refused(forge, forge.propose(forge.checkout("alice"))[0])


def test_nobody_hands_in_for_another_team(forge: Forge) -> None:
    work = forge.checkout("mallory")
    hand_in(work, team="beta")
    head, _ = forge.propose(work)
    assert "may not hand in for the team beta" in refused(forge, head, author="alice")
    forge.check(head, author="bob")


def test_a_team_that_nobody_registered_is_refused(forge: Forge) -> None:
    work = forge.checkout("alice")
    hand_in(work, team="team-alpha")
    assert "not in submissions/teams.yaml" in refused(forge, forge.propose(work)[0])


def test_two_teams_of_one_name_are_the_organisers_mistake(forge: Forge) -> None:
    twice = {**TEAMS["teams"], "gamma": {"name": "TEAM  alpha", "accounts": ["eve"]}}  # type: ignore[dict-item]
    (forge.clone / "submissions" / "teams.yaml").write_text(
        yaml.safe_dump({**TEAMS, "teams": twice})
    )
    git(forge.clone, "commit", "-q", "-am", "Register")
    git(forge.clone, "push", "-q", "origin", "main")
    work = forge.checkout("alice")
    hand_in(work)
    assert "same name" in refused(forge, forge.propose(work)[0], "challenge-invalid")


def test_a_team_that_is_registered_twice_is_the_organisers_mistake(forge: Forge) -> None:
    """The second would silently take the first one's place."""
    teams = forge.clone / "submissions" / "teams.yaml"
    teams.write_text(teams.read_text() + "  alpha: {name: Team Gamma, accounts: [eve]}\n")
    git(forge.clone, "commit", "-q", "-am", "Register")
    git(forge.clone, "push", "-q", "origin", "main")
    work = forge.checkout("eve")
    hand_in(work)
    head, _ = forge.propose(work)
    assert "'alpha' is given twice" in refused(forge, head, "challenge-invalid", author="eve")


def bad(document: object) -> bytes:
    return yaml.safe_dump(document).encode()


def _onnx(**changes: object) -> dict[str, object]:
    document = manifest()
    return document | {"onnx": dict(document["onnx"]) | changes}  # type: ignore[call-overload]


def _model(**changes: object) -> dict[str, object]:
    return _onnx(models=[{"fold": None, "file": "all.onnx", "sha256": "0" * 64} | changes])


BOMB = b"a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nschema: *c\n"
MANIFESTS: dict[str, tuple[bytes, str]] = {
    "an unknown field": (bad(manifest(secret=1)), "submission-invalid"),
    "a track that is not": (bad(manifest(track="busbra")), "pull-request-refused"),
    "a fold with two models": (
        bad(
            _onnx(
                models=[
                    {"fold": 0, "file": "a.onnx", "sha256": "0" * 64},
                    {"fold": 0, "file": "b.onnx", "sha256": "1" * 64},
                ]
            )
        ),
        "submission-invalid",
    ),
    **{
        f"folds {folds}": (
            bad(
                _onnx(
                    models=[
                        {"fold": fold, "file": f"{fold}.onnx", "sha256": f"{fold}" * 64}
                        for fold in folds
                    ]
                )
            ),
            "submission-invalid",
        )
        for folds in [(0,), (1,), (1, 2), (1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6)]
    },
    "another team inside": (bad(manifest(team="beta")), "pull-request-refused"),
    "another method inside": (bad(manifest(method="other")), "pull-request-refused"),
    "both ways": (
        bad(manifest(image={"reference": f"r.example/x@sha256:{'0' * 64}"})),
        "submission-invalid",
    ),
    "neither way": (bad(manifest(onnx=None)), "submission-invalid"),
    "an image by its tag": (
        bad(manifest(onnx=None, image={"reference": "r.example/x:latest"})),
        "submission-invalid",
    ),
    "an image that is an option": (
        bad(manifest(onnx=None, image={"reference": f"--privileged@sha256:{'0' * 64}"})),
        "submission-invalid",
    ),
    "a path that leaves the folder": (bad(_model(file="../../x.onnx")), "submission-invalid"),
    "an absolute path": (bad(_model(file="/etc/passwd")), "submission-invalid"),
    "a wrong digest": (bad(_model()), "pull-request-refused"),
    "no digest": (bad(_model(sha256="abc")), "submission-invalid"),
    "bytes that are not UTF-8": (b"schema: \xff\xfe\n", "submission-invalid"),
    "a YAML bomb": (BOMB, "submission-invalid"),
    "a YAML tag that runs code": (b"!!python/object/apply:os.system [id]\n", "submission-invalid"),
    "a field that is there twice": (bad(manifest()) + b"team: beta\n", "submission-invalid"),
    "endless nesting": (b"[" * 5000, "submission-invalid"),
    "a huge manifest": (b"#" * 70_000, "pull-request-refused"),
    "nothing": (b"", "submission-invalid"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_wrong_manifest_is_refused(forge: Forge, what: str) -> None:
    data, code = MANIFESTS[what]
    work = forge.checkout("alice")
    hand_in(work).write_bytes(data)
    refused(forge, forge.propose(work)[0], code)


def test_an_undeclared_track_is_the_participants_fault_and_none_at_all_the_organisers(
    forge: Forge,
) -> None:
    work = forge.checkout("alice")
    hand_in(work).write_bytes(bad(manifest(track="moon")))
    head, _ = forge.propose(work)
    assert "declares no track moon, but phantom" in refused(forge, head)
    nothing = replace(forge.machine.environment, challenge=Challenge())
    forge.machine = replace(forge.machine, environment=nothing)
    assert "declares no tracks" in refused(forge, head, "challenge-invalid")


def test_an_image_by_its_digest_may_be_taken(forge: Forge) -> None:
    work = forge.checkout("alice")
    image = {"reference": f"registry.example.org/a/b:v1@sha256:{'0' * 64}", "command": ["train"]}
    place = work / "submissions" / "alpha" / "bright.yaml"
    place.parent.mkdir(parents=True)
    place.write_bytes(bad(manifest(onnx=None, image=image)))
    forge.check(forge.propose(work)[0])


def test_a_tree_with_a_path_that_climbs_out_is_refused(forge: Forge) -> None:
    """No git command writes such a tree, but an attacker can."""
    work = forge.checkout("mallory")
    blob = git(work, "hash-object", "-w", "--stdin", stdin=b"x")
    tree = b""
    for name in (b"..", b"bright.yaml"):
        tree += b"100644 " + name + b"\0" + bytes.fromhex(blob)
    crafted = git(work, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=tree)
    outer = git(work, "mktree", stdin=f"040000 tree {crafted}\tsubmissions\n".encode())
    commit = git(work, "commit-tree", "-p", "HEAD", "-m", "Climb", outer)
    git(forge.clone, "fetch", "-q", str(work), "mine")
    pack = subprocess.run(
        ["git", "-C", work, "pack-objects", "--stdout", "-q"],
        input=f"{blob}\n{crafted}\n{outer}\n{commit}\n".encode(),
        capture_output=True,
        check=True,
    ).stdout
    git(forge.clone, "unpack-objects", "-q", stdin=pack)
    with pytest.raises(BusbenchError) as caught:
        check(
            forge.machine.repository,
            forge.base,
            commit,
            author="alice",
            challenge=forge.machine.challenge,
        )
    assert caught.value.code == "pull-request-refused"


@pytest.mark.parametrize(
    "name",
    [
        "submissions/alpha/Bright.yaml",
        "submissions/alpha/b\u200bright.yaml",
        "submissions/alpha/.yaml",
        "submissions/ALPHA/bright.yaml",
        "submissions/x.yaml",
    ],
)
def test_a_manifest_with_another_kind_of_name_is_none(forge: Forge, name: str) -> None:
    work = forge.checkout("alice")
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).write_bytes(bad(manifest()))
    refused(forge, forge.propose(work)[0])


def test_a_name_that_is_not_utf8_is_refused(forge: Forge) -> None:
    work = forge.checkout("alice")
    hand_in(work)
    (Path(os.fsdecode(os.fsencode(work) + b"/submissions/alpha/\xff.yaml"))).write_text("x")
    assert "UTF-8" in refused(forge, forge.propose(work)[0])


def test_a_history_of_its_own_is_refused(forge: Forge) -> None:
    work = forge.checkout("alice")
    git(work, "checkout", "-q", "--orphan", "new")
    assert "git diff failed" in refused(forge, forge.propose(work)[0])


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ci.check_pr", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_script_says_who_has_to_act(forge: Forge, tmp_path: Path) -> None:
    declared = tmp_path / "challenge.yaml"
    declared.write_text("tracks: {phantom: {dataset: phantom, split_version: v1}}\n")
    work = forge.checkout("alice")
    hand_in(work)
    head, reference = forge.propose(work)
    git(forge.clone, "fetch", "-q", "origin", reference)
    common = ("--repository", forge.clone, "--challenge", declared, "--base", "main")
    good = run(*common, "--head", head, "--author", "alice")
    assert good.returncode == 0
    said, limits = good.stdout.splitlines()
    assert said == "may be taken: bright by Team Alpha on phantom"
    assert limits.startswith("Only the scoring finds")
    other = run(*common, "--head", head, "--author", "mallory")
    assert other.returncode == 10 and "pull-request-refused" in other.stderr
    unknown = run(*common, "--head", "--output=/tmp/x", "--author", "alice")
    assert unknown.returncode in (2, 10) and "Traceback" not in unknown.stderr
