"""A forge in a folder: a bare remote, forks of it, and an organiser with a clone and a state."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ci.check_pr import Checked, check
from ci.git import Repository
from ci.scoring import Machine
from ci.state import State
from evaluator.files import sha256_bytes
from harness.challenge import Challenge, Phase, Track
from harness.execution import ExecutionEnvironment
from tests.support.small_challenge import SIDE, model_bytes

TEAMS = {
    "schema": "busbench/teams/v1",
    "teams": {
        "alpha": {"name": "Team Alpha", "accounts": ["alice", "Al"]},
        "beta": {"name": "Team Beta", "accounts": ["bob"]},
    },
}


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """Run git as a participant or a forge would."""
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Someone"), ("EMAIL", "someone@example.org"))
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull},
        input=stdin,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode("utf-8", "surrogateescape").strip()


@dataclass
class Forge:
    """The base repository, and what the organiser keeps."""

    bare: Path
    clone: Path
    machine: Machine
    root: Path
    numbers: list[int] = field(default_factory=lambda: [0])

    @property
    def base(self) -> str:
        return git(self.bare, "rev-parse", "main")

    def checkout(self, name: str, at: str = "main") -> Path:
        """A participant's clone, on a branch of its own from `at`."""
        folder = self.root / name
        git(self.root, "clone", "-q", str(self.bare), name)
        git(folder, "checkout", "-q", "-b", "mine", f"origin/{at}")
        return folder

    def propose(self, folder: Path, number: int | None = None) -> tuple[str, str]:
        """Commit everything and open (or, with its number, update) a pull request."""
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "--allow-empty", "-m", "Hand in")
        return self.push(folder, number)

    def push(self, folder: Path, number: int | None = None) -> tuple[str, str]:
        if number is None:
            self.numbers[0] += 1
            number = self.numbers[0]
        reference = f"refs/pull/{number}/head"
        git(folder, "push", "-q", "--force", str(self.bare), f"HEAD:{reference}")
        return git(folder, "rev-parse", "HEAD"), reference

    def check(
        self, head: str, author: str = "alice", challenge: Challenge | None = None
    ) -> Checked:
        """Fetch what was proposed, and check the commit `head` against the base branch."""
        git(self.clone, "fetch", "-q", "origin", "refs/pull/*/head:refs/pulls/*")
        declared = challenge or self.machine.challenge
        return check(self.machine.repository, self.base, head, author=author, challenge=declared)

    def merge(self, reference: str) -> tuple[str, str]:
        """Merge as a forge does; the base branch before and after."""
        before = self.base
        work = self.root / f"merge-{self.numbers[0]}-{len(list(self.root.iterdir()))}"
        git(self.root, "clone", "-q", str(self.bare), work.name)
        git(work, "fetch", "-q", "origin", reference)
        git(work, "merge", "-q", "--no-ff", "-m", "Merge", "FETCH_HEAD")
        git(work, "push", "-q", "origin", "HEAD:main")
        git(self.clone, "pull", "-q", "--ff-only", "origin", "main")
        return before, self.base


def manifest(team: str = "alpha", method: str = "bright", **changes: object) -> dict[str, object]:
    """A manifest of one ONNX file for all folds."""
    data = model_bytes(-2.0)
    document: dict[str, object] = {
        "schema": "busbench/proposal/v1",
        "team": team,
        "method": method,
        "track": "phantom",
        "onnx": {
            "input": {"height": SIDE, "width": SIDE, "resize": "letterbox"},
            "output": {"kind": "logits"},
            "opset": 17,
            "models": [{"fold": None, "file": "all.onnx", "sha256": sha256_bytes(data)}],
        },
    }
    return document | changes


def hand_in(
    folder: Path, team: str = "alpha", method: str = "bright", *, bias: float = -2.0
) -> Path:
    """Write a manifest and its ONNX file into a clone; the manifest's path."""
    data = model_bytes(bias)
    document = manifest(team, method)
    document["onnx"]["models"][0]["sha256"] = sha256_bytes(data)  # type: ignore[index]
    place = folder / "submissions" / team
    (place / method).mkdir(parents=True)
    (place / method / "all.onnx").write_bytes(data)
    (place / f"{method}.yaml").write_text(yaml.safe_dump(document))
    return place / f"{method}.yaml"


def make_forge(root: Path, state: State | None, phases: tuple[Phase, ...] = ()) -> Forge:
    """A new base repository with two registered teams."""
    git(root, "init", "-q", "--bare", "-b", "main", "base.git")
    git(root, "clone", "-q", "base.git", "clone")
    clone = root / "clone"
    git(clone, "checkout", "-q", "-b", "main")
    (clone / "submissions").mkdir()
    (clone / "submissions" / "teams.yaml").write_text(yaml.safe_dump(TEAMS))
    (clone / "harness").mkdir()
    (clone / "harness" / "score.py").write_text("print('the scorer')\n")
    (clone / "submissions" / "beta").mkdir()
    (clone / "submissions" / "beta" / "old.yaml").write_text(
        yaml.safe_dump(manifest("beta", "old"))
    )
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "Begin")
    git(clone, "push", "-q", "origin", "main")
    challenge = Challenge(
        tracks={"phantom": Track(dataset="phantom", split_version="v1")}, phases=phases
    )
    state = state or State(root / "state")
    environment = ExecutionEnvironment("process", challenge, state.path / "keys")
    machine = Machine(Repository(clone), state, environment)
    return Forge(root / "base.git", clone, machine, root)
