"""Errors that all components share: whose fault each is, and the exit status that follows.

Every error a user can meet has a stable code in `CODES`, which fixes who is to blame and so the
exit status. The message names the file or thing concerned; the remedy says what to do next.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Fault(IntEnum):
    """Who has to act; the value is the process's exit status."""

    USAGE = 2
    SUBMISSION = 10
    ORGANISER = 20
    INFRASTRUCTURE = 30


class Code(StrEnum):
    """The stable code of each error that a user can meet; `CODES` says whose it is."""

    USAGE = "usage"
    RAW_MISSING = "raw-missing"
    IMAGE_UNREADABLE = "image-unreadable"
    MASK_MISSING = "mask-missing"
    DATA_REFUSED = "data-refused"
    STORE_INVALID = "store-invalid"
    SPLIT_INVALID = "split-invalid"
    SPLIT_FROZEN = "split-frozen"
    SPLIT_IMPOSSIBLE = "split-impossible"
    KEYS_INVALID = "keys-invalid"
    BUNDLE_INVALID = "bundle-invalid"
    CHALLENGE_INVALID = "challenge-invalid"
    LIMITS_TOO_LOW = "limits-too-low"
    PROVENANCE_INVALID = "provenance-invalid"
    OUTPUT_EXISTS = "output-exists"
    SUBMISSION_INVALID = "submission-invalid"
    GATE_REFUSED = "gate-refused"
    TRAINING_FAILED = "training-failed"
    MODEL_FAILED = "model-failed"
    MODEL_NONDETERMINISTIC = "model-nondeterministic"
    PREDICTIONS_INVALID = "predictions-invalid"
    LIMIT_TIME = "limit-time"
    LIMIT_MEMORY = "limit-memory"
    LIMIT_DISK = "limit-disk"
    PULL_REQUEST_REFUSED = "pull-request-refused"
    QUOTA_EXCEEDED = "quota-exceeded"
    PHASE_CLOSED = "phase-closed"
    LIMIT_PROCESSES = "limit-processes"
    OUTPUT_REFUSED = "output-refused"
    IMAGE_REFUSED = "image-refused"
    IMAGE_MISSING = "image-missing"
    RESULTS_CLOSED = "results-closed"
    FEEDBACK_INVALID = "feedback-invalid"
    LEDGER_INVALID = "ledger-invalid"
    CASES_INVALID = "cases-invalid"
    ENGINE_UNAVAILABLE = "engine-unavailable"
    IMAGE_UNAVAILABLE = "image-unavailable"
    DEVICE_UNAVAILABLE = "device-unavailable"
    INPUT_UNAVAILABLE = "input-unavailable"
    CLUSTER_UNAVAILABLE = "cluster-unavailable"
    TRITON_UNAVAILABLE = "triton-unavailable"
    DISK_FULL = "disk-full"
    PERMISSION_DENIED = "permission-denied"
    STAGE_STOPPED = "stage-stopped"
    STAGE_CRASHED = "stage-crashed"
    EXTRA_MISSING = "extra-missing"
    EXTRA_CONFLICT = "extra-conflict"


# One row an error: its code, whose fault it is, what it means in general.
CODES: dict[Code, tuple[Fault, str]] = {
    Code.USAGE: (Fault.USAGE, "The command line cannot be understood."),
    # data
    Code.RAW_MISSING: (
        Fault.ORGANISER,
        "The dataset folder is missing, empty or not in its layout.",
    ),
    Code.IMAGE_UNREADABLE: (Fault.ORGANISER, "An image or mask file cannot be decoded."),
    Code.MASK_MISSING: (Fault.ORGANISER, "An image has no mask, or a mask has no image."),
    Code.DATA_REFUSED: (Fault.ORGANISER, "A case contradicts itself and cannot be repaired."),
    Code.STORE_INVALID: (Fault.ORGANISER, "A case store is missing, unfinished or was changed."),
    # splits, keys, bundles
    Code.SPLIT_INVALID: (
        Fault.ORGANISER,
        "A split manifest is missing, incomplete or was changed.",
    ),
    Code.SPLIT_FROZEN: (Fault.ORGANISER, "A frozen split would be overwritten by a different one."),
    Code.SPLIT_IMPOSSIBLE: (Fault.ORGANISER, "The cases cannot be split as asked."),
    Code.KEYS_INVALID: (Fault.ORGANISER, "A key is missing, unreadable or not the right one."),
    Code.BUNDLE_INVALID: (Fault.ORGANISER, "A bundle is missing, incomplete or was changed."),
    Code.CHALLENGE_INVALID: (
        Fault.ORGANISER,
        "challenge.yaml is missing or wrong, or declares something else than what is used.",
    ),
    Code.LIMITS_TOO_LOW: (Fault.ORGANISER, "A stage of ours met the limits of challenge.yaml."),
    Code.PROVENANCE_INVALID: (Fault.ORGANISER, "The note on who trained a submission is not ours."),
    Code.OUTPUT_EXISTS: (Fault.ORGANISER, "The output folder holds something else."),
    # submissions
    Code.SUBMISSION_INVALID: (Fault.SUBMISSION, "The submission folder breaks its contract."),
    Code.GATE_REFUSED: (Fault.SUBMISSION, "The gate refused a model file."),
    Code.TRAINING_FAILED: (Fault.SUBMISSION, "Training ended without a submission."),
    Code.MODEL_FAILED: (Fault.SUBMISSION, "The model failed while it was loaded or run."),
    Code.MODEL_NONDETERMINISTIC: (Fault.SUBMISSION, "The model gave two masks of one image."),
    Code.PREDICTIONS_INVALID: (Fault.SUBMISSION, "The predictions break their contract."),
    Code.LIMIT_TIME: (Fault.SUBMISSION, "A stage ran past its time limit."),
    Code.LIMIT_MEMORY: (Fault.SUBMISSION, "A stage ran past its memory limit."),
    Code.LIMIT_DISK: (Fault.SUBMISSION, "A stage wrote more than its output may hold."),
    Code.PULL_REQUEST_REFUSED: (
        Fault.SUBMISSION,
        "The pull request does not hand in one result.",
    ),
    Code.QUOTA_EXCEEDED: (Fault.SUBMISSION, "The team has used up its submissions."),
    Code.PHASE_CLOSED: (Fault.SUBMISSION, "The challenge takes no submissions now."),
    Code.LIMIT_PROCESSES: (Fault.SUBMISSION, "A stage started more processes than it may."),
    Code.OUTPUT_REFUSED: (Fault.SUBMISSION, "A stage left a link, device or pipe in its output."),
    Code.IMAGE_REFUSED: (
        Fault.SUBMISSION,
        "A participant's image breaks its rules or cannot start.",
    ),
    Code.IMAGE_MISSING: (Fault.SUBMISSION, "A participant's image is not where its name says."),
    # ledger
    Code.RESULTS_CLOSED: (Fault.ORGANISER, "Exact results of a phase may not be published yet."),
    Code.FEEDBACK_INVALID: (Fault.ORGANISER, "The book of submissions is unreadable."),
    Code.LEDGER_INVALID: (Fault.ORGANISER, "The ledger, a report or a signature is not valid."),
    Code.CASES_INVALID: (
        Fault.ORGANISER,
        "A report's per-case results are missing or contradict it.",
    ),
    # the machine
    Code.ENGINE_UNAVAILABLE: (Fault.INFRASTRUCTURE, "No Docker engine answers."),
    Code.IMAGE_UNAVAILABLE: (Fault.INFRASTRUCTURE, "A container image cannot be built or found."),
    Code.DEVICE_UNAVAILABLE: (Fault.INFRASTRUCTURE, "The device asked for is not there."),
    Code.INPUT_UNAVAILABLE: (Fault.INFRASTRUCTURE, "A job's input cannot be fetched whole."),
    Code.CLUSTER_UNAVAILABLE: (Fault.INFRASTRUCTURE, "No Dask scheduler answers, or no Slurm."),
    Code.TRITON_UNAVAILABLE: (Fault.INFRASTRUCTURE, "No Triton server answers, or none is there."),
    Code.DISK_FULL: (Fault.INFRASTRUCTURE, "The disk, or the user's share of it, is full."),
    Code.PERMISSION_DENIED: (
        Fault.INFRASTRUCTURE,
        "A file or folder may not be read or written, or its disk is read-only.",
    ),
    Code.STAGE_STOPPED: (Fault.INFRASTRUCTURE, "Somebody stopped a stage through the engine."),
    Code.STAGE_CRASHED: (Fault.INFRASTRUCTURE, "A stage of ours ended without a result."),
    Code.EXTRA_MISSING: (Fault.INFRASTRUCTURE, "A component's packages are not installed."),
    Code.EXTRA_CONFLICT: (Fault.INFRASTRUCTURE, "Two installed packages overwrite each other."),
}


class BusbenchError(Exception):
    """A failure with someone to blame.

    Args:
        code: what kind of failure it is; `CODES` says who is to blame.
        message: one sentence that names the file or thing concerned.
        remedy: one sentence that says what to do.
        stage: the stage of an evaluation that failed, where one did.
        last_line: the last that this stage said, of which a participant may read a part.
    """

    def __init__(
        self, code: Code, message: str, remedy: str, *, stage: str = "", last_line: str = ""
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
