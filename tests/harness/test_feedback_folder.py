"""The folder that a team gets: nothing in it tells of the secret transforms, whatever the phase."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from evaluator.documents.scores import Consistency
from harness.challenge import Phase
from harness.evaluation.stage_output import CASES
from harness.execution import run_job
from harness.quotas.recording import COLUMNS, Accepted, LedgerRecorder
from tests.support.small_challenge import Evaluated

DAY, LATER = date(2026, 3, 1), date(2026, 4, 1)
GROUPS = ("all", "lesion", "benign", "malignant", "normal")
PHASES = {
    "no phases": (),
    "all shown": (Phase(name="p"),),
    "coarse": (Phase(name="p", steps={"dice": 0.1}),),
    "fine, of all groups": (
        Phase(name="p", steps={"dice": 0.001, "iou": 0.001, "hd95": 0.1}, groups=GROUPS),
    ),
    "without a ladder": (Phase(name="p", steps={"dice": 0.001}, ladder=False, groups=GROUPS),),
    "nothing shown": (Phase(name="p", steps={}, groups=GROUPS),),
    "results open": (Phase(name="p", steps={"dice": 0.1}, closes=DAY, results_open=LATER),),
}
TELLING = ("transform", "gap", "consist", "seed", "mirror", "window")


def hand_in(evaluated: Evaluated, place: Path, phases: tuple[Phase, ...], day: date) -> Accepted:
    """Record the one evaluation that is done, on `day`, from runs and a ledger of its own."""
    runs = place / "runs"
    if not runs.exists():
        shutil.copytree(evaluated.runs, runs)
    settings = evaluated.challenge.settings.model_copy(update={"phases": phases})
    job = evaluated.challenge.job(evaluated.challenge.root / "submission", runs)
    keys = evaluated.challenge.keys
    recorder = LedgerRecorder(keys, place / f"{day}.jsonl", settings, day=day)
    run_job(job, recorder=recorder)
    return recorder.accepted[job.key]


def names(value: Any) -> Iterator[str]:
    """Every name of a field in a JSON document."""
    for name, part in value.items() if isinstance(value, dict) else ():
        yield name
        yield from names(part)


def numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON document."""
    parts = value.values() if isinstance(value, dict) else value
    for part in parts if isinstance(parts, list | tuple | type({}.values())) else ():
        yield from numbers(part)
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.mark.parametrize("phases", PHASES)
def test_no_file_for_a_team_tells_of_the_transforms(
    evaluated: Evaluated, tmp_path: Path, phases: str
) -> None:
    accepted = hand_in(evaluated, tmp_path, PHASES[phases], DAY)
    if phases == "results open":  # the same command again, once they are
        phase = (PHASES[phases][0].model_copy(update={"closes": None}),)
        accepted = hand_in(evaluated, tmp_path, phase, LATER)
    whole = pq.read_table(accepted.evaluation.folder / CASES).to_pydict()
    secret = {name: values for name, values in whole.items() if name.startswith("transformed_")}
    assert secret  # what is looked for is there
    open_cases = phases in ("no phases", "all shown", "results open")
    found = {path.name: path for path in accepted.folder.rglob("*")}
    assert set(found) == {"feedback.json"} | ({"cases.parquet"} if open_cases else set())
    if open_cases:
        shown = pq.read_table(found["cases.parquet"])
        assert shown.to_pydict() == {name: whole[name] for name in COLUMNS}
        known = {value for name in COLUMNS for value in whole[name]}
        hidden = {value for values in secret.values() for value in values} - known
        assert hidden and not hidden & {
            value for name in COLUMNS for value in shown[name].to_pylist()
        }
        assert not any(word in str(shown.schema).lower() for word in TELLING)
    document = json.loads(found["feedback.json"].read_bytes())
    fields = {name.lower() for name in names(document)}
    assert not [name for name in fields if any(word in name for word in TELLING)]
    groups = accepted.evaluation.report.scores.groups.values()
    passes = [group.consistency for group in groups if group.consistency is not None]
    assert passes
    assert not set(numbers(document)) & set(transform_numbers(passes))


def transform_numbers(passes: list[Consistency]) -> Iterator[float]:
    """Every mean that comes of transformed images; 0 and 1 come of others as well."""
    for one in passes:
        for summary in (*one.transformed.values(), *one.gap.values()):
            yield from {summary.mean, *summary.folds} - {0.0, 1.0}


def test_no_case_stays_with_a_team_that_an_earlier_declaration_gave_it(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    accepted = hand_in(evaluated, tmp_path, (), DAY)
    assert (accepted.folder / CASES.name).exists()
    hand_in(evaluated, tmp_path, PHASES["coarse"], LATER)
    assert [path.name for path in accepted.folder.iterdir()] == ["feedback.json"]


def test_no_unknown_column_of_the_scorer_is_handed_out(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    runs = Path(shutil.copytree(evaluated.runs, tmp_path / "runs"))
    (cases,) = runs.glob(f"*/{CASES}")
    table = pq.read_table(cases)
    pq.write_table(table.append_column("new_secret", table["case_id"]), cases)
    accepted = hand_in(evaluated, tmp_path, (), DAY)
    assert tuple(pq.read_schema(accepted.folder / CASES.name).names) == COLUMNS
