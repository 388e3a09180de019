"""Public part of an error: a code, and text that a participant may read.

The logs of these scripts are public, and so are comments. What else is to be said of an error, and
its traceback, goes to a file of the organiser's, whose name is reported.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from evaluator.errors import BusbenchError, Code, Fault
from evaluator.harmless import LIMIT, Harmless, harmless
from harness.cli.screen import never_fail_to_print
from harness.execution.job import unforeseen
from harness.quotas.recording import RefusedError
from harness.sandbox.participant_error import participant_error, without_places


@dataclass(frozen=True)
class Public:
    """An error as anybody may read it.

    What was refused before anything ran is given in full, where the participant has to act. Of a
    run there is what its participant-facing error says: a stage's own words could carry what it
    saw, and the organiser's paths are nobody's business.
    """

    code: Code
    meaning: Harmless  # of the code, or the whole message
    remedy: Harmless
    stage: str
    last_line: Harmless
    about: Harmless  # of many things, the one that it is about

    @classmethod
    def of(cls, error: BusbenchError, roots: Sequence[Path] = ()) -> Public:
        """The public part of `error`; `roots` are folders of the organiser's."""
        reported = participant_error(error)
        ran = isinstance(error, RefusedError) or bool(error.stage)
        whole = error.fault is Fault.SUBMISSION and not ran
        message, remedy = (error.message, error.remedy) if whole else (reported.meaning, "")
        return cls(
            code=Code(reported.code),
            meaning=without_places(message, roots),
            remedy=without_places(remedy, roots),
            stage=reported.stage,
            last_line=without_places(reported.last_line, roots),
            about=without_places(" ".join(getattr(error, "__notes__", ())), roots),
        )

    @property
    def line(self) -> Harmless:
        """All of it in one line."""
        stage = f"The stage {self.stage} failed." if self.stage else ""
        last = f'It ends with "{self.last_line}".' if self.last_line else ""
        about = f"{self.about}:" if self.about else ""
        parts = (about, f"[{self.code}]", self.meaning, self.remedy, stage, last)
        return harmless(" ".join(filter(None, parts)), 3 * LIMIT)


@dataclass(frozen=True)
class Desk:
    """Where a script's words go.

    Args:
        private: the organiser's folder for what may not be public; null: there is none.
        roots: the organiser's folders, which no public word names.
    """

    private: Path | None = None
    roots: Sequence[Path] = ()

    def reported(self, error: BusbenchError) -> Harmless:
        """The public line of an error, once the rest of it is kept."""
        kept = self._keep(error)
        return harmless(f"error {Public.of(error, self.roots).line}{kept}", 4 * LIMIT)

    def _keep(self, error: BusbenchError) -> str:
        if self.private is None:
            return ""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}.txt"
        said = [str(error), f"stage: {error.stage}", f"last line: {error.last_line}", ""]
        text = "\n".join([*said, *traceback.format_exception(error)])
        with suppress(OSError):
            self.private.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = os.open(self.private / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(place, "w", encoding="utf-8", errors="replace") as handle:
                handle.writelines(f"{harmless(line)}\n" for line in text.splitlines())
            return f" The organiser finds all of it in {self.private.name}/{name}."
        return " The rest of it could not be written down."

    def report(self, run: Callable[[], Sequence[Harmless]]) -> int:
        """Print the lines that `run` gives, or its error; the status says who has to act."""
        never_fail_to_print()
        error = caught(lambda: self.print(run()))
        if error is None:
            return 0
        self.complain([error])
        return int(error.fault)

    def complain(self, errors: Sequence[BusbenchError]) -> None:
        """Print errors on standard error."""
        for error in errors:
            print(self.reported(error), file=sys.stderr)

    def print(self, lines: Sequence[Harmless]) -> None:
        """Print lines."""
        for line in lines:
            print(line)


NOBODY = Desk()


def caught(run: Callable[[], object], about: str = "") -> BusbenchError | None:
    """The error that `run` ends with, foreseen or not, with a note of what it is about; or None."""
    try:
        run()
        return None
    except BusbenchError as known:
        error = known
    except Exception as unknown:  # noqa: BLE001  its traceback is the organiser's
        error = unforeseen("A script of ours", unknown)
    if about:
        error.add_note(about)
    return error
