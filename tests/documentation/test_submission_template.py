"""The annotated submission.yaml: valid, complete, and where the error messages say it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from evaluator.documents.base import read
from evaluator.documents.submission import ModelFile, Submission
from evaluator.errors import BusbenchError, Code

ROOT = Path(__file__).resolve().parents[2]
ANNOTATED = ROOT / "submission_template" / "submission.yaml"
NAMED = re.compile(r"submission_template/[\w./-]*\w")


def fields_of(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def missing_fields(model: type[BaseModel], written: dict[str, Any]) -> Iterator[str]:
    """The fields of a document, and of those inside it, that a YAML mapping does not name."""
    yield from (f"{model.__name__}.{name}" for name in fields_of(model) - written.keys())
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from missing_fields(inner, written[name])


def test_no_field_is_left_out_of_the_annotated_submission() -> None:
    written = yaml.safe_load(ANNOTATED.read_text())
    submission = read(Submission, ANNOTATED, Code.SUBMISSION_INVALID, remedy="")
    assert [*missing_fields(Submission, written)] == []
    assert fields_of(ModelFile) == written["models"][0].keys()
    assert [model.fold for model in submission.models] == [0, 1]


def test_no_default_is_written_otherwise_than_it_is() -> None:
    """Every field that has a default is written with it, below or beside the word `Default`."""
    submission = read(Submission, ANNOTATED, Code.SUBMISSION_INVALID, remedy="")
    lines = ANNOTATED.read_text().splitlines()
    for document in (submission, submission.input, submission.output):
        for name, field in type(document).model_fields.items():
            shown = field.alias or name
            at = next(n for n, line in enumerate(lines) if re.match(rf" *{shown}:", line))
            above = lines[:at]
            while above and not above[-1].lstrip().startswith("#"):  # fields that share a comment
                above.pop()
            first = len(above)
            while first and above[first - 1].lstrip().startswith("#"):
                first -= 1
            comment = " ".join(above[first:])
            needed = name in ("height", "width", "resize")  # by the default mode
            if field.is_required() or needed:
                assert "Required" in comment, shown
            else:
                assert "Default" in comment, shown
                assert getattr(document, name) == field.default, shown


@pytest.mark.parametrize("change", [{"teem": "x"}, {"opset": 5}, {"input": {"height": 224}}])
def test_a_field_changed_for_the_worse_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    written = yaml.safe_load(ANNOTATED.read_text()) | change
    path = tmp_path / "submission.yaml"
    path.write_text(yaml.safe_dump(written))
    with pytest.raises(BusbenchError, match=next(iter(change))):
        read(Submission, path, Code.SUBMISSION_INVALID, remedy="")


def test_no_message_points_to_a_file_of_the_template_that_does_not_exist() -> None:
    found = {
        (path.relative_to(ROOT), name)
        for package in ("ci", "evaluator", "harness", "reference_models")
        for path in (ROOT / package).rglob("*.py")
        for name in NAMED.findall(path.read_text())
    }
    assert "submission_template/submission.yaml" in {name for _, name in found}
    assert [(path, name) for path, name in sorted(found) if not (ROOT / name).exists()] == []
