"""The example board: commands that the command line takes, in a possible order, and its page."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import typer
import yaml

from benchmarks.board.keep import KEPT, SPLITS, curves, keep
from benchmarks.board.leak import difference, measure
from benchmarks.board.page import Notes, learned, read_notes, results_page
from benchmarks.board.plan import HERE, LEAK, SINGLE, Plan, read_plan
from benchmarks.board.steps import Places, Step, steps
from benchmarks.leak_study import certificate_rows
from evaluator.documents.base import read, write
from evaluator.errors import Code
from evaluator.files import write_atomically
from evaluator.scoring.intervals import MIN_PATIENTS
from harness.audit.certificate import LeakCertificate
from harness.challenge import load_challenge
from harness.cli.main import app
from harness.ledger import verify_ledger
from harness.ranking import make_board
from harness.ranking.runs import read_table, run_folders
from harness.sealing.keys import Keys, read_public_key
from reference_models.baseline_submission import KINDS
from reference_models.config import load_config
from reference_models.submission import DOCUMENT
from tests.support import ROOT
from tests.support.runs import Organiser

DOCS = ROOT / "docs"

PLAN = read_plan()
GIVEN = {
    ("busbra", "unext"): Path("/trained/busbra/unext/given"),
    (LEAK, "unext"): Path("/trained/leak/unext/given"),
    (SINGLE, "ukan_s"): Path("/trained/single/ukan_s"),
}
STEPS = [*steps(PLAN, Places(Path("/data"), Path("/splits"), given=GIVEN, docs="/docs"))]
AVERAGED = sum(len(one.tracks) * len(one.averaged) for one in PLAN.networks.values())
READ = (
    *("--raw", "--split", "--splits", "--keys", "--key", "--bundle", "--challenge", "--store"),
    *("--cases", "--trained", "--rescore", "--published"),
)


def of_busbench(verb: str) -> list[Step]:
    return [step for step in STEPS if step.command[:2] == ("busbench", verb)]


def test_no_command_has_an_unknown_verb_or_option() -> None:
    root = typer.main.get_command(app)
    for step in STEPS:
        program, *words = step.command
        if program != "busbench":
            continue
        command = root
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        known = {name for each in command.params for name in each.opts}
        stated = {word.split("=")[0] for word in words if word.startswith("--")}
        assert stated <= known, (words, stated - known)


def after(step: Step, options: Iterable[str]) -> set[Path]:
    """The paths that a step names with one of the options."""
    return {Path(value) for option, value in pairwise(step.command) if option in options}


def test_no_file_or_folder_is_read_before_it_is_made() -> None:
    made: set[Path] = {Path("/data"), Path("/splits")}
    for step in STEPS:
        for path in after(step, READ):
            if HERE in path.parents:
                assert path.exists(), step
            else:
                assert not made.isdisjoint([path, *path.parents]), (step, path)
        made |= after(step, ("--out", "--ledger"))
        made |= {Path(step.made)} if step.made is not None else set()


def test_each_bundle_is_one_that_a_seal_made() -> None:
    sealed = {path for step in of_busbench("seal") for path in after(step, ["--out"])}
    for step in [*of_busbench("evaluate"), *of_busbench("verify")]:
        named = after(step, ["--bundle"])
        assert named and named <= sealed, step


def test_no_submission_without_its_document_is_taken_for_whole() -> None:
    made = [step for step in STEPS if step.command[:3] == ("python", "-m", "reference_models")]
    assert len(made) == len(PLAN.tracks) + AVERAGED
    for step in made:
        assert step.made == f"{step.command[step.command.index('--out') + 1]}/{DOCUMENT}"


def test_no_recipe_is_missing_or_refused() -> None:
    for name in PLAN.networks:
        assert load_config(str(HERE / "recipes" / f"{name}.yaml")).network


def test_no_baseline_is_unknown() -> None:
    assert {*PLAN.baselines} <= KINDS.keys()


def test_no_track_of_the_plan_is_undeclared() -> None:
    challenge = load_challenge(HERE / "challenge.yaml")
    assert challenge.tracks.keys() == PLAN.tracks.keys()


def test_nothing_is_evaluated_before_it_is_made() -> None:
    evaluated = 0
    made: set[str] = {
        f"bench/{track}/{name}/submission"
        for name, network in PLAN.networks.items()
        for track in network.tracks
    }
    for step in STEPS:
        words = step.command
        if "evaluate" in words[:2]:
            asked = words[2 : words.index("--bundle")]
            assert asked and made.issuperset(asked)
            evaluated += len(asked)
        if "combine" in words[:4]:
            assert words[4] in made
        if words[0] == "mv":
            made.add(words[2])
        if "--out" in words:
            made.add(words[words.index("--out") + 1])
    others = len(PLAN.tracks) * (len(PLAN.baselines) + 1) + 1  # a memoriser each, a single model
    networks, templates = (
        sum(len(one.tracks) for one in which.values()) for which in (PLAN.networks, PLAN.templates)
    )
    away = (networks + templates) * (len(PLAN.tracks) - 1)
    assert evaluated == others + templates + AVERAGED + away


def test_an_unknown_key_of_a_plan_is_refused() -> None:
    stated = yaml.safe_load((HERE / "plan.yaml").read_text("utf-8"))
    with pytest.raises(ValueError, match="network"):
        Plan.model_validate({**stated, "network": {}})


def test_a_leak_of_a_network_that_has_no_other_result_is_refused() -> None:
    stated = yaml.safe_load((HERE / "plan.yaml").read_text("utf-8"))
    for leak in (
        {"track": "busi", "networks": ["unext_320"]},
        {"track": "x", "networks": ["unext"]},
    ):
        with pytest.raises(ValueError, match="leak: its networks must be trained"):
            Plan.model_validate({**stated, "leak": leak})


def test_no_template_is_trained_elsewhere_or_otherwise_than_planned() -> None:
    """On each of its tracks once, by its own image, with its options after the usual ones."""
    begun = {
        (step.command[2].rpartition("-")[2], step.command[step.command.index("--bundle") + 1]): (
            step.command[step.command.index("--command") + 1]
        )
        for step in of_busbench("train")
        if step.command[2] != "reference"
    }
    assert begun == {
        (name, f"bundles/{track}/training"): " ".join(
            ["run --bundle {bundle} --out {out}", *one.options.split()]
        )
        for name, one in PLAN.templates.items()
        for track in one.tracks
    }


@pytest.mark.parametrize("part", ["networks", "templates", "published", "single"])
def test_a_track_that_is_none_is_refused(part: str) -> None:
    stated = yaml.safe_load((HERE / "plan.yaml").read_text("utf-8"))
    value = {
        "networks": {"unext": {"tracks": ["other"]}},
        "templates": {"sklearn": {"tracks": ["other"]}},
        "published": {"other": ["a.csv"]},
        "single": {"unext": "other"},
    }[part]
    with pytest.raises(ValueError, match="other is no track"):
        Plan.model_validate({**stated, "leak": None, part: value})


def test_half_a_copy_is_never_taken_for_what_was_trained_elsewhere() -> None:
    """The folder has its name only when all of it is there, before anything is trained."""
    words = [step.command for step in STEPS]
    for place, source in (
        ("bench/busbra/unext", GIVEN["busbra", "unext"]),
        ("leak/bench/bus-uclm/unext", GIVEN[LEAK, "unext"]),
    ):
        copied = words.index(("cp", "-r", f"{source}/.", f"{place}/.given"))
        assert words[copied + 1] == ("mv", f"{place}/.given", f"{place}/given")
        assert {step.made for step in STEPS[copied - 1 : copied + 2]} == {f"{place}/given"}
        assert copied < min(
            n for n, one in enumerate(words) if one[:2] == ("busbench", "benchmark")
        )


def test_nothing_that_the_plan_has_not_is_trained_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "busi" / "unknown" / "given").mkdir(parents=True)
    words = ("--data", "/data", "--out", tmp_path / "out", "--trained", tmp_path, "--print")
    command = [sys.executable, "-m", "benchmarks.board", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "busi/unknown is not in the plan" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_case_that_ranks_is_lost_in_what_is_kept(tmp_path: Path) -> None:
    board = Organiser(tmp_path / "board", Keys.new(tmp_path / "board" / "keys"), windows=2)
    for skill in (0.3, 0.6):
        board.submit(f"method {skill}", skill)
    (board.root / "bench").mkdir()
    board.runs.rename(board.root / "bench" / "runs")
    for name in ("challenge.yaml", "audits/cross-audit.json"):
        write_atomically(board.root / name, b"{}")
    keep(board.root, tmp_path / "kept")
    reports = verify_ledger(tmp_path / "kept" / "ledger.jsonl").reports
    before, after = (
        read_table(reports, run_folders([runs]))
        for runs in (board.root / "bench" / "runs", tmp_path / "kept" / "runs")
    )
    assert (before.entries, before.patients) == (after.entries, after.patients)
    assert before.gaps.keys() == after.gaps.keys() and len(after.gaps) == 2
    for name, values in before.values.items():
        np.testing.assert_array_equal(values, after.values[name])
    kept = {path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert not [name for name in kept if name.endswith((".key", ".png", ".bits"))]


def test_no_kind_of_leak_gets_the_number_of_another(tmp_path: Path) -> None:
    """A document's keys come in another order from its file than from the audit."""
    counts = {"same-patient": 7, "identical": 5, "near-duplicate": 3}
    verdict = {"test": 9, "leaking": 8, "share": 0.9, "by_kind": counts, "groups": 1, "both": []}
    numbers = dict.fromkeys(("cases", "excluded", "named", "unmatched", "by_name_alone"), 0)
    found = LeakCertificate.model_validate(
        numbers
        | {"dataset": "busi", "store_digest": "0" * 64, "split": "x", "read_as": "table"}
        | {"split_digest": "0" * 64, "renamed": 0, "near": True, "without_patient": 4}
        | {"leaks": True, "verdicts": {"test": verdict | {"cases": [], "pairs": []}}}
    )
    write(found, tmp_path / "certificate.json")
    again = read(LeakCertificate, tmp_path / "certificate.json", Code.STORE_INVALID, remedy="")
    expected = ("busi", "x", "test", 9, "8 (88.9%)", 7, 5, 3, 4)
    assert [*certificate_rows("x", found)] == [*certificate_rows("x", again)] == [expected]
    assert [*dict(zip(SPLITS, expected, strict=True))][5:8] == ["patient", *[*counts][1:]]


def test_no_curve_is_lost_whether_it_was_given_or_came_of_a_training_here(tmp_path: Path) -> None:
    cell = tmp_path / "busbra" / "unext"
    rows = [{"epoch": 1, "step": 40, "dice": 0.5}, {"epoch": 2, "step": 80, "dice": 0.75}]
    line = "fold 1 epoch {}, step {}: loss 0.5000, validation loss 0.4000, Dice {:.4f}; 9 s"
    log = "\n".join(line.format(*row.values()) for row in rows)
    write_atomically(cell / "given" / "work" / "fold-0.csv", pd.DataFrame(rows).to_csv().encode())
    write_atomically(cell / "fold-0/submission.train.log", b"already contains what was requested")
    write_atomically(cell / "fold-1/submission.train.log", log.encode())
    assert [*curves(tmp_path)] == [
        ("busbra", "unext", fold, epoch, dice)
        for fold in (0, 1)
        for epoch, dice in ((1, "0.5000"), (2, "0.7500"))
    ]


def test_no_rise_of_a_curve_counts_that_came_before_its_last_quarter() -> None:
    """Nor one that is none: a later validation below the best takes nothing away."""
    folds = {0: [0.1, 0.5, 0.6, 0.64], 1: [0.2, 0.8, 0.7, 0.75], 2: [0.4]}
    rows = [{"fold": fold, "dice": dice} for fold, its in folds.items() for dice in its]
    assert learned(pd.DataFrame(rows)) == ("0.6133 ± 0.2013", "+ 0.013")


@pytest.mark.parametrize("network", ["unext", "nnunet"])
def test_no_validation_is_noted_that_a_curve_has_nor_left_out_where_none_is(
    network: str,
) -> None:
    notes = read_notes().model_dump()
    for training in notes["trainings"]:
        if training["network"] == network:
            training["validation"] = None if network == "nnunet" else "0.9"
    with pytest.raises(ValueError, match=f"{network} on .*: a curve or a validation"):
        results_page(DOCS / KEPT, PLAN, Notes.model_validate(notes))


def test_the_page_of_results_never_differs_from_what_is_kept() -> None:
    assert (DOCS / "results.md").read_text("utf-8") == results_page(DOCS / KEPT, PLAN, read_notes())


def test_the_ledger_that_is_kept_is_signed_by_the_key_beside_it() -> None:
    key = read_public_key(DOCS / KEPT / "report.pub")
    found = verify_ledger(DOCS / KEPT / "ledger.jsonl", key, anew=True)
    assert {one.report.track for one in found.reports} == {*PLAN.tracks}


@pytest.mark.slow
def test_no_ranking_is_asked_for_that_too_few_patients_cannot_have(tmp_path: Path) -> None:
    kept = shutil.copytree(DOCS / KEPT, tmp_path / "board")
    words = ("publish", "ledger.jsonl", "--out", "site")
    command = [sys.executable, "-m", "harness", *words]
    done = subprocess.run(command, cwd=kept, capture_output=True, text=True, check=True)
    assert "has no ranking" not in done.stderr and (kept / "site" / "index.html").exists()


def test_no_ranking_that_is_kept_contradicts_its_cases() -> None:
    found = verify_ledger(DOCS / KEPT / "ledger.jsonl")
    board = make_board(found, load_challenge(DOCS / KEPT / "challenge.yaml"))
    folders = run_folders([DOCS / KEPT / "runs"])
    by_digest = {one.digest: one for one in found.reports}
    for track in board.tracks:
        few = track.rows[0].groups["all"].patients < MIN_PATIENTS
        assert (track.statistics is None) == few
        read_table([by_digest[row.entry_digest] for row in track.ranked], folders)


def test_no_interval_of_a_leak_differs_from_welchs() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.uniform(0.2, 0.9, size) for size in (12, 31)]
    found = []
    for dice in samples:  # two folds of one case a patient, so that SciPy's test is the same
        folds = [
            {"patient_group": n, "case_id": f"c{n}", "dice": value + shift}
            for n, value in enumerate(dice)
            for shift in (-0.1, 0.1)
        ]
        found.append(measure(pd.DataFrame(folds)))
    assert [(each.cases, each.patients) for each in found] == [(12, 12), (31, 31)]
    expected = scipy.stats.ttest_ind(*samples, equal_var=False).confidence_interval(0.95)
    apart, low, high = difference(*found)
    assert apart == pytest.approx(samples[0].mean() - samples[1].mean())
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_no_patient_of_many_cases_counts_as_many_patients() -> None:
    alone = pd.DataFrame({"patient_group": [0, 1, 2], "case_id": [*"abc"], "dice": [0.2, 0.5, 0.9]})
    copies = [alone.assign(case_id=alone["case_id"] + str(number)) for number in range(4)]
    one, many = measure(alone), measure(pd.concat(copies))
    assert (many.cases, many.patients) == (12, 3)
    assert many.interval == pytest.approx(one.interval) and many.mean == pytest.approx(one.mean)


def test_a_plan_of_ones_own_takes_nothing_from_the_packaged_one(tmp_path: Path) -> None:
    """Neither its recipes and its challenge nor, on the page, what was noted by hand."""
    own = tmp_path / "plan.yaml"
    places = Places(Path("/data"), Path("/splits"), docs="/docs", plan=own)
    read_from = {
        word.split("=")[-1]
        for step in steps(PLAN, places)
        for word in step.command
        if word.endswith((".yaml", ".yml"))
    }
    taken = {Path(word) for word in read_from if Path(word).is_relative_to(HERE)}
    assert taken == {HERE / "leak.yaml"}  # which declares no track
    page = results_page(DOCS / KEPT, PLAN, read_notes(own))
    notes = yaml.safe_load((HERE / "notes.yaml").read_text("utf-8"))
    assert notes["made"] not in page
    assert "## Goals" not in page
    assert not any(look["what"] in page for look in notes["looks"])
