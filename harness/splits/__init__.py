"""Frozen splits: which cases train and which judge, drawn once and never changed.

`freeze` draws and writes a split, `FrozenSplit.open` reads one, `verify` names what differs from
what was frozen, and `reveal` opens the commitments to the test labels.
"""

from harness.splits.commitments import (
    Reveal,
    commitment,
    make_secret,
    read_secret,
    reveal,
    secret_path,
)
from harness.splits.drawing import Assignment, Subject, draw, quartiles, whole_groups
from harness.splits.freezing import freeze, subjects_of
from harness.splits.manifest import FrozenSplit, SplitRow
from harness.splits.proportions import deviations
from harness.splits.verification import published_audit, require_store, verify

__all__ = [
    "Assignment",
    "FrozenSplit",
    "Reveal",
    "SplitRow",
    "Subject",
    "commitment",
    "deviations",
    "draw",
    "freeze",
    "make_secret",
    "published_audit",
    "quartiles",
    "read_secret",
    "require_store",
    "reveal",
    "secret_path",
    "subjects_of",
    "verify",
    "whole_groups",
]
