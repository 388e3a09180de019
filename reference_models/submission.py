"""The submission folder: `submission.yaml` and one ONNX file a fold.

Nothing else may be in it in the end: while training goes on, its checkpoints are in `work`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import yaml

from reference_models.config import Config
from reference_models.errors import UsageError
from reference_models.export import OPSET
from reference_models.files import disk_errors, sha256_bytes, write_atomically

DOCUMENT = "submission.yaml"
WORK = "work"
TRAINING = "busbench_training"  # the metadata key under which an ONNX file says what trained it
_MODEL = re.compile(r"^fold-(\d+)\.onnx$")
_LEFTOVER = re.compile(r"^\.(submission\.yaml|fold-\d+\.onnx)\.")  # of an interrupted write
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


def model_name(fold: int) -> str:
    """The file name of a fold's model."""
    return f"fold-{fold}.onnx"


def exported_folds(folder: Path, fingerprint: str) -> set[int]:
    """The folds whose models in `folder` came from the training `fingerprint`.

    Raises:
        UsageError: the folder contains anything else than what this training writes.
    """
    folds = set()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _MODEL.match(path.name)
        if match and _training_of(path) == fingerprint:
            folds.add(int(match[1]))
        elif _LEFTOVER.match(path.name):
            path.unlink()
        elif path.name not in (DOCUMENT, WORK):
            raise UsageError(
                f"{path} does not come from this training.",
                "Name an empty folder with --out; a submission contains nothing but its own files.",
            )
    return folds


def _training_of(path: Path) -> str | None:
    model = onnx.load_model_from_string(path.read_bytes())
    return {item.key: item.value for item in model.metadata_props}.get(TRAINING)


def write_model(folder: Path, fold: int, data: bytes) -> str:
    """Write a fold's ONNX file, and take away a document that does not know it yet.

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
    *,
    config: Config,
    track: str,
    titles: Titles,
    parameters: int,
    models: Mapping[int, str],
) -> None:
    """Write the document that declares the ONNX files, last: with it a submission is whole.

    Args:
        parameters: trainable parameters of one model, as a claim.
        models: SHA-256 of each fold's file.

    Raises:
        MachineError: where the disk refuses.
    """
    document = {
        "schema": "busbench/submission/v2",
        "team": titles.team,
        "method": titles.method,
        "track": track,
        "input": config.input.model_dump(),
        "output": {"kind": "logits", "threshold": config.threshold},
        "models": [
            {"fold": fold, "file": model_name(fold), "sha256": digest}
            for fold, digest in sorted(models.items())
        ],
        "opset": OPSET,
        "parameters": parameters,
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    write_atomically(folder / DOCUMENT, text.encode())
