"""Two evaluations at once on one engine: neither ends the other's containers."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import docker
import pytest

from harness.ledger import verify_ledger
from harness.sandbox.profile import OWNER_LABEL
from tests.support import ROOT
from tests.support.jobs import command
from tests.support.small_challenge import SmallChallenge, make_submission

pytestmark = [pytest.mark.docker, pytest.mark.slow]
Lives = list[tuple[float, float]]  # of containers: start and end, in seconds


def lives(engine: docker.DockerClient, process: int, since: float) -> Lives:
    """When each container that a process of ours started ran, by the engine's events."""
    found: dict[str, dict[str, float]] = {}
    wanted = {"type": "container", "event": ["start", "die"], "label": OWNER_LABEL}
    for event in engine.events(
        since=int(since), until=int(time.time()) + 1, decode=True, filters=wanted
    ):
        actor = event["Actor"]
        if actor["Attributes"][OWNER_LABEL].split("/")[3] == str(process):
            found.setdefault(actor["ID"], {})[event["Action"]] = event["timeNano"] / 1e9
    return [(life["start"], life["die"]) for life in found.values()]


@pytest.mark.parametrize("shared", [True, False], ids=["one ledger and folder", "apart"])
def test_no_evaluation_ends_another_that_runs_at_the_same_time(
    engine: docker.DockerClient, tmp_path: Path, shared: bool
) -> None:
    challenge, since = SmallChallenge.make(tmp_path / "challenge"), time.time()
    started, places = [], []
    for number in range(2):
        submission = make_submission(
            tmp_path / f"submission-{number}", f"team {number}", bias=-1.0 - number
        )
        place = tmp_path / ("shared" if shared else f"place-{number}")
        place.mkdir(exist_ok=True)
        bundle, keys = challenge.bundles.path, challenge.keys.path
        words = ("evaluate", submission, "--bundle", bundle, "--keys", keys, "--runner", "docker")
        results = ("--out", place / "runs", "--ledger", place / "ledger.jsonl", "--json")
        started.append(
            subprocess.Popen(
                command(*words, *results),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        places.append(place)
    ends = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], ends
    for number, (printed, _) in enumerate(ends):
        (report,) = json.loads(printed)["reports"]
        assert report["team"] == f"team {number}" and report["status"] == "complete"
    recorded = {place: len(verify_ledger(place / "ledger.jsonl").reports) for place in places}
    assert set(recorded.values()) == {2 if shared else 1}
    one, other = (lives(engine, process.pid, since) for process in started)
    assert any(a < d and c < b for a, b in one for c, d in other)  # they did run at once
