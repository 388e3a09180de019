"""Taking submissions in: everything a folder may do wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from evaluator.errors import BusbenchError
from harness.submission import take
from tests.support.factories import submission_document

MODEL = b"not really ONNX: the intake does not look inside"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "submission"
    place.mkdir()
    (place / "all.onnx").write_bytes(MODEL)
    write(place)
    return place


def write(place: Path, **changes: object) -> None:
    document = submission_document({"all.onnx": MODEL}, **changes)
    (place / "submission.yaml").write_text(yaml.safe_dump(document))


def refused(folder: Path, track: str = "phantom") -> str:
    with pytest.raises(BusbenchError) as error:
        take(folder, folder.parent / "copy", track)
    assert error.value.code == "submission-invalid"
    assert not (folder.parent / "copy").exists()
    return str(error.value)


def test_only_declared_files_are_taken(folder: Path) -> None:
    (folder / "extra.py").write_text("print('hello')")
    take(folder, folder.parent / "copy", "phantom")
    taken = sorted(path.name for path in (folder.parent / "copy").iterdir())
    assert taken == ["all.onnx", "submission.yaml"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "nowhere" in refused(tmp_path / "nowhere")


def test_a_folder_without_a_document_is_refused(folder: Path) -> None:
    (folder / "submission.yaml").unlink()
    assert "submission.yaml is missing" in refused(folder)


def test_a_missing_model_is_refused(folder: Path) -> None:
    (folder / "all.onnx").unlink()
    assert "all.onnx is missing" in refused(folder)


def test_a_changed_model_is_refused(folder: Path) -> None:
    (folder / "all.onnx").write_bytes(MODEL + b"!")
    assert "not the file that submission.yaml declares" in refused(folder)


def test_another_track_is_refused(folder: Path) -> None:
    assert "track phantom, not busbra" in refused(folder, "busbra")


@pytest.mark.parametrize("name", ["all.onnx", "submission.yaml"])
def test_a_link_is_refused(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "real")
    (folder / name).symlink_to("real")
    assert "not a regular file" in refused(folder)


def test_a_fifo_is_refused_and_does_not_hang(folder: Path) -> None:
    (folder / "all.onnx").unlink()
    os.mkfifo(folder / "all.onnx")
    assert "not a regular file" in refused(folder)


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"models": []}, "models"),
        ({"models": [{"fold": 0, "file": "../secret", "sha256": "0" * 64}]}, "models.0.file"),
        ({"models": [{"fold": 0, "file": "a.onnx", "sha256": "0"}]}, "models.0.sha256"),
        ({"surprise": 1}, "surprise"),
        ({"opset": 99}, "opset"),
        ({"team": "a\nb"}, "team"),
        ({"team": ""}, "team"),
        ({"schema": "busbench/submission/v9"}, "this release reads"),
        ({"input": {"height": 128, "width": 10**9, "resize": "stretch"}}, "input.width"),
    ],
)
def test_a_wrong_field_is_named(folder: Path, changes: dict[str, object], field: str) -> None:
    write(folder, **changes)
    assert field in refused(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        b"\xff\xfe not text",
        b"[" * 60000,
        b"x" * 70000,
        b"!!python/object/apply:os.system [true]",
        b"",
    ],
    ids=["bomb", "not UTF-8", "deep", "long", "code", "empty"],
)
def test_a_hostile_document_is_refused_in_one_sentence(folder: Path, text: bytes) -> None:
    (folder / "submission.yaml").write_bytes(text)
    assert "Traceback" not in refused(folder)
