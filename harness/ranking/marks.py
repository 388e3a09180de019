"""Marks of a row: facts to know before comparing it with the others.

`MARKS` is the one table of them; pages, tables, badges and the feed take their words from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluator.documents.notes import NONE
from harness.ranking.board import Row, Track


@dataclass(frozen=True)
class Mark:
    """What is true of some rows."""

    label: str
    meaning: str
    applies: Callable[[Row], bool]
    tone: str = ""  # of its tag on a page: good, warn or neither


GAP_UNLIKE = Mark(
    "gap unlike the others",
    "the 95 % interval of its Dice gap does not contain the track's median gap; the gap is larger "
    "where test images were memorised, and near 0 where masks hardly depend on the image",
    lambda row: row.gap_unlike,
    "warn",
)
MARKS = (
    GAP_UNLIKE,
    Mark(
        "trained here",
        "training ran in the organiser's container, on the training part alone",
        lambda row: row.trained_here,
        "good",
    ),
    Mark("image", "a container image that predicts", lambda row: row.kind == "image"),
    Mark("supplied", "trained elsewhere, on unknown data", lambda row: not row.trained_here),
    Mark(
        "labels public",
        "the masks of the test set are published: a submission may have seen them",
        lambda row: row.labels == "public",
    ),
    Mark(
        "labels private",
        "only the organiser has the masks of the test set",
        lambda row: row.labels == "private",
    ),
    Mark(
        "scored anew",
        "the same predictions were scored again later; the ledger has the numbers before and after",
        lambda row: row.rescores is not None,
    ),
    Mark(
        "no external data",
        "the team states that training saw no data beside the training bundle; of others it is not "
        "stated, or they saw some",
        lambda row: row.notes.external_data == NONE,
        "good",
    ),
    Mark(
        "external data",
        "the team states that training saw data beside the training bundle",
        lambda row: row.notes.external_data not in (None, NONE),
    ),
    Mark(
        "pretrained",
        "the team states that training began with weights that other data gave",
        lambda row: row.notes.pretrained not in (None, NONE),
    ),
    Mark(
        "no container",
        "run as a process of the organiser's machine: for development",
        lambda row: row.runner == "process",
        "warn",
    ),
)


def marks_of(row: Row) -> tuple[Mark, ...]:
    """The marks of one row, in the order of `MARKS`."""
    return tuple(mark for mark in MARKS if mark.applies(row))


def shared_marks(track: Track) -> tuple[Mark, ...]:
    """The marks that all rows of a track have, which are said once for the table."""
    return tuple(mark for mark in MARKS if track.rows and all(map(mark.applies, track.rows)))


def all_marks(track: Track) -> tuple[Mark, ...]:
    """The marks that any row of a track has."""
    return tuple(mark for mark in MARKS if any(map(mark.applies, track.rows)))


def own_marks(track: Track) -> tuple[Mark, ...]:
    """The marks that some rows of a track have and others have not."""
    shared = shared_marks(track)
    return tuple(mark for mark in all_marks(track) if mark not in shared)
