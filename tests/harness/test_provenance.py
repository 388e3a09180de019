"""`trained here`: nobody but the organiser can say it, and of one submission alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.errors import BusbenchError
from harness.ledger import sign, write_report
from harness.ledger.provenance import (
    ProvenanceAttestation,
    provenance_path,
    trained_here,
    write_provenance,
)
from harness.sealing.keys import Keys
from tests.support.factories import make_report

SPLIT = "1" * 64


def make(method: str = "net") -> Submission:
    return Submission(
        team="team",
        method=method,
        track="phantom",
        input=InputSpec(height=64, width=64, resize="letterbox"),
        output=OutputSpec(),
        models=(ModelFile(file="all.onnx", sha256="0" * 64),),
        opset=17,
    )


def noted(folder: Path, keys: Keys) -> Path:
    note = ProvenanceAttestation(
        image="sha256:abc", submission_sha256=make().digest, split_digest=SPLIT
    )
    write_provenance(note, folder / "submission", keys)
    return folder / "submission"


def refused(folder: Path, keys: Keys) -> BusbenchError:
    with pytest.raises(BusbenchError) as error:
        trained_here(folder, make(), SPLIT, keys=keys)
    assert error.value.code == "provenance-invalid" and "Remove it" in error.value.remedy
    return error.value


def test_a_submission_without_a_note_is_not_trained_here(tmp_path: Path, keys: Keys) -> None:
    assert trained_here(tmp_path / "submission", make(), SPLIT, keys=keys) is None


def test_the_organisers_note_is_believed(tmp_path: Path, keys: Keys) -> None:
    assert trained_here(noted(tmp_path, keys), make(), SPLIT, keys=keys) == "sha256:abc"


def test_a_note_on_another_submission_or_split_says_nothing(tmp_path: Path, keys: Keys) -> None:
    folder = noted(tmp_path, keys)
    assert trained_here(folder, make("another"), SPLIT, keys=keys) is None
    assert trained_here(folder, make(), "2" * 64, keys=keys) is None


def test_a_participants_own_note_is_refused(tmp_path: Path, keys: Keys, other_keys: Keys) -> None:
    assert "another key" in refused(noted(tmp_path, other_keys), keys).message


def test_an_unsigned_note_is_refused(tmp_path: Path, keys: Keys) -> None:
    fields = {"image": "sha256:abc", "submission_sha256": make().digest}
    provenance_path(tmp_path / "submission").write_text(json.dumps(fields))
    refused(tmp_path / "submission", keys)


def test_no_changed_byte_is_believed(tmp_path: Path, keys: Keys) -> None:
    folder = noted(tmp_path, keys)
    path = provenance_path(folder)
    data = path.read_bytes()
    for place in range(0, len(data) - 1, 7):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        refused(folder, keys)


def test_a_signature_on_a_report_passes_for_no_note(tmp_path: Path, keys: Keys) -> None:
    write_report(sign(make_report(), keys), provenance_path(tmp_path / "submission"))
    refused(tmp_path / "submission", keys)
    note = json.loads(provenance_path(noted(tmp_path, keys)).read_text())
    stolen = sign(make_report(), keys).document()
    note |= {"payload": stolen["payload"], "signatures": stolen["signatures"]}
    provenance_path(tmp_path / "submission").write_text(json.dumps(note))
    refused(tmp_path / "submission", keys)
