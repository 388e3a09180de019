"""A submission on another track's test set: twins are left out, and it never ranks there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from evaluator.documents.base import write
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from harness.audit import audit
from harness.challenge import Challenge, Generalisation, load_challenge
from harness.cli import app
from harness.cli.selection import without_external_data
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.home import home_of
from harness.evaluation.stage_output import CASES
from harness.execution import ExecutionEnvironment
from harness.ledger import verify_ledger
from harness.ledger.report import HomeTrack, Report
from harness.quotas import SubmissionLog
from harness.ranking import Board, to_csv, to_latex, to_markdown
from harness.ranking.across import blocks, transfers
from harness.ranking.assembly import rank
from harness.ranking.names import plain
from harness.ranking.tables import to_html
from harness.splits import freeze
from harness.store import CaseStore
from harness.submission import read_entry
from tests.support.factories import TIME, digest_of, make_report, recorded
from tests.support.samples import SECRET
from tests.support.small_challenge import make_submission
from tests.support.two_tracks import HOME, OTHER, TwoTracks

pytestmark = pytest.mark.usefixtures("forked_stages")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> TwoTracks:
    made = TwoTracks.make(tmp_path_factory.mktemp("two"))
    make_submission(made.root / "submission")
    return made


def home(two: TwoTracks, challenge: Challenge, splits: Path | None = None) -> HomeTrack:
    facts = read_entry(two.root / "submission")
    return home_of(facts, two.other.sealed, challenge, splits=[splits or two.splits])


def test_what_is_left_out_is_exactly_the_patients_with_a_twin_in_training(two: TwoTracks) -> None:
    found = home(two, two.settings)
    assert set(found.left_out) == two.twins() and found.left_out
    pairs = {pair.second for pair in two.audit.pairs}
    assert pairs - set(found.left_out)  # those of other parts stay
    assert set(found.left_out) - pairs  # a twin's patient goes with it
    assert (found.track, found.dataset, found.split_version) == (HOME, "phantom", "v1")


def test_the_order_of_the_stores_in_the_audit_changes_nothing(
    two: TwoTracks, tmp_path: Path
) -> None:
    document = two.audit.document()
    for pair in document["pairs"]:
        for end in ("", "_dataset"):
            names = f"first{end}", f"second{end}"
            pair.update(zip(names, [pair[name] for name in names[::-1]], strict=True))
    (tmp_path / "turned.json").write_text(json.dumps(document))
    turned = Generalisation(twins=(tmp_path / "turned.json",))
    challenge = two.settings.model_copy(update={"generalisation": turned})
    assert home(two, challenge).left_out == home(two, two.settings).left_out


def _without(two: TwoTracks, folder: Path, **changes: object) -> Challenge:
    path = folder / "audit.json"
    write(two.audit.model_copy(update=changes), path)
    return two.settings.model_copy(update={"generalisation": Generalisation(twins=(path,))})


REFUSED: dict[str, tuple[Callable[[TwoTracks, Path], Challenge], str]] = {
    "nothing is offered": (
        lambda two, _: two.settings.model_copy(update={"generalisation": None}),
        "offers no evaluation on other tracks",
    ),
    "an undeclared track": (
        lambda two, _: two.settings.model_copy(
            update={"tracks": {OTHER: two.settings.tracks[OTHER]}}
        ),
        "declares no track phantom",
    ),
    "an audit of other stores": (
        lambda two, folder: _without(two, folder, datasets=two.audit.datasets[:1]),
        "names no cross-audit of the stores of phantom and bus-uc",
    ),
    "an audit of equal pixels alone": (
        lambda two, folder: _without(two, folder, near=False),
        "made with --no-near",
    ),
    "no audit at all": (
        lambda two, folder: two.settings.model_copy(
            update={"generalisation": Generalisation(twins=(folder / "none.json",))}
        ),
        "none.json",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_tested_where_the_twins_are_not_known(
    two: TwoTracks, tmp_path: Path, case: str
) -> None:
    made, words = REFUSED[case]
    with pytest.raises(BusbenchError, match=words) as caught:
        home(two, made(two, tmp_path))
    assert caught.value.code == Code.CHALLENGE_INVALID


def test_no_split_of_another_digest_and_no_own_track_is_taken(two: TwoTracks) -> None:
    with pytest.raises(BusbenchError, match="no frozen split bus-uc v1") as caught:
        home(two, two.settings, two.splits / "v1")
    assert caught.value.code == Code.SPLIT_INVALID
    facts = read_entry(two.root / "submission")
    with pytest.raises(BusbenchError, match="the submission's own track"):
        home_of(facts, two.home.bundles.sealed, two.settings, splits=[two.splits])


def test_no_one_of_two_splits_of_a_name_is_taken_in_silence(two: TwoTracks, tmp_path: Path) -> None:
    store = CaseStore.open(two.root / "store")
    shutil.copytree(two.splits, tmp_path / "splits")
    shutil.copytree(two.splits / "v1", tmp_path / "splits" / "copy")  # the same one twice is one
    assert home(two, two.settings, tmp_path / "splits") == home(two, two.settings)
    other = tmp_path / "splits" / "drawn-otherwise"
    freeze(store, audit(store, near=False), other, version="v1", secret=SECRET, seed=8)
    with pytest.raises(BusbenchError, match="are both called phantom v1, and differ") as caught:
        home(two, two.settings, tmp_path / "splits")
    assert caught.value.code == Code.SPLIT_INVALID


def test_an_ordinary_run_has_the_name_that_it_had(two: TwoTracks, tmp_path: Path) -> None:
    """The home track enters a run's name only where there is one: finished runs are found again."""
    job = two.home.job(two.root / "submission", tmp_path)
    away = two.job(two.root / "submission", tmp_path)
    assert "home" not in job.tested_on() and away.tested_on()["home"]
    assert job.handed_in is job.facts
    trained = two.home.bundles.sealed.split_digest  # of an attestation that it was trained here
    assert job.trained_on == away.trained_on == trained != two.other.sealed.split_digest
    assert (away.handed_in.track, away.handed_in.digest) == (OTHER, away.facts.digest)


def test_folds_are_those_of_the_submissions_own_track(two: TwoTracks, tmp_path: Path) -> None:
    facts = read_entry(make_submission(tmp_path / "folds"))
    assert isinstance(facts, Submission)
    one = facts.models[0]
    (tmp_path / "folds" / "b.onnx").write_bytes((tmp_path / "folds" / one.file).read_bytes() + b"")
    models = (
        one.model_copy(update={"fold": 0}),
        one.model_copy(
            update={
                "fold": 1,
                "file": "b.onnx",
                "sha256": sha256_bytes((tmp_path / "folds" / "b.onnx").read_bytes()),
            }
        ),
    )
    write(facts.model_copy(update={"models": models}), tmp_path / "folds" / "submission.yaml")
    own = two.settings.tracks[HOME].model_copy(update={"folds": 2})
    declared = two.settings.model_copy(update={"tracks": {**two.settings.tracks, HOME: own}})
    assert two.job(tmp_path / "folds", tmp_path, declared).folds == 2
    with pytest.raises(BusbenchError, match="fold 2 or 3 or 4"):  # five, as declared before
        two.job(tmp_path / "folds", tmp_path)


def test_a_precision_that_was_measured_elsewhere_is_refused(two: TwoTracks, tmp_path: Path) -> None:
    from harness.evaluation.settings import EvaluateSettings  # noqa: PLC0415

    with pytest.raises(BusbenchError, match="--on takes tracks in fp32 alone"):
        EvaluateSubmission.of(
            two.root / "submission",
            two.other,
            tmp_path,
            environment=ExecutionEnvironment("process", two.settings, two.home.keys.path),
            settings=EvaluateSettings(device="cuda", precision="fp16"),
            splits=[two.splits],
        )


def test_the_list_of_twins_is_looked_for_beside_challenge_yaml(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "challenge.yaml"
    path.parent.mkdir()
    path.write_text("generalisation: {twins: [audits/both.json, /srv/third.json]}\n")
    found = load_challenge(path).generalisation
    assert found is not None
    assert found.twins == (path.parent / "audits/both.json", Path("/srv/third.json"))


# --- the whole way -------------------------------------------------------------------------------


def busbench(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.mark.slow
def test_the_whole_way_leaves_twins_out_and_anyone_can_redo_it(
    two: TwoTracks, tmp_path: Path
) -> None:
    phases = [{"name": "open-1", "quota": 1}]
    declared = {**two.settings.document(), "phases": phases}
    declared["generalisation"] = {"twins": [str(two.root / "cross-audit.json")]}
    (tmp_path / "challenge.yaml").write_text(yaml.safe_dump(declared))
    challenge = ("--challenge", tmp_path / "challenge.yaml", "--runner", "process")
    ledger, runs = tmp_path / "ledger.jsonl", tmp_path / "runs"
    command = [
        *("evaluate", two.root / "submission", "--bundle", two.other.path, "--out", runs),
        *("--keys", two.home.keys.path, *challenge),
    ]
    refused = busbench(*command)
    assert refused.exit_code == 10 and "is for track phantom" in refused.output
    away = [*command, "--ledger", ledger, "--on", OTHER, "--splits", two.splits]
    wrong = busbench(*command, "--on", "elsewhere", "--splits", two.splits)
    assert "not of elsewhere" in str(wrong.exception)
    done = busbench(*away)
    assert done.exit_code == 0, done.output
    assert busbench(*away).exit_code == 0  # the same again, recorded once
    (entry,) = verify_ledger(ledger).reports
    report, twins = entry.report, two.twins()
    assert (report.track, report.home and report.home.track) == (OTHER, HOME)
    assert report.home is not None and set(report.home.left_out) == twins
    assert report.status == "complete"
    (run,) = runs.glob("*/score")
    cases = pd.read_parquet(run.parent / CASES)
    assert twins.isdisjoint(cases["case_id"])
    assert len(cases) == two.other.sealed.cases - len(twins) == report.scores.groups["all"].cases

    # it took the quota of the track that it was tested on
    (own,) = SubmissionLog.beside(ledger).submissions
    assert (own.track, own.counts) == (OTHER, True)
    second = make_submission(tmp_path / "second", bias=-1.0)
    again = busbench(*[second if word == two.root / "submission" else word for word in away])
    assert again.exit_code != 0 and "has used its 1 submissions" in again.output

    rescored = busbench(
        *("verify", ledger, "--rescore", runs, "--bundle", two.other.path),
        *("--keys", two.home.keys.path, *challenge),
    )
    assert rescored.exit_code == 0, rescored.output
    anew = busbench(
        *("rescore", ledger, "--runs", runs, "--bundle", two.other.path, "--dry-run", "--json"),
        *("--keys", two.home.keys.path, *challenge),
    )
    assert anew.exit_code == 0 and len(verify_ledger(ledger).reports) == 1, anew.output
    (scored,) = runs.glob("*/rescored/*/score/scores.json")
    before, after = (json.loads(p.read_bytes()) for p in (run / "scores.json", scored))
    assert before["groups"] == after["groups"]
    options = ["--submission", two.root / "submission", "--split", two.splits / "other"]
    redone = busbench("reproduce", ledger, 1, *options, "--store", two.root / "other", *challenge)
    assert redone.exit_code == 0, redone.output
    shown = busbench("rank", ledger, *challenge[:2])
    assert "Generalisation: Dice" in shown.output and f"{len(twins)} left out" in shown.output


# --- the board -----------------------------------------------------------------------------------


def away(report: Report, trained_on: str, left_out: tuple[str, ...] = ("a", "b")) -> Report:
    return report.model_copy(
        update={
            "home": HomeTrack(
                track=trained_on,
                dataset=trained_on,
                split_version="v1",
                split_digest=digest_of(f"{trained_on}/v1"),
                twins_sha256=digest_of("twins"),
                left_out=left_out,
            )
        }
    )


def board(*reports: Report) -> Board:
    return Board(
        ledger_key=digest_of("key"),
        ledger_head=digest_of("head"),
        ledger_updated=TIME,
        ledger_reports=len(reports),
        tracks=rank(recorded(reports)),
    )


REPORTS = [
    make_report(method="a", dice=0.90),
    make_report(method="b", dice=0.70),
    make_report(method="a", dice=0.80, track="busi", dataset="busi"),
    away(make_report(method="a", dice=0.99, track="busi", dataset="busi"), "busbra"),
    away(make_report(method="a", dice=0.60), "busi", ()),
    away(make_report(method="only here", dice=0.5, track="bus-uc", dataset="bus-uc"), "busi"),
]


def test_a_visitor_never_ranks_however_good_and_never_supersedes() -> None:
    tracks = {track.track: track for track in board(*REPORTS).tracks}
    assert [(row.method, row.rank) for row in tracks["busi"].rows] == [("a", 1)]
    (visitor,) = tracks["busi"].visitors
    assert (visitor.rank, visitor.trained_on, visitor.left_out) == (None, "busbra", 2)
    assert [(row.method, row.rank) for row in tracks["busbra"].rows] == [("a", 1), ("b", 2)]
    assert (tracks["bus-uc"].rows, len(tracks["bus-uc"].visitors)) == ((), 1)


def test_the_matrix_has_every_training_and_test_set_once() -> None:
    found = {
        (one.method, one.trained_on): {
            track: row.groups["all"].metrics["dice"].mean for track, row in one.tested.items()
        }
        for one in transfers(board(*REPORTS))
    }
    assert found == {
        ("a", "busbra"): {"busbra": 0.9, "busi": 0.99},
        ("a", "busi"): {"busi": 0.8, "busbra": 0.6},
        ("only here", "busi"): {"bus-uc": 0.5},
    }
    dice, hd95 = blocks(board(*REPORTS), plain)
    head, first, second, third = dice.cells
    assert head[2:] == ["Trained on", "Tested on bus-uc", "Tested on busbra", "Tested on busi"]
    assert first[3:] == ["–", "0.900 ± 0.010 (40)", "0.990 ± 0.010 (40, 2 left out)"]
    assert second[3:] == ["–", "0.600 ± 0.010 (40)", "0.800 ± 0.010 (40)"]
    assert third[3:5] == ["0.500 ± 0.010 (40, 2 left out)", "–"]
    assert "HD95" in hd95.caption and hd95.cells[0][-1] == "Tested on busi [px]"


def test_an_incomplete_result_in_the_matrix_says_so() -> None:
    partial = make_report(method="a", track="busi", dataset="busi", status="incomplete")
    dice, _ = blocks(board(REPORTS[0], away(partial, "busbra")), plain)
    assert dice.cells[1][-1].endswith("(40, 2 left out, incomplete)")


def test_no_table_across_tracks_where_nothing_was_tested_elsewhere() -> None:
    assert blocks(board(*REPORTS[:3]), plain) == []


@pytest.mark.parametrize("write_table", [to_markdown, to_latex, to_html])
def test_no_format_lacks_the_matrix_or_lets_a_name_steer_it(
    write_table: Callable[[Board], str],
) -> None:
    hostile = away(make_report(method="<b>|&_", track="busi", dataset="busi"), "busbra")
    text = write_table(board(*REPORTS, hostile))
    assert "Generalisation: Dice" in text and "2 left out" in text
    assert "<b>|&_" not in text


def test_no_visitor_passes_for_trained_without_external_data() -> None:
    notes = {"external_data": "none"}
    stated = away(make_report(method="c", notes=notes), "busi")
    (track,) = without_external_data(board(*REPORTS, stated)).tracks
    assert (track.track, track.rows) == ("busbra", ())
    assert [row.method for row in track.visitors] == ["c"]


def test_the_csv_says_where_a_visitor_was_trained() -> None:
    lines = [line for line in to_csv(board(*REPORTS)).splitlines() if ",busbra," in line]
    assert sum(",busbra,2," in line for line in lines) == 1


def test_a_report_is_never_at_home_on_its_own_track() -> None:
    document = away(make_report(), "busi").document()
    document["home"]["track"] = document["track"]
    with pytest.raises(ValueError, match="home: it is the track of the report"):
        Report.model_validate(document)


def test_an_ordinary_report_has_the_bytes_that_it_had() -> None:
    assert "home" not in make_report().document()
