"""Participant-facing errors: stage, code, and as much of the last line as is safe.

Training and the gate see nothing that is hidden, so their last line goes out without places of this
machine. Inference sees hidden images and scoring the labels: not a word of what they say goes out,
and of inference no code but those that it ends with by itself. A model that fails on some images
could choose its words, digits, lengths and codes by what it sees; the public text is the same
whatever that was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from evaluator.documents.base import Contract, write
from evaluator.errors import CODES, BusbenchError, Code, Fault
from evaluator.harmless import Harmless, harmless

ERROR_FILE = "participant-error.json"
MAX_LINE = 200
_PATH = re.compile(r"(?<![\w.])~?(?:/[^\s/:'\",;()]+)+/?")
_SECRET = re.compile(r"AGE-SECRET-KEY-\S+|\b[0-9a-fA-F]{16,}\b|\b[A-Za-z0-9+/_-]{40,}={0,2}")
_BLOT = "…"


def without_places(text: str, roots: Sequence[Path] = ()) -> Harmless:
    """A text without this machine's places: a path keeps its last part.

    Args:
        roots: folders that are cut off, also where their names have spaces.
    """
    ours = {f"{path}/" for each in roots for path in (each, each.resolve())} - {"./", "//"}
    for root in sorted(ours, key=len, reverse=True):
        text = text.replace(root, "")
    return harmless(_PATH.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], text))


def _safe(line: str) -> str:
    return _SECRET.sub(_BLOT, without_places(line))


# Stages whose last line is shown, redacted; of all others, nothing.
QUOTED = ("train", "gate", "verdict")
# What a failed inference may be called in public; everything else is the first.
OF_INFERENCE = (
    Code.MODEL_FAILED,
    Code.MODEL_NONDETERMINISTIC,
    Code.LIMIT_TIME,
    Code.LIMIT_MEMORY,
    Code.LIMIT_DISK,
    Code.LIMIT_EFFICIENCY,
)


def public_code(error: BusbenchError) -> Code:
    """The code that a participant may read: one that a taken-over inference chose is none."""
    if error.hides:
        return OF_INFERENCE[0]
    chosen = error.stage in ("infer", "predict", "collect") and error.fault is Fault.SUBMISSION
    return OF_INFERENCE[0] if chosen and error.code not in OF_INFERENCE else error.code


class ParticipantError(Contract):
    """`participant-error.json` of a run that failed: what its participant may read."""

    schema_: Literal["busbench/participant-error/v1"] = Field(
        default="busbench/participant-error/v1", alias="schema"
    )
    stage: str
    code: str
    fault: Literal["usage", "submission", "organiser", "infrastructure"]
    meaning: str  # of the code, the same for everybody
    last_line: str  # redacted


def participant_error(error: BusbenchError) -> ParticipantError:
    """What a participant may read of `error`."""
    code = public_code(error)
    fault, meaning = CODES[code]
    return ParticipantError.model_validate(
        {
            "stage": "infer" if error.hides else error.stage,
            "code": code,
            "fault": fault.name.lower(),
            "meaning": meaning,
            "last_line": _safe(error.last_line)[:MAX_LINE] if error.stage in QUOTED else "",
        }
    )


@contextmanager
def hidden_cases(are_there: bool) -> Iterator[None]:
    """Mark a submission's failure on cases that nobody may know: it has one code in public.

    A model can fail as it likes where it sees something, and each code would be a message.
    """
    try:
        yield
    except BusbenchError as error:
        error.hides = are_there and error.fault is Fault.SUBMISSION
        raise


@contextmanager
def reported_to_participant(path: Path) -> Iterator[None]:
    """Write whatever fails in it to `path`, for whoever hands it on; nothing old stays there."""
    try:
        yield
    except BusbenchError as error:
        with suppress(BusbenchError):  # a full disk must not hide what it is about
            write(participant_error(error), path)
        raise
    path.unlink(missing_ok=True)
