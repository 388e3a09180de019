"""Whose fault is it, and what should they do? The errors that all components share.

Every error a user can meet has a stable code in `CODES`, which fixes who is to blame and so the
exit status. The message names the file or thing concerned; the remedy says what to do next.
"""

from __future__ import annotations

from enum import IntEnum


class Fault(IntEnum):
    """Who has to act; the value is the process's exit status."""

    USAGE = 2
    SUBMISSION = 10
    ORGANISER = 20
    INFRASTRUCTURE = 30


# One row an error: its stable code, whose fault it is, what it means in general.
CODES: dict[str, tuple[Fault, str]] = {
    "usage": (Fault.USAGE, "The command line cannot be understood."),
    # data
    "raw-missing": (Fault.ORGANISER, "The dataset folder is missing, empty or not in its layout."),
    "image-unreadable": (Fault.ORGANISER, "An image or mask file cannot be decoded."),
    "mask-missing": (Fault.ORGANISER, "An image has no mask, or a mask has no image."),
    "data-refused": (Fault.ORGANISER, "A case contradicts itself and cannot be repaired."),
    "store-invalid": (Fault.ORGANISER, "A case store is missing, unfinished or was changed."),
    # splits, keys, bundles
    "split-invalid": (Fault.ORGANISER, "A split manifest is missing, incomplete or was changed."),
    "split-frozen": (Fault.ORGANISER, "A frozen split would be overwritten by a different one."),
    "split-impossible": (Fault.ORGANISER, "The cases cannot be split as asked."),
    "keys-invalid": (Fault.ORGANISER, "A key is missing, unreadable or not the right one."),
    "bundle-invalid": (Fault.ORGANISER, "A bundle is missing, incomplete or was changed."),
    "challenge-invalid": (Fault.ORGANISER, "challenge.yaml is missing or contradicts itself."),
    "limits-too-low": (Fault.ORGANISER, "A stage of ours met the limits of challenge.yaml."),
    "provenance-invalid": (Fault.ORGANISER, "The note on who trained a submission is not ours."),
    "output-exists": (Fault.ORGANISER, "The output folder holds something else."),
    # submissions
    "submission-invalid": (Fault.SUBMISSION, "The submission folder breaks its contract."),
    "gate-refused": (Fault.SUBMISSION, "The gate refused a model file."),
    "training-failed": (Fault.SUBMISSION, "Training ended without a submission."),
    "model-failed": (Fault.SUBMISSION, "The model failed while it was loaded or run."),
    "model-nondeterministic": (Fault.SUBMISSION, "The model gave two masks of one image."),
    "predictions-invalid": (Fault.SUBMISSION, "The predictions break their contract."),
    "limit-time": (Fault.SUBMISSION, "A stage ran past its time limit."),
    "limit-memory": (Fault.SUBMISSION, "A stage ran past its memory limit."),
    "limit-disk": (Fault.SUBMISSION, "A stage wrote more than its output may hold."),
    "pull-request-refused": (
        Fault.SUBMISSION,
        "The pull request does not hand in one result.",
    ),
    "quota-exceeded": (Fault.SUBMISSION, "The team has used up its submissions."),
    "phase-closed": (Fault.SUBMISSION, "The challenge takes no submissions now."),
    "limit-processes": (Fault.SUBMISSION, "A stage started more processes than it may."),
    "output-refused": (Fault.SUBMISSION, "A stage left a link, device or pipe in its output."),
    "image-refused": (Fault.SUBMISSION, "A participant's image breaks its rules or cannot start."),
    "image-missing": (Fault.SUBMISSION, "A participant's image is not where its name says."),
    # ledger
    "results-closed": (Fault.ORGANISER, "Exact results of a phase may not be published yet."),
    "feedback-invalid": (Fault.ORGANISER, "The book of submissions is unreadable."),
    "ledger-invalid": (Fault.ORGANISER, "The ledger, a report or a signature does not hold."),
    "cases-invalid": (Fault.ORGANISER, "A report's per-case results are missing or contradict it."),
    # the machine
    "engine-unavailable": (Fault.INFRASTRUCTURE, "No Docker engine answers."),
    "image-unavailable": (Fault.INFRASTRUCTURE, "A container image cannot be built or found."),
    "device-unavailable": (Fault.INFRASTRUCTURE, "The device asked for is not there."),
    "input-unavailable": (Fault.INFRASTRUCTURE, "A job's input cannot be fetched whole."),
    "cluster-unavailable": (Fault.INFRASTRUCTURE, "No Dask scheduler answers, or no Slurm."),
    "triton-unavailable": (Fault.INFRASTRUCTURE, "No Triton server answers, or none is there."),
    "disk-full": (Fault.INFRASTRUCTURE, "The disk is full or not writable."),
    "stage-stopped": (Fault.INFRASTRUCTURE, "Somebody stopped a stage through the engine."),
    "stage-crashed": (Fault.INFRASTRUCTURE, "A stage of ours ended without a result."),
    "extra-missing": (Fault.INFRASTRUCTURE, "A component's packages are not installed."),
    "extra-conflict": (Fault.INFRASTRUCTURE, "Two installed packages overwrite each other."),
}


class BusbenchError(Exception):
    """A failure with someone to blame.

    Args:
        code: a key of `CODES`.
        message: one sentence that names the file or thing concerned.
        remedy: one sentence that says what to do.
        stage: the stage of an evaluation that failed, where one did.
        last_line: the last that this stage said, of which a participant may read a part.
    """

    def __init__(
        self, code: str, message: str, remedy: str, *, stage: str = "", last_line: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.stage = stage
        self.last_line = last_line
        self.fault = CODES[code][0]

    def __str__(self) -> str:
        return f"[{self.code}] {self.message} {self.remedy}"
