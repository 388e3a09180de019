"""Errors that all components share: whose fault each is, and the exit status that follows.

Every error a user can meet has a stable `Code`, which fixes who is to blame and so the exit status.
The message names the file or thing concerned; the remedy says what to do next.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Self

from evaluator.harmless import LIMIT, Harmless, harmless


class Fault(IntEnum):
    """Who has to act; the value is the process's exit status."""

    USAGE = 2
    SUBMISSION = 10
    ORGANISER = 20
    INFRASTRUCTURE = 30


_US, _SU, _OR, _IN = Fault


class Code(StrEnum):
    """One row an error: its code, whose fault it is, what it means in general."""

    fault: Fault
    meaning: str

    def __new__(cls, value: str, fault: Fault = Fault.USAGE, meaning: str = "") -> Self:
        """A member; the defaults are for `Code(text)`, which looks one up."""
        member = str.__new__(cls, value)
        member._value_, member.fault, member.meaning = value, fault, meaning
        return member

    USAGE = "usage", _US, "The command line cannot be understood."
    # data
    RAW_MISSING = "raw-missing", _OR, "The dataset folder is missing, empty or not in its layout."
    IMAGE_UNREADABLE = "image-unreadable", _OR, "An image or mask file cannot be decoded."
    MASK_MISSING = "mask-missing", _OR, "An image has no mask, or a mask has no image."
    DATA_REFUSED = "data-refused", _OR, "A case contradicts itself and cannot be repaired."
    STORE_INVALID = "store-invalid", _OR, "A case store is missing, unfinished or was changed."
    # splits, keys, bundles
    SPLIT_INVALID = "split-invalid", _OR, "A split manifest is missing, incomplete or was changed."
    SPLIT_FROZEN = "split-frozen", _OR, "A frozen split would be overwritten by a different one."
    SPLIT_IMPOSSIBLE = "split-impossible", _OR, "The cases cannot be split as asked."
    KEYS_INVALID = "keys-invalid", _OR, "A key is missing, unreadable or not the right one."
    BUNDLE_INVALID = "bundle-invalid", _OR, "A bundle is missing, incomplete or was changed."
    CHALLENGE_INVALID = (
        "challenge-invalid",
        _OR,
        "challenge.yaml is wrong, or contradicted.",
    )
    LIMITS_TOO_LOW = "limits-too-low", _OR, "A stage of ours met the limits of challenge.yaml."
    PROVENANCE_INVALID = (
        "provenance-invalid",
        _OR,
        "The provenance attestation of a submission is not ours.",
    )
    OUTPUT_EXISTS = "output-exists", _OR, "The output folder contains something else."
    # submissions
    SUBMISSION_INVALID = "submission-invalid", _SU, "The submission folder breaks its contract."
    GATE_REFUSED = "gate-refused", _SU, "The gate refused a model file."
    TRAINING_FAILED = "training-failed", _SU, "Training ended without a submission."
    MODEL_FAILED = "model-failed", _SU, "The model failed while it was loaded or run."
    MODEL_NONDETERMINISTIC = "model-nondeterministic", _SU, "The model gave two masks of one image."
    PREDICTIONS_INVALID = "predictions-invalid", _SU, "The predictions break their contract."
    LIMIT_TIME = "limit-time", _SU, "A stage ran past its time limit."
    LIMIT_MEMORY = "limit-memory", _SU, "A stage ran past its memory limit."
    PRECISION_LOSS = "precision-loss", _SU, "The masks lose too much in the track's precision."
    LIMIT_EFFICIENCY = "limit-efficiency", _SU, "The model takes more than its track allows."
    LIMIT_DISK = "limit-disk", _SU, "A stage wrote more than its output may contain."
    PULL_REQUEST_REFUSED = (
        "pull-request-refused",
        _SU,
        "The pull request does not hand in one result.",
    )
    QUOTA_EXCEEDED = "quota-exceeded", _SU, "The team has used up its submissions."
    PHASE_CLOSED = "phase-closed", _SU, "The challenge takes no submissions now."
    LIMIT_PROCESSES = "limit-processes", _SU, "A stage started more processes than it may."
    OUTPUT_REFUSED = "output-refused", _SU, "A stage left what may not leave a container."
    IMAGE_REFUSED = "image-refused", _SU, "A participant's image breaks its rules or cannot start."
    IMAGE_MISSING = "image-missing", _SU, "A participant's image is not where its name says."
    # ledger
    RESULTS_CLOSED = "results-closed", _OR, "Exact results of a phase may not be published yet."
    FEEDBACK_INVALID = "feedback-invalid", _OR, "The submission log is unreadable."
    LEDGER_INVALID = "ledger-invalid", _OR, "The ledger, a report or a signature is not valid."
    CASES_INVALID = (
        "cases-invalid",
        _OR,
        "A report's per-case results are missing or contradict it.",
    )
    # the machine
    ENGINE_UNAVAILABLE = "engine-unavailable", _IN, "No Docker engine answers."
    IMAGE_UNAVAILABLE = "image-unavailable", _IN, "A container image cannot be built or found."
    DEVICE_UNAVAILABLE = "device-unavailable", _IN, "The device asked for is not there."
    INPUT_UNAVAILABLE = "input-unavailable", _IN, "A job's input cannot be fetched whole."
    DOWNLOAD_FAILED = "download-failed", _IN, "A dataset's release cannot be downloaded whole."
    CLUSTER_UNAVAILABLE = "cluster-unavailable", _IN, "No Dask scheduler answers, or no Slurm."
    TRITON_UNAVAILABLE = "triton-unavailable", _IN, "No Triton server answers, or none is there."
    DISK_FULL = "disk-full", _IN, "The disk, or the user's share of it, is full."
    PERMISSION_DENIED = (
        "permission-denied",
        _IN,
        "A file or folder may not be read or written, or its disk is read-only.",
    )
    STAGE_STOPPED = "stage-stopped", _IN, "Somebody stopped a stage through the engine."
    STAGE_CRASHED = "stage-crashed", _IN, "A stage of ours ended without a result."
    EXTRA_MISSING = "extra-missing", _IN, "A component's packages are not installed."
    EXTRA_CONFLICT = "extra-conflict", _IN, "Two installed packages overwrite each other."


CODES: dict[Code, tuple[Fault, str]] = {code: (code.fault, code.meaning) for code in Code}


class BusbenchError(Exception):
    """A failure, and who has to act on it.

    Its texts are harmless, since they quote names, files and messages that anybody wrote.

    Args:
        code: what kind of failure it is; its `fault` says who is to blame.
        message: one sentence that names the file or thing concerned.
        remedy: one sentence that says what to do.
        stage: the stage of an evaluation that failed, where one did.
        last_line: the last that this stage said, of which a participant may read a part.
        hides: whether its code could tell a participant of hidden cases.
        explained: whether the stage itself said why, in a way that is believed of it.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        remedy: str,
        *,
        stage: str = "",
        last_line: str = "",
        hides: bool = False,
        explained: bool = False,
    ) -> None:
        self.code = Code(code)
        self.message = harmless(message)
        self.remedy = harmless(remedy)
        self.stage = stage
        self.last_line = harmless(last_line)
        self.hides = hides
        self.explained = explained
        self.fault = self.code.fault
        super().__init__(self.message)

    @property
    def fields(self) -> dict[str, Any]:
        """What it was made with, to make another of it."""
        names = ("code", "message", "remedy", "stage", "last_line", "hides", "explained")
        return {name: getattr(self, name) for name in names}

    @property
    def shown(self) -> Harmless:
        """All of it, for whoever it is about."""
        return harmless(f"[{self.code}] {self.message} {self.remedy}", 3 * LIMIT)

    def __str__(self) -> str:
        return self.shown
