"""Notes of a team on its method: nothing steers a page, and nothing unsaid is `none`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from evaluator.documents.notes import MethodNotes
from evaluator.documents.submission import ImageSubmission, Submission
from harness.proposal import Proposal
from tests.support.factories import submission_document

FILES = {"a.onnx": b"a"}
SAID = {
    "description": "A U-Net with attention; see § 3 of the paper.",
    "authors": ["Jané Dœ", "李雷"],
    "paper": "https://doi.org/10.1000/x(1)?a=b#c",
    "code": "https://example.org:8443/~me/code.git",
    "licence": "Apache-2.0",
    "external_data": "BUSI, 780 images",
    "pretrained": "NONE",
}


def submitted(**changes: object) -> Submission:
    return Submission.model_validate(submission_document(FILES, **changes))


def test_no_word_is_lost_or_taken_for_another_field() -> None:
    document = submission_document(FILES, schema="busbench/submission/v2", **SAID)
    found = Submission.model_validate(document)
    assert found.notes.document() == {**SAID, "pretrained": "none"}
    assert Submission.model_validate(found.document()).digest == found.digest
    assert found.digest != submitted().digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("description", text) for text in ("a\nb", "\x1b[31m", "a\u202eb", "", "x" * 1001)),
        ("description", "##[error]x"),
        ("authors", ["a\u200bb"]),
        ("authors", [""]),
        ("authors", ["a"] * 51),
        ("licence", "x" * 101),
        *(
            (field, link)
            for field in ("paper", "code")
            for link in (
                "http://example.org",
                "javascript:alert(1)",
                "https://",
                "https://me:password@example.org",
                'https://example.org/"onclick="x',
                "https://example.org/<b>",
                "https://example.org/a b",
                "https://example.org/\u202e",
                "https://example.org\\@evil.org",
                "https://example.org/\n",
                f"https://example.org/{'x' * 300}",
            )
        ),
        *(
            (field, unsure)
            for field in ("external_data", "pretrained")
            for unsure in (False, True, "", "-", "No", "n/a", "  ", 0, ["none"])
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        MethodNotes.model_validate({field: value})


@pytest.mark.parametrize("written", ["none", "None", " NONE "])
def test_none_is_none_in_any_case_and_not_stated_is_not(written: str) -> None:
    assert MethodNotes(external_data=written).external == "no external data"
    assert MethodNotes().external == "not stated"
    assert MethodNotes(external_data="BUSI").external == "external data"


# --- versions ------------------------------------------------------------------------------------


def test_a_document_of_version_1_is_read_and_states_nothing() -> None:
    old = submitted(schema="busbench/submission/v1")
    assert old == submitted(schema="busbench/submission/v2") and old.says_nothing
    image = {"team": "t", "method": "m", "track": "p", "image": f"sha256:{'0' * 64}"}
    read = ImageSubmission.model_validate({**image, "schema": "busbench/image-submission/v1"})
    assert read == ImageSubmission.model_validate(image)


NATIVE = {"mode": "native", "multiple": 8}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"licence": "MIT"}, "licence"),
        ({"input": NATIVE}, r"input\.multiple"),
        ({"input": {"normalise": "zscore"}}, r"input\.normalise"),
    ],
)
def test_no_newer_field_passes_in_a_document_of_version_1(
    changes: dict[str, Any], named: str
) -> None:
    words = f"{named} is of busbench/submission/v2, and the document of busbench/submission/v1"
    with pytest.raises(ValidationError, match=words):
        submitted(schema="busbench/submission/v1", **changes)


def test_no_other_version_is_read() -> None:
    with pytest.raises(ValidationError, match="submission/v2"):
        submitted(schema="busbench/submission/v3")


# --- proposals -----------------------------------------------------------------------------------


def proposal(**changes: Any) -> Proposal:
    fields = {"schema": "busbench/proposal/v2", "team": "us", "method": "net", "track": "phantom"}
    return Proposal.model_validate(fields | changes)


IMAGE = f"registry.org/us/net@sha256:{'1' * 64}"


def test_no_word_of_a_manifest_is_lost_on_the_way_to_the_submission() -> None:
    onnx = {name: submission_document(FILES)[name] for name in ("input", "models", "opset")}
    for named in ({"onnx": onnx}, {"predict": IMAGE}):
        made = proposal(**named, **SAID).submission("Us")
        assert made is not None and made.notes == MethodNotes.model_validate(SAID)


def test_an_image_that_trains_does_not_say_it_twice() -> None:
    assert proposal(image={"reference": IMAGE}).submission("Us") is None
    with pytest.raises(ValidationError, match=r"its own submission\.yaml"):
        proposal(image={"reference": IMAGE}, licence="MIT")


def test_a_manifest_of_version_1_is_read_without_newer_fields() -> None:
    old = {"schema": "busbench/proposal/v1", "predict": IMAGE}
    assert proposal(**old) == proposal(predict=IMAGE)
    with pytest.raises(ValidationError, match=r"paper is of busbench/proposal/v2"):
        proposal(**old, paper="https://example.org")
