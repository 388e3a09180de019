"""The submission folder: `submission.yaml`, and one ONNX file a fold or one for all.

Nothing else may be in it in the end: while training goes on, its checkpoints are in `work`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import yaml
from google.protobuf.message import DecodeError

from reference_models.errors import UsageError
from reference_models.files import disk_errors, sha256_bytes, write_atomically

DOCUMENT = "submission.yaml"
WORK = "work"
TRAINING = "busbench_training"  # the metadata key under which an ONNX file says what trained it
_MODEL = re.compile(r"^fold-(\d+)\.onnx$")
_LEFTOVER = re.compile(r"^\.(submission\.yaml|(fold-\d+|model)\.onnx)\.")  # of an interrupted write
_TITLE = re.compile(r"^[^\x00-\x1f\x7f]{1,100}$")


@dataclass(frozen=True)
class Titles:
    """Under whose name a submission appears, and what it calls itself.

    Raises:
        UsageError: empty, longer than 100 characters, or with control characters.
    """

    team: str
    method: str

    def __post_init__(self) -> None:
        for name, title in (("team", self.team), ("method", self.method)):
            if not _TITLE.match(title):
                raise UsageError(
                    f"The {name} {title[:40]!r} cannot be shown on a board.",
                    "Use 1 to 100 printable characters.",
                )


@dataclass(frozen=True)
class Declared:
    """What a submission says of its networks.

    Args:
        input: how they want their input, in the words of `submission.yaml`.
        threshold: above which probability a pixel is lesion.
        parameters: trainable parameters of one model, as a claim; None claims nothing.
    """

    input: Mapping[str, Any]
    opset: int
    threshold: float = 0.5
    parameters: int | None = None


def model_name(fold: int | None) -> str:
    """The file name of a fold's model, or of the one model for all folds."""
    return "model.onnx" if fold is None else f"fold-{fold}.onnx"


def require_only(folder: Path, names: Collection[str]) -> None:
    """Refuse a folder with other files than `names`; what an interrupted write left is removed.

    Raises:
        UsageError: naming the file.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _LEFTOVER.match(path.name):
            path.unlink()
        elif path.name not in names:
            raise UsageError(
                f"{path} does not come from this training.",
                "Name an empty folder with --out; a submission contains nothing but its own files.",
            )


def exported_folds(folder: Path, fingerprint: str) -> set[int]:
    """The folds whose models in `folder` came from the training `fingerprint`.

    Raises:
        UsageError: the folder contains anything else than what this training writes.
    """
    folds = {
        int(match[1])
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _MODEL.match(path.name)) and _training_of(path) == fingerprint
    }
    require_only(folder, {DOCUMENT, WORK, *map(model_name, folds)})
    return folds


def _training_of(path: Path) -> str | None:
    """What an ONNX file says that trained it; None of any other file."""
    if not path.is_file():
        return None
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        return None
    return {item.key: item.value for item in model.metadata_props}.get(TRAINING)


def write_model(folder: Path, fold: int | None, data: bytes) -> str:
    """Write the ONNX file of a fold, or of all, and take away a document that does not know it yet.

    Returns:
        Its SHA-256, for the document.

    Raises:
        MachineError: where the disk refuses.
    """
    with disk_errors(folder / DOCUMENT):
        (folder / DOCUMENT).unlink(missing_ok=True)
    write_atomically(folder / model_name(fold), data)
    return sha256_bytes(data)


def write_document(
    folder: Path,
    declared: Declared,
    *,
    track: str,
    titles: Titles,
    models: Mapping[int, str] | Mapping[None, str],
) -> None:
    """Write the document that declares the ONNX files, last: with it a submission is whole.

    Args:
        models: SHA-256 of each fold's file, or of the one for all.

    Raises:
        MachineError: where the disk refuses.
    """
    document = {
        "schema": "busbench/submission/v2",
        "team": titles.team,
        "method": titles.method,
        "track": track,
        "input": dict(declared.input),
        "output": {"kind": "logits", "threshold": declared.threshold},
        "models": [
            {"fold": fold, "file": model_name(fold), "sha256": digest}
            for fold, digest in models.items()
        ],
        "opset": declared.opset,
        "parameters": declared.parameters,
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    write_atomically(folder / DOCUMENT, text.encode())
