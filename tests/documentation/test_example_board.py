"""The example board's commands are ones that the command line takes, in a possible order."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import typer
import yaml

from benchmarks.board.leak import difference, measure
from benchmarks.board.plan import HERE, Places, Plan, Step, read_plan, steps
from harness.challenge import load_challenge
from harness.cli.main import app
from reference_models.baseline_submission import KINDS
from reference_models.config import load_config
from reference_models.submission import DOCUMENT

PLAN = read_plan()
STEPS = [*steps(PLAN, Places(Path("/data"), Path("/splits")))]
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
    assert len(made) == len(PLAN.tracks)
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
    made: set[str] = {
        f"bench/{track}/{name}/submission" for track in PLAN.tracks for name in PLAN.networks
    }
    for step in STEPS:
        words = step.command
        if "evaluate" in words[:2]:
            assert words[2] in made
        if "--out" in words:
            made.add(words[words.index("--out") + 1])
    assert len(of_busbench("evaluate")) == 3 * 4 + 6  # four baselines and templates, and the matrix


def test_an_unknown_key_of_a_plan_is_refused() -> None:
    stated = yaml.safe_load((HERE / "plan.yaml").read_text("utf-8"))
    with pytest.raises(ValueError, match="network"):
        Plan.model_validate({**stated, "network": ["unext"]})


def test_a_leak_of_a_network_that_has_no_other_result_is_refused() -> None:
    stated = yaml.safe_load((HERE / "plan.yaml").read_text("utf-8"))
    with pytest.raises(ValueError, match="leak: its track and network"):
        Plan.model_validate({**stated, "leak": {"track": "busi", "network": "unet"}})


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
