"""Private labels: nothing leads from them to a team or a site unless phases hide them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ci.check_pr import find_manifest, read_proposal
from evaluator.errors import BusbenchError
from harness.challenge import FINEST, Challenge, Phase, Track
from harness.declared import StatedTrack, check_hidden
from harness.ledger import append, sign
from harness.quotas import require_open
from harness.sealing.bundle import Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit
from harness.store import CaseStore
from tests.support.command_line import busbench_in
from tests.support.factories import make_report
from tests.support.forge import hand_in, make_forge
from tests.support.small_challenge import SmallChallenge, make_submission

pytestmark = pytest.mark.usefixtures("forked_stages")

HIDING = {"name": "a", "closes": "2026-03-31", "steps": {"dice": 0.01}}
FINAL = {"name": "b", "opens": "2026-04-10", "closes": "2026-04-20", "steps": {"dice": 0.02}}
PRIVATE = StatedTrack("phantom", labels="private")
# Phases under which private labels would reach a team.
OPEN: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "no steps": [{"name": "a"}],
    "no steps, results later": [
        {"name": "a", "closes": "2026-03-31", "results_open": "2026-04-01"}
    ],
    "no steps, a quota of one": [{"name": "a", "quota": 1}],
    "the first": [{"name": "a", "closes": "2026-03-31"}, FINAL],
    "the last": [HIDING, {"name": "b", "opens": "2026-04-10"}],
    "steps too fine": [{"name": "a", "steps": {"dice": 1e-9}, "ladder": False}],
    "one step of many too fine": [{"name": "a", "steps": {"dice": 0.01, "hd95": 0.001}}],
    "results of a phase that never ends": [
        {"name": "a", "steps": {"dice": 0.01}, "results_open": "2099-01-01"}
    ],
}
HIDDEN: dict[str, list[dict[str, Any]]] = {
    "one": [HIDING],
    "two": [HIDING, FINAL],
    "nothing shown": [{"name": "a", "steps": {}}],
    "results after the last": [HIDING | {"results_open": "2026-04-21"}, FINAL],
}


def declare(phases: list[dict[str, Any]], *, tracks: bool = True) -> Challenge:
    """A challenge with these phases, unchecked, and a track of private labels or none."""
    track = Track(dataset="phantom", split_version="v1", labels="private")
    found = tuple(Phase.model_validate(phase) for phase in phases)
    return Challenge().model_copy(
        update={"phases": found, "tracks": {"phantom": track} if tracks else {}}
    )


@pytest.mark.parametrize("phases", OPEN)
@pytest.mark.parametrize("tracks", [False, True])
def test_no_phase_that_hides_nothing_is_taken_for_private_labels(
    phases: str, *, tracks: bool
) -> None:
    challenge = declare(OPEN[phases], tracks=tracks)
    assert check_hidden(challenge, PRIVATE)
    assert bool(check_hidden(challenge, StatedTrack("phantom"))) is tracks
    assert check_hidden(challenge, StatedTrack("phantom", labels="public")) is None
    with pytest.raises(BusbenchError) as caught:
        require_open([], challenge, date.max, reports=[make_report(labels="private")])
    assert caught.value.code == "challenge-invalid"


@pytest.mark.parametrize("phases", HIDDEN)
def test_phases_that_hide_let_private_labels_pass(phases: str) -> None:
    assert check_hidden(declare(HIDDEN[phases]), PRIVATE) is None


@given(st.dictionaries(st.sampled_from(sorted(FINEST)), st.floats(1e-12, 2), max_size=3))
def test_no_phase_hides_with_a_step_below_the_finest(steps: dict[str, float]) -> None:
    phase = Phase.model_validate({"name": "a", "steps": steps})
    fine = any(step < FINEST[metric] for metric, step in steps.items())  # type: ignore[index]
    assert phase.hides is not fine


# --- results_open, at loading --------------------------------------------------------------------


@given(
    closes=st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True),
    results=st.lists(st.none() | st.integers(0, 120), min_size=4, max_size=4),
    labels=st.sampled_from(["public", "private"]),
)
def test_no_results_open_before_the_last_phase_closes(
    closes: list[int], results: list[int | None], labels: str
) -> None:
    def day(number: int) -> str:
        return date.fromordinal(date(2026, 1, 1).toordinal() + number).isoformat()

    ends = [2 * number + 1 for number in sorted(closes)]
    phases = [
        {"name": f"p{n}", "opens": day(end), "closes": day(end), "steps": {"dice": 0.01}}
        | ({} if opens is None else {"results_open": day(opens)})
        for n, (end, opens) in enumerate(zip(ends, results, strict=False))
    ]
    track = {"dataset": "phantom", "split_version": "v1", "labels": labels}
    document = {"phases": phases, "tracks": {"phantom": track}}
    early = any(opens is not None and opens <= ends[-1] for opens in results[: len(ends)])
    if early:
        with pytest.raises(ValidationError, match="results_open"):
            Challenge.model_validate(document)
    else:
        assert check_hidden(Challenge.model_validate(document), PRIVATE) is None


def test_no_results_open_at_all_while_a_phase_on_private_labels_never_closes() -> None:
    phase = {"name": "a", "steps": {"dice": 0.01}, "results_open": "2099-01-01"}
    track = {"dataset": "phantom", "split_version": "v1"}
    Challenge.model_validate({"phases": [phase], "tracks": {"phantom": track}})
    with pytest.raises(ValidationError, match="never closes"):
        Challenge.model_validate(
            {"phases": [phase], "tracks": {"phantom": track | {"labels": "private"}}}
        )


# --- publishing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "opens"),
    [
        ("2026-04-21", "2026-05-01", date(2026, 5, 1)),
        ("2026-05-01", "2026-04-21", date(2026, 5, 1)),
        (None, "2026-04-21", None),
        ("2026-04-21", None, None),
    ],
)
def test_no_private_result_is_published_before_all_phases_open_whatever_the_log_says(
    first: str | None, last: str | None, opens: date | None
) -> None:
    challenge = declare([HIDING | {"results_open": first}, FINAL | {"results_open": last}])
    report = make_report(labels="private")
    for day in (date(2026, 3, 1), date(2026, 4, 21), date(2026, 4, 30), date(2026, 5, 1)):
        if opens is not None and day >= opens:
            require_open([], challenge, day, reports=[report])
            continue
        with pytest.raises(BusbenchError) as caught:
            require_open([], challenge, day, reports=[make_report(), report])
        assert caught.value.code == "results-closed"


# --- every verb that leads to a ledger, a board or feedback --------------------------------------


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    """The small challenge with bundles of private labels in `private`."""
    small = SmallChallenge.make(tmp_path_factory.mktemp("private"))
    recipients = Recipients(small.keys.images.recipient, small.keys.labels.recipient)
    split = FrozenSplit.open(small.root / "splits" / "v1")
    store = CaseStore.open(small.root / "store")
    seal(store, split, recipients, out=small.root / "private", labels="private")
    make_submission(small.root / "submission")
    return small


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What `busbench` says as it refuses in the organiser's name."""
    shown = busbench_in(capsys, *words)
    said = " ".join((shown.out + shown.err).split())
    assert shown.status == 20, said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("phases", ["none", "no steps", "steps too fine"])
@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("verb", ["evaluate", "benchmark"])
def test_no_verb_with_a_ledger_runs_on_private_labels_that_nothing_hides(
    sealed: SmallChallenge,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    phases: str,
    declared: bool,
    verb: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    track = {"dataset": "phantom", "split_version": "v1", "labels": "private"}
    document = {"phases": OPEN[phases]} | ({"tracks": {"phantom": track}} if declared else {})
    Path("challenge.yaml").write_text(yaml.safe_dump(document))
    bundles, ledger = sealed.root / "private", tmp_path / "ledger.jsonl"
    words: tuple[object, ...] = ("evaluate", sealed.root / "submission", "--bundle", bundles)
    if verb == "benchmark":
        words = ("benchmark", "--networks", "unext", "--tracks", bundles)
    common = ("--keys", sealed.keys.path, "--ledger", ledger, "--runner", "process")
    said = run(capsys, *words, *common, "--out", tmp_path / "out")
    assert "challenge-invalid" in said and "private" in said
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    received = "ledger.jsonl.log.json"  # on which day it came: that stays, nothing is counted
    assert {path.name for path in left} <= {"challenge.yaml", "unext.yaml", "table.md", received}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["publish", "rank"])
def test_no_board_is_recorded_or_published_of_private_labels_that_nothing_hides(
    keys: Keys,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verb: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger, runs = tmp_path / "ledger.jsonl", tmp_path / "runs"
    runs.mkdir()
    append(ledger, sign(make_report(labels="private"), keys), keys)
    before = ledger.read_bytes()
    options = ("--cases", runs, "--keys", keys.path) if verb == "rank" else ("--out", "site")
    said = run(capsys, verb, ledger, *options)
    assert "challenge-invalid" in said and "private" in said
    assert ledger.read_bytes() == before and not Path("site").exists()


@pytest.mark.slow
def test_no_pull_request_is_taken_for_private_labels_that_nothing_hides(tmp_path: Path) -> None:
    forge = make_forge(tmp_path, None)
    work = forge.checkout("alice")
    hand_in(work)
    head, reference = forge.propose(work)
    repository = forge.machine.repository
    repository.fetch("origin", reference)
    changes = repository.changes(forge.base, head, since_they_parted=True)
    manifest = find_manifest(changes)
    for phases in OPEN.values():
        with pytest.raises(BusbenchError) as caught:
            read_proposal(repository, manifest, declare(phases))
        assert caught.value.code == "challenge-invalid"
    for phases in HIDDEN.values():
        assert read_proposal(repository, manifest, declare(phases)).team == "alpha"
