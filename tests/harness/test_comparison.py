"""Two submissions case by case: `busbench compare`, against a second implementation."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from evaluator.errors import BusbenchError, Code
from harness.evaluation.stage_output import CASES
from harness.ledger import verify_ledger
from harness.ranking.comparison import compare, difference
from harness.ranking.metrics import METRICS
from harness.sealing.keys import Keys
from tests.support.jobs import run
from tests.support.runs import Organiser


@pytest.fixture(scope="module")
def organiser(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Organiser:
    return Organiser(tmp_path_factory.mktemp("compared"), keys)


@pytest.fixture(scope="module", autouse=True)
def folders(organiser: Organiser) -> dict[str, Path]:
    skills = {"strong": 0.8, "weak": 0.6}
    return {method: organiser.submit(method, skill) for method, skill in skills.items()}


def test_no_number_differs_from_a_second_implementation(
    organiser: Organiser, folders: dict[str, Path]
) -> None:
    found = compare(verify_ledger(organiser.ledger), [organiser.runs], ("strong", "2"))
    sides = [by_case(folders[name]) for name in ("strong", "weak")]
    assert (found.cases, found.patients) == (16, 8)
    for one in found.differences:
        first, second = ({c: v[one.metric.key] for c, v in side.items()} for side in sides)
        apart = {case: first[case] - second[case] for case in first}
        sign = 1 if one.metric.higher_is_better else -1
        assert one.first == pytest.approx(fmean(first.values()))
        assert one.difference == pytest.approx(fmean(apart.values()))
        assert one.better == sum(sign * value > 0 for value in apart.values())
        assert (one.worse, one.equal) == (16 - one.better, 0)
        patients = defaultdict(list)
        for case, value in apart.items():
            patients[int(case[1:]) % 8].append(value)
        means = [fmean(values) for values in patients.values()]
        # with as many cases of every patient, the interval is the plain one of the patients' means
        plain = stats.t.interval(0.95, 7, fmean(means), stats.sem(means))
        assert one.interval == pytest.approx(plain)
        # Wilcoxon's statistic, without ties, is about normal: mean n(n+1)/4, var. n(n+1)(2n+1)/24
        above = sum(rank for rank, m in enumerate(sorted(means, key=abs), 1) if m > 0)
        z = abs(above - 8 * 9 / 4) / (8 * 9 * 17 / 24) ** 0.5
        assert one.p == pytest.approx(2 * stats.norm.sf(z))


def by_case(folder: Path) -> dict[str, dict[str, float]]:
    """The means of each case over the fold models, by hand."""
    cases = defaultdict(list)
    for row in pq.read_table(folder / CASES).to_pylist():
        cases[row["case_id"]].append(row)
    return {
        case: {metric.key: fmean(row[metric.key] for row in rows) for metric in METRICS}
        for case, rows in cases.items()
    }


def test_equal_results_never_differ() -> None:
    values = np.repeat(np.linspace(0.2, 0.9, 12)[:, None], 2, axis=1)
    found = difference(METRICS[0], values, [f"p{n}" for n in range(12)])
    assert (found.p, found.interval, found.equal) == (1.0, (0.0, 0.0), 12)


def test_no_interval_is_given_of_four_patients() -> None:
    values = np.random.default_rng(0).random((12, 2))
    assert difference(METRICS[0], values, [f"p{n % 4}" for n in range(12)]).interval is None


@pytest.mark.parametrize("names", [("strong", "strong"), ("strong", "nobody"), ("strong", "99")])
def test_no_name_is_taken_for_anything_but_one_other_result(
    organiser: Organiser, names: tuple[str, str]
) -> None:
    with pytest.raises(BusbenchError) as caught:
        compare(verify_ledger(organiser.ledger), [organiser.runs], names)
    assert caught.value.code == Code.USAGE


def test_results_of_two_tracks_are_never_compared(keys: Keys, tmp_path: Path) -> None:
    organiser = Organiser(tmp_path, keys)
    organiser.submit("here")
    organiser.submit("there", track="elsewhere")
    with pytest.raises(BusbenchError, match="do not share a table"):
        compare(verify_ledger(organiser.ledger), [organiser.runs], ("here", "there"))


def test_the_verb_prints_no_other_numbers_than_its_json(organiser: Organiser) -> None:
    asked = ("compare", organiser.ledger, "strong", "weak", "--cases", organiser.runs)
    shown, made = run(*asked), run(*asked, "--json")
    assert (shown.returncode, made.returncode) == (0, 0), shown.stderr + made.stderr
    document = json.loads(made.stdout)
    for metric in METRICS:
        one = document["metrics"][metric.key]
        for value in (one["first"], one["second"], one["difference"], *one["interval"]):
            assert metric.number(value) in shown.stdout
    assert document["first"] == {"entry": 1, "method": "strong"}
