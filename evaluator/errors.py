"""Whose fault is it, and what should they do? The errors that all rooms share.

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
    "data-refused": (Fault.ORGANISER, "A case contradicts itself and cannot be mended."),
    "store-invalid": (Fault.ORGANISER, "A case store is missing, unfinished or was changed."),
    # splits, keys, bundles
    "split-invalid": (Fault.ORGANISER, "A split manifest is missing, incomplete or was changed."),
    "split-frozen": (Fault.ORGANISER, "A frozen split would be overwritten by a different one."),
    "split-impossible": (Fault.ORGANISER, "The cases cannot be split as asked."),
    "keys-invalid": (Fault.ORGANISER, "A key is missing, unreadable or not the right one."),
    "bundle-invalid": (Fault.ORGANISER, "A bundle is missing, incomplete or was changed."),
    "challenge-invalid": (Fault.ORGANISER, "challenge.yaml is missing or contradicts itself."),
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
    # ledger
    "ledger-invalid": (Fault.ORGANISER, "The ledger, a report or a signature does not hold."),
    # the machine
    "engine-unavailable": (Fault.INFRASTRUCTURE, "No Docker engine answers."),
    "image-unavailable": (Fault.INFRASTRUCTURE, "A container image cannot be built or found."),
    "device-unavailable": (Fault.INFRASTRUCTURE, "The device asked for is not there."),
    "cluster-unavailable": (Fault.INFRASTRUCTURE, "No Dask scheduler answers, or no Slurm."),
    "triton-unavailable": (Fault.INFRASTRUCTURE, "No Triton server answers, or none is there."),
    "disk-full": (Fault.INFRASTRUCTURE, "The disk is full or not writable."),
    "stage-crashed": (Fault.INFRASTRUCTURE, "A stage of ours ended without a result."),
    "extra-missing": (Fault.INFRASTRUCTURE, "A room's packages are not installed."),
    "extra-conflict": (Fault.INFRASTRUCTURE, "Two installed packages overwrite each other."),
}


class BusbenchError(Exception):
    """A failure with someone to blame.

    Args:
        code: a key of `CODES`.
        message: one sentence that names the file or thing concerned.
        remedy: one sentence that says what to do.
    """

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.fault = CODES[code][0]

    def __str__(self) -> str:
        return f"[{self.code}] {self.message} {self.remedy}"
