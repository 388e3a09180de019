"""Intake of a submission: exactly the declared files, copied, before anything else reads them.

Containers run as nobody, so the copy can be read by everybody, whatever the user's umask.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

from evaluator.documents.base import read
from evaluator.documents.reading import load_yaml, read_bytes
from evaluator.documents.submission import (
    AnySubmission,
    ImageSubmission,
    ModelFile,
    Submission,
)
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, sha256_file, write_atomically
from harness.folders import let_all_read
from harness.team_names import check_visible

DOCUMENT = "submission.yaml"
REMEDY = "Compare it with submission_template/submission.yaml and `busbench check` it again."


def read_entry(folder: Path) -> AnySubmission:
    """The document of a submission folder, of ONNX files or of a container image.

    Raises:
        BusbenchError: `submission-invalid`, naming the field that is wrong.
    """
    if not folder.is_dir():
        raise BusbenchError(Code.SUBMISSION_INVALID, f"{folder} is not a folder.", REMEDY)
    path = folder / DOCUMENT
    _regular(path)
    kind: type[AnySubmission] = ImageSubmission if _names_image(path) else Submission
    submission: AnySubmission = read(kind, path, Code.SUBMISSION_INVALID, remedy=REMEDY)
    if (problem := check_visible(submission.team)) is not None:
        raise BusbenchError(Code.SUBMISSION_INVALID, f"{path}: {problem}.", REMEDY)
    return submission


def read_submission(folder: Path) -> Submission:
    """The document of a folder of ONNX files.

    Raises:
        BusbenchError: `submission-invalid`, naming the field that is wrong, or where it names a
            container image.
    """
    submission = read_entry(folder)
    if isinstance(submission, ImageSubmission):
        message = f"{folder / DOCUMENT} names a container image, and ONNX files are needed here."
        raise BusbenchError(Code.SUBMISSION_INVALID, message, REMEDY)
    return submission


def _names_image(path: Path) -> bool:
    """Whether a document is of a container image; one that cannot be read is of ONNX files."""
    data = read_bytes(path, ImageSubmission.bounds.bytes, Code.SUBMISSION_INVALID, remedy=REMEDY)
    with suppress(ValueError, yaml.YAMLError, RecursionError):
        value = load_yaml(data)
        return isinstance(value, dict) and "image" in value
    return False


def check_folds(submission: AnySubmission, folds: int | None) -> str | None:
    """How the models' folds differ from the track's, in half a sentence; None where they do not.

    The mean over some folds would be compared with means over all, and a model of another split's
    fold k would be scored on cases that it trained on.

    Args:
        folds: how many the track has; null where that is not known, and then at least two.
    """
    files = {model.fold: model.file for model in submission.models}
    if None in submission.folds:
        return None
    named = sorted(fold for fold in files if fold is not None)
    owed = range(folds or max(2, named[-1] + 1))
    wrong = [f"{files[fold]} is of fold {fold}" for fold in named if fold not in owed]
    if missing := [str(fold) for fold in owed if fold not in files]:
        wrong.append(f"no model is of fold {' or '.join(missing)}")
    has = "folds from 0 on" if folds is None else f"folds 0 to {folds - 1}"
    return f"{', '.join(wrong)}, and the track has {has}" if wrong else None


def require_folds(submission: AnySubmission, folds: int | None, where: str | Path) -> None:
    """Refuse a submission whose models are neither one a fold of the track, nor one for all.

    Args:
        folds: as in `check_folds`.
        where: its document, for the error.

    Raises:
        BusbenchError: `submission-invalid`.
    """
    if (problem := check_folds(submission, folds)) is not None:
        remedy = (
            "Name the folds of the training bundle's cases.csv, which begin at 0, one model each; "
            "or one model with fold null for all."
        )
        raise BusbenchError(Code.SUBMISSION_INVALID, f"{where}: {problem}.", remedy)


def take(folder: Path, copy: Path, track: str | None = None) -> AnySubmission:
    """Copy a submission's declared files to `copy` and check their digests there.

    Checked after the copy, so that what was checked is what is run. Nothing undeclared is copied.

    Args:
        track: the track it must be for; null for any.

    Raises:
        BusbenchError: `submission-invalid` where a file is missing, a link or not as declared.
    """
    submission = read_entry(folder)
    if track is not None and submission.track != track:
        raise BusbenchError(
            Code.SUBMISSION_INVALID,
            f"{folder / 'submission.yaml'} is for track {submission.track}, not {track}.",
            "Name the bundle of the submission's own track; the organiser may add --on.",
        )

    def find(model: ModelFile) -> Path:
        _regular(folder / model.file)
        return folder / model.file

    assemble(submission, find, copy)
    return submission


def assemble(
    submission: AnySubmission, find: Callable[[ModelFile], Path | bytes], place: Path
) -> None:
    """Write a submission's folder, which appears only when all of it is there.

    Args:
        find: gives each declared file, or its bytes.

    Raises:
        BusbenchError: `submission-invalid` where a file is not as declared.
    """
    partial = place.with_name(f".{place.name}.partial")
    with disk_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)  # left by a killed run
        partial.mkdir(parents=True)
        for model in submission.models:
            found, copy = find(model), partial / model.file
            copy.write_bytes(found) if isinstance(found, bytes) else shutil.copyfile(found, copy)
            if sha256_file(copy) != model.sha256:
                name = model.file if isinstance(found, bytes) else found
                raise BusbenchError(
                    Code.SUBMISSION_INVALID,
                    f"{name} is not the file that submission.yaml declares.",
                    "Write its SHA-256 into submission.yaml again.",
                )
        write_document(submission, partial / DOCUMENT)
        let_all_read(partial)
        partial.replace(place)


def _regular(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise BusbenchError(
            Code.SUBMISSION_INVALID, f"{path} is missing.", "Put it into the submission folder."
        ) from error
    if not stat.S_ISREG(mode):
        raise BusbenchError(
            Code.SUBMISSION_INVALID,
            f"{path} is not a regular file.",
            "Replace links by the files themselves.",
        )


def write_document(submission: AnySubmission, path: Path) -> None:
    """Write a submission's document as the YAML that it is handed in as."""
    text = yaml.safe_dump(submission.document(), sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode())
