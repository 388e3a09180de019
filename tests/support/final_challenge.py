"""A small challenge with a final part, driven through the command line on any day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.challenge import Challenge, Phase, Track
from harness.cli import app
from harness.store import write_store
from tests.support.samples import samples
from tests.support.small_challenge import make_submission

IN_DEVELOPMENT, IN_FINAL = date(2026, 3, 15), date(2026, 4, 15)
OVER, OPEN = date(2026, 4, 21), date(2026, 5, 1)
PHASES = (
    Phase(
        name="development",
        opens=date(2026, 3, 1),
        closes=date(2026, 3, 31),
        steps={"dice": 0.01},
        results_open=OPEN,
    ),
    Phase(
        name="final",
        opens=date(2026, 4, 10),
        closes=date(2026, 4, 20),
        steps={},
        part="final",
        results_open=OPEN,
    ),
)


@dataclass(frozen=True)
class Ended:
    """How a verb ended."""

    code: str | None  # of its error; null where it did well
    said: str  # on both streams

    @property
    def json(self) -> Any:
        """The JSON that it printed."""
        return json.loads(self.said)


@dataclass(frozen=True)
class FinalChallenge:
    """The organiser's folder: store, split with a final part, keys of both, bundles, runs."""

    root: Path
    declared: Challenge = field(
        default=Challenge(
            tracks={"phantom": Track(dataset="phantom", split_version="v1")}, phases=PHASES
        )
    )

    @classmethod
    def make(cls, root: Path) -> FinalChallenge:
        """Freeze and seal one, by the verbs that an organiser uses."""
        made = cls(root)
        write_store(root / "store", "phantom", samples())
        made.declare(made.declared)
        (root / "runs").mkdir()
        for words in (
            ("freeze", "store", "--out", "split", "--version", "v1", "--test-fraction", "0.5"),
            ("keys", "new", "keys"),
            ("keys", "final", "keys", "--out", "final-keys"),
            ("seal", "store", "--split", "split", "--keys", "keys", "--out", "bundles"),
        ):
            more = {"freeze": ("--final", "0.5"), "seal": ("--final-keys", "final-keys")}
            ended = made.run(*words, *more.get(words[0], ()))
            assert ended.code is None, ended
        return made

    def declare(self, challenge: Challenge) -> None:
        """Write challenge.yaml."""
        text = yaml.safe_dump(challenge.document())
        (self.root / "challenge.yaml").write_text(text)

    def run(self, *words: object, day: date = IN_DEVELOPMENT, json: bool = False) -> Ended:
        """Run a verb in the folder, on a day."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            patch.setattr("harness.quotas.recording.today", lambda: day)
            done = CliRunner().invoke(app, [*map(str, words), *(["--json"] if json else [])])
        error = done.exception
        if isinstance(error, BusbenchError):
            return Ended(error.code, error.message)
        assert error is None or isinstance(error, SystemExit), done.exc_info
        code = None if done.exit_code == 0 else f"status {done.exit_code}"
        return Ended(code, done.stdout if json else done.output)

    def evaluate(
        self, submission: Path, *more: object, keys: str = "keys", day: date = IN_DEVELOPMENT
    ) -> Ended:
        """Hand a submission in on a day."""
        words = ("--bundle", "bundles", "--keys", keys, "--runner", "process")
        return self.run("evaluate", submission, *words, "--ledger", "l.jsonl", *more, day=day)

    def finalise(self, *more: object, day: date = OVER, json: bool = True) -> Ended:
        """End the challenge."""
        words = ("finalise", "l.jsonl", "--bundle", "bundles", *more)
        if "--dry-run" not in more:
            words += ("--keys", "final-keys", "--runner", "process")
        return self.run(*words, day=day, json=json)

    def submission(self, team: str, method: str, *, bias: float) -> Path:
        """The folder of a submission; the best masks are those with a bias of about -2."""
        return make_submission(self.root / f"{team}-{method}", team, method, bias=bias)

    def log(self) -> list[Mapping[str, Any]]:
        """The submission log."""
        found: list[Mapping[str, Any]] = json.loads((self.root / "l.jsonl.log.json").read_bytes())[
            "submissions"
        ]
        return found
