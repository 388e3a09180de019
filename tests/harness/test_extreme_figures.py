"""Figures from a process that a model may have taken over cannot stop the organiser's pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.documents.base import parse
from evaluator.documents.inference import GateVerdict, Runtime
from evaluator.errors import BusbenchError, Code
from harness.ledger import append, sign
from harness.ledger.report import Report
from harness.sealing.keys import Keys
from harness.website import publish
from tests.support.factories import RUNTIME, make_report

EXTREMES = (
    "1" + "0" * 400, "-1", "-1" + "0" * 400, "1e308", "1e999", "-1e999", "NaN", "Infinity",
    "-Infinity", "1e-400", "9007199254740993", "18446744073709551616", "true", '"7"', "0.5",
)  # fmt: skip
VERDICT = GateVerdict(submission_sha256="0" * 64, models=make_report().models)


def numbers(value: Any, *path: Any) -> list[tuple[Any, ...]]:
    """The places of all numbers of a document."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for key, part in items for place in numbers(part, *path, key)]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def with_number(document: Any, place: tuple[Any, ...], text: str) -> bytes:
    """The document's bytes with another number, written as `text`, in one place."""
    copy = json.loads(json.dumps(document))
    at = copy
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = "the number"
    return json.dumps(copy).replace('"the number"', text).encode()


REPORT = make_report(gap=0.1).document()
# One place of each field: what is a metric's, a group's or a fold's number is declared once.
FIELDS = {
    ".".join(str(k) for k in place[-3:] if not isinstance(k, int)): place
    for place in numbers(REPORT)
    if not {"iou", "hd95", "lesion", "normal"} & {*place}
}


@pytest.mark.parametrize("place", FIELDS.values(), ids=FIELDS)
def test_no_extreme_number_stops_a_site(place: Any, keys: Keys, tmp_path: Path) -> None:
    """Each of a report's numbers in turn: refused with a code, or published."""
    taken = []
    for text in EXTREMES:
        data = with_number(REPORT, place, text)
        try:
            taken.append(parse(Report, data, "x.json", code=Code.LEDGER_INVALID, remedy=""))
        except BusbenchError as error:
            assert "\n" not in error.message
    for number, report in enumerate(taken):
        changed = report.model_copy(update={"method": f"method {number}"})
        append(tmp_path / "ledger.jsonl", sign(changed, keys), keys)
    if taken:
        publish(tmp_path / "ledger.jsonl", tmp_path / "site")


@pytest.mark.parametrize(
    ("kind", "document"), [(Runtime, RUNTIME.document()), (GateVerdict, VERDICT.document())]
)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_number_of_inference_is_negative_infinite_or_huge(
    kind: Any, document: Any, data: Any
) -> None:
    place = data.draw(st.sampled_from(numbers(document)))
    text = data.draw(
        st.one_of(
            st.integers(-(10**400), -1).map(str),
            st.integers(10**13, 10**400).map(str),
            st.floats(min_value=1e13, allow_infinity=True).map(repr),
            st.floats(max_value=-1e-300).map(repr),
            st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999"]),
        )
    )
    with pytest.raises(BusbenchError):
        parse(
            kind,
            with_number(document, place, text),
            "x.json",
            code=Code.PREDICTIONS_INVALID,
            remedy="",
        )


def test_a_report_of_fewer_folds_than_models_is_refused() -> None:
    document = make_report().document()
    for group in document["scores"]["groups"].values():
        for metric in group["metrics"].values():
            metric["folds"] = metric["folds"][:1]
    with pytest.raises(ValueError, match="different numbers of folds"):
        Report.model_validate(document)
