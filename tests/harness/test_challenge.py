"""Tracks as challenge.yaml declares them: no verb takes anything else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluator.documents.base import read, write
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from harness.audit import audit
from harness.challenge import Challenge, Track, load_challenge
from harness.ledger import Retraction, append, sign, verify_ledger
from harness.sealing.keys import Keys
from harness.splits import freeze
from harness.store import CaseStore
from tests.support import ROOT
from tests.support.command_line import Busbench, Shown, busbench_in
from tests.support.factories import make_report
from tests.support.samples import SECRET
from tests.support.small_challenge import SmallChallenge, make_submission

pytestmark = pytest.mark.slow

PUBLIC = "--public-labels"
TRACK = {"dataset": "phantom", "split_version": "v1"}
# What a track may contradict: the field, what is declared, what the bundles of `small` say.
WRONG = [
    ("dataset", "busbra", "phantom"),
    ("split_version", "v2", "v1"),
    ("folds", 4, 5),
    ("labels", "private", "public"),
]


@pytest.fixture
def busbench(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Busbench:
    """The command line, in a folder of its own; what it says of errors on one line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Shown:
        shown = busbench_in(capsys, *words)
        return replace(shown, err=" ".join(shown.err.split()))

    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    """A challenge whose bundles are of track phantom, split v1, 5 folds, public labels."""
    challenge = SmallChallenge.make(tmp_path_factory.mktemp("declared"))
    make_submission(challenge.root / "submission")
    return challenge


def declare(folder: Path, **tracks: dict[str, Any]) -> Path:
    """A challenge.yaml with these tracks."""
    path = folder / "challenge.yaml"
    path.write_text(json.dumps({"schema": "busbench/challenge/v1", "tracks": tracks}))
    return path


def says(result: Shown, field: str, declared: object, stated: object) -> bool:
    """Whether the refusal is the organiser's and names field, both values and the declaration."""
    words = (field, str(declared), str(stated), "challenge.yaml")
    return result.status == 20 and all(word in result.err for word in words)


def words_of(verb: str, small: SmallChallenge, out: Path) -> tuple[object, ...]:
    """A verb on the bundles of `small`, which would go well."""
    bundles, keys = ("--bundle", small.root / "bundles"), ("--keys", small.root / "keys")
    process = ("--runner", "process", "--out", out)
    match verb:
        case "seal":
            split = ("--split", small.root / "splits" / "v1", PUBLIC)
            return ("seal", small.root / "store", *split, *keys, "--out", out)
        case "train":
            training = ("--bundle", small.root / "bundles" / "training")
            return ("train", "reference", *training, *process)
        case "validate":
            part = ("--part", "val", *bundles)
            return ("evaluate", small.root / "submission", *part, *process)
        case _:
            return ("evaluate", small.root / "submission", *bundles, *keys, *process)


# --- one track ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "field", "declared", "stated"),
    [
        (verb, *wrong)
        for verb in ("seal", "train", "validate", "evaluate")
        for wrong in WRONG
        if wrong[0] != "labels" or verb in ("seal", "evaluate")  # no training bundle tells of them
    ],
)
def test_no_verb_takes_what_the_track_does_not_declare(
    busbench: Busbench,
    small: SmallChallenge,
    tmp_path: Path,
    verb: str,
    field: str,
    declared: object,
    stated: object,
) -> None:
    declare(tmp_path, phantom=TRACK | {field: declared})
    out = tmp_path / "out"
    result = busbench(*words_of(verb, small, out))
    assert says(result, f"the {field} of track phantom", declared, stated)
    assert "challenge-invalid" in result.err
    assert not list(out.glob("**/*.*"))  # nothing was run, written or sealed


@pytest.mark.parametrize("verb", ["seal", "train", "validate", "evaluate"])
def test_no_verb_takes_an_undeclared_track(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path, verb: str
) -> None:
    declare(tmp_path, moon=TRACK, sun=TRACK)
    result = busbench(*words_of(verb, small, tmp_path / "out"))
    assert result.status == 20
    assert "declares no track phantom, but moon, sun" in result.err


@pytest.mark.parametrize("verb", ["seal", "evaluate"])
def test_a_declaration_that_agrees_or_none_at_all_lets_all_pass(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path, verb: str
) -> None:
    assert busbench(*words_of(verb, small, tmp_path / "free")).status == 0
    declare(tmp_path, phantom=TRACK)
    assert busbench(*words_of(verb, small, tmp_path / "bound")).status == 0


def test_what_is_finished_is_not_taken_either_once_the_declaration_is_another(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    words = words_of("evaluate", small, tmp_path / "runs")
    assert busbench(*words).status == 0
    declare(tmp_path, phantom=TRACK | {"split_version": "v2"})
    assert busbench(*words).status == 20
    assert busbench(*words, "--json").status == 20


def test_a_benchmark_on_another_track_than_declared_trains_nothing(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    declare(tmp_path, phantom=TRACK | {"folds": 4})
    words = ("--networks", "unext", "--tracks", small.root / "bundles", "--runner", "process")
    keys = ("--keys", small.root / "keys")
    result = busbench("benchmark", *words, *keys, "--out", tmp_path / "bench")
    assert says(result, "the folds of track phantom", 4, 5)
    assert not list((tmp_path / "bench").glob("phantom/**/*.onnx"))


def test_a_wrong_declaration_takes_no_quota(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    words = (*words_of("evaluate", small, tmp_path / "runs"), "--ledger", ledger)
    declared = {"tracks": {"phantom": TRACK | {"split_version": "v2"}}}
    phase = {"phases": [{"name": "once", "quota": 1}]}
    (tmp_path / "challenge.yaml").write_text(yaml.safe_dump(declared | phase))
    assert busbench(*words).status == 20
    (tmp_path / "challenge.yaml").write_text(yaml.safe_dump({"tracks": {"phantom": TRACK}} | phase))
    assert busbench(*words).status == 0


def test_seal_takes_the_labels_that_the_track_declares(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    declare(tmp_path, phantom=TRACK | {"labels": "private"})
    words = [word for word in words_of("seal", small, tmp_path / "out") if word != PUBLIC]
    sealed = json.loads(busbench(*words, "--json").out)["sealed"]
    assert sealed["labels"] == "private"


def test_a_second_seal_for_another_track_does_not_pass_for_done(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    words = words_of("seal", small, tmp_path / "out")
    assert busbench(*words, "--track", "one").status == 0
    assert busbench(*words, "--track", "one").status == 0
    other = busbench(*words, "--track", "two")
    assert other.status == 20 and "output-exists" in other.err


def test_a_name_that_no_track_can_have_is_a_usage_error(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    result = busbench(*words_of("seal", small, tmp_path / "out"), "--track", "No Name")
    assert result.status == 2 and "Traceback" not in result.err


# --- the board ---------------------------------------------------------------------------------


@pytest.fixture
def ledger(keys: Keys, tmp_path: Path) -> Path:
    """A ledger with one report: busbra, split v1, 5 folds, public labels."""
    path = tmp_path / "ledger.jsonl"
    append(path, sign(make_report(), keys), keys)
    return path


BUSBRA = {"dataset": "busbra", "split_version": "v1"}


def board_verbs(ledger: Path, keys: Keys) -> list[tuple[object, ...]]:
    """Every verb that makes a board or adds to one."""
    runs = ledger.parent / "runs"
    runs.mkdir(exist_ok=True)
    return [
        ("rank", ledger),
        ("rank", ledger, "--cases", runs, "--keys", keys.path),
        ("table", ledger),
        ("publish", ledger, "--out", ledger.parent / "site"),
    ]


@pytest.mark.parametrize(
    ("field", "declared", "stated"),
    [("dataset", "busi", "busbra"), *WRONG[1:]],
)
def test_no_board_is_made_of_results_on_another_track_than_declared(
    busbench: Busbench,
    ledger: Path,
    keys: Keys,
    tmp_path: Path,
    field: str,
    declared: object,
    stated: object,
) -> None:
    declare(tmp_path, busbra=BUSBRA | {field: declared})
    for words in board_verbs(ledger, keys):
        result = busbench(*words)
        assert says(result, f"the {field} of track busbra", declared, stated), words
        assert "Entry 1 of the ledger" in result.err
    assert not (tmp_path / "site").exists()


def test_a_result_of_another_metric_profile_is_on_no_board(
    busbench: Busbench, keys: Keys, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, sign(make_report(metric_profile="other"), keys), keys)
    declare(tmp_path, busbra=BUSBRA)
    assert says(busbench("rank", path), "the metric_profile of track busbra", "native", "other")


def test_an_undeclared_track_is_on_no_board_until_it_is_retracted(
    busbench: Busbench, ledger: Path, keys: Keys, tmp_path: Path
) -> None:
    undeclared = append(ledger, sign(make_report(track="moon"), keys), keys)
    declare(tmp_path, busbra=BUSBRA)
    for words in board_verbs(ledger, keys):
        result = busbench(*words)
        assert result.status == 20 and "declares no track moon, but busbra" in result.err
    append(ledger, Retraction(entry=undeclared.entry.digest, reason="A trial."), keys)
    assert busbench("publish", ledger, "--out", tmp_path / "site").status == 0


def test_a_model_for_all_folds_says_nothing_of_their_number(
    busbench: Busbench, keys: Keys, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, sign(make_report(folds=1), keys), keys)
    declare(tmp_path, busbra=BUSBRA | {"folds": 7})
    assert busbench("rank", path).status == 0


def test_the_title_of_a_track_heads_its_tables_as_text(
    busbench: Busbench, ledger: Path, tmp_path: Path
) -> None:
    declare(tmp_path, busbra=BUSBRA | {"title": "[red]<b>|BUS\u202e"})
    assert "[red]<b>|BUS (busbra), split v1" in busbench("rank", ledger).out
    assert r"\[red\]\<b\>\|BUS (busbra), split v1" in busbench("table", ledger).out
    html = busbench("table", ledger, "--format", "html").out
    assert "<caption><bdi>[red]&lt;b&gt;|BUS</bdi> (busbra), split v1" in html


# --- two tracks on one dataset -----------------------------------------------------------------


def test_two_splits_of_one_dataset_are_two_tracks_from_seal_to_site(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    store = CaseStore.open(small.root / "store")
    report = audit(store, near=False)
    freeze(store, report, tmp_path / "v2", version="v2", seed=7, secret=SECRET)
    splits = {"first": small.root / "splits" / "v1", "second": tmp_path / "v2"}
    declare(
        tmp_path,
        first=TRACK | {"title": "First split"},
        second=TRACK | {"split_version": "v2", "title": "Second split"},
    )
    keys, ledger = ("--keys", small.root / "keys"), tmp_path / "ledger.jsonl"
    for track, split in splits.items():
        sealed = ("seal", store.path, "--split", split, *keys, "--out", tmp_path / track)
        assert "declares no track phantom" in busbench(*sealed).err
        other = "second" if track == "first" else "first"
        assert busbench(*sealed, "--track", other).status == 20
        assert busbench(*sealed, "--track", track).status == 0
        folder = make_submission(tmp_path / f"{track}-submission")
        document = folder / "submission.yaml"
        made = read(Submission, document, Code.SUBMISSION_INVALID, remedy="")
        write(made.model_copy(update={"track": track}), document)
        words = ("--bundle", tmp_path / track, *keys, "--ledger", ledger, "--runner", "process")
        assert busbench("evaluate", folder, *words, "--out", tmp_path / "runs").status == 0
    board = json.loads(busbench("rank", ledger, "--cases", tmp_path / "runs", *keys, "--json").out)
    tracks = board["tracks"]
    assert [(one["track"], one["title"], one["split_version"]) for one in tracks] == [
        ("first", "First split", "v1"),
        ("second", "Second split", "v2"),
    ]
    assert {one["dataset"] for one in tracks} == {"phantom"}
    assert [len(one["rows"]) for one in tracks] == [1, 1]
    assert busbench("publish", ledger, "--out", tmp_path / "site").status == 0
    index = (tmp_path / "site" / "index.html").read_text()
    assert "First split" in index and "Second split" in index
    assert len(list((tmp_path / "site" / "tracks").iterdir())) == 2


def test_a_submission_to_one_track_is_not_evaluated_on_the_other_of_its_dataset(
    busbench: Busbench, small: SmallChallenge, tmp_path: Path
) -> None:
    sealed = ("seal", small.root / "store", "--split", small.root / "splits" / "v1")
    keys = ("--keys", small.root / "keys")
    declare(tmp_path, other=TRACK)
    assert busbench(*sealed, *keys, "--out", tmp_path / "other", "--track", "other").status == 0
    words = ("--bundle", tmp_path / "other", *keys, "--runner", "process", "--out", tmp_path / "r")
    result = busbench("evaluate", small.root / "submission", *words)
    assert result.status == 10 and "is for track phantom, not other" in result.err


# --- the declaration itself --------------------------------------------------------------------


def test_the_example_in_the_projects_own_declaration_is_valid() -> None:
    text = (ROOT / "challenge.yaml").read_text()
    example = re.sub(r"^# ((?:  )?[a-z0-9-]+:(?: .*)?)$", r"\1", text, flags=re.MULTILINE)
    found = Challenge.model_validate(yaml.safe_load(example))
    assert {"busbra", "busbra-v2", "busi", "fast"} == set(found.tracks)
    assert found.rules and found.contact and found.combined == ("busbra", "busi")
    assert not load_challenge(ROOT / "challenge.yaml").tracks  # whatever is tried in a checkout


@pytest.mark.parametrize(
    ("field", "text"),
    [("title", ""), ("organiser", "two\nlines"), ("rules", "\x1b[2J"), ("description", "x" * 4001)],
)
def test_words_that_steer_a_terminal_or_never_end_are_refused(
    tmp_path: Path, field: str, text: str
) -> None:
    path = tmp_path / "challenge.yaml"
    path.write_text(yaml.safe_dump({field: text}))
    with pytest.raises(BusbenchError, match=field):
        load_challenge(path)


def test_a_track_has_no_field_that_nothing_holds_it_to() -> None:
    """A new field is compared in `check_track` or a limit, or it would be decoration."""
    compared = {"dataset", "split_version", "folds", "metric_profile", "labels", "precision"}
    limits = {"efficiency", "max_dice_loss"}  # of `require_declared`
    kinds = {"accepts"}  # of `check_accepted`
    measured = {"probabilities", "reference"}  # of `asks_probabilities` and `reference_of`
    assert set(Track.model_fields) == compared | limits | kinds | measured | {"title"}


def test_a_report_on_the_board_is_of_the_ledger_alone_where_nothing_is_declared(
    ledger: Path, busbench: Busbench
) -> None:
    assert verify_ledger(ledger).reports
    track = json.loads(busbench("rank", ledger, "--json").out)["tracks"][0]
    assert track["title"] == track["track"] == "busbra"
