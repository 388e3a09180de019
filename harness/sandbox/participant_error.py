"""Participant-facing errors: stage, code, and as much of the last line as is safe.

Training and the gate see nothing that is hidden, so their last line goes out without places of this
machine. Inference sees hidden images: names, quoted words and digits, which could carry what a
model saw, are blotted out. Scoring sees the labels: nothing of what it says goes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from evaluator.documents.base import Contract, write
from evaluator.errors import CODES, BusbenchError

ERROR_FILE = "participant-error.json"
MAX_LINE = 200
_PATH = re.compile(r"(?<![\w.])~?(?:/[^\s/:'\",;()]+)+/?")
_SECRET = re.compile(r"AGE-SECRET-KEY-\S+|\b[0-9a-fA-F]{16,}\b|\b[A-Za-z0-9+/_-]{40,}={0,2}")
_TELLING = re.compile(r"'[^']*'?|\"[^\"]*\"?|`[^`]*`?|\S*[\d_=]\S*")
_BLOT = "…"


def _places(line: str) -> str:
    """Without this machine's places: a path keeps its last part."""
    bare = _PATH.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], line)
    return _SECRET.sub(_BLOT, bare)


def _words_alone(line: str) -> str:
    return re.sub(r"(…\s*)+", f"{_BLOT} ", _TELLING.sub(_BLOT, _places(line))).strip()


def _nothing(line: str) -> str:  # noqa: ARG001
    return ""


# What is left of the last line of each stage; of an unknown stage, nothing.
REDACTIONS: dict[str, Callable[[str], str]] = {
    "train": _places,
    "gate": _places,
    "infer": _words_alone,
    "score": _nothing,
}


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
    redact = REDACTIONS.get(error.stage, _nothing)
    fault, meaning = CODES[error.code]
    return ParticipantError.model_validate(
        {
            "stage": error.stage,
            "code": error.code,
            "fault": fault.name.lower(),
            "meaning": meaning,
            "last_line": redact(error.last_line)[:MAX_LINE],
        }
    )


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
