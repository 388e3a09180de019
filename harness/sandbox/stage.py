"""Stages: a command, what it may read, where it may write, and how much it may take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from evaluator.documents.base import Contract
from evaluator.documents.reading import load_json
from evaluator.progress import Progress
from harness.challenge import Component, Limits

_PLACE = re.compile(r"\{(\w+)\}")
MAX_ERROR_BYTES = 65536
RunnerName = Literal["docker", "process"]
StageName = Literal[
    "train", "gate", "verdict", "infer", "ready", "score", "probe", "unseal", "predict", "collect"
]


@dataclass(frozen=True)
class Stage:
    """One container run.

    `command` holds words such as `{images}`, which mean the place of an input, and `{out}`.
    """

    name: StageName
    component: Component
    command: tuple[str, ...]
    inputs: Mapping[str, Path]  # name -> file or folder on the host, read-only inside
    output: Path  # an existing folder on the host; what it contains is in the output from the start
    limits: Limits
    image: str | None = None  # a participant's own image; null: the component's bundled one
    gpu: bool = False
    log: Path | None = None  # where the whole log goes
    usage: Path | None = None  # where what it took goes, once it ended well; of a container
    # a volume in memory that two containers share, by the engine's name: whoever fills it writes to
    # it, everybody else reads it in the place of all inputs
    volume: str | None = None
    fills_volume: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    # what its standard input gives, asked for when it starts: a key is in no file and in no `repr`
    secret: Callable[[], str] | None = field(default=None, repr=False)
    resumes: bool = False  # its output is saved while it runs, and a second run finds it
    spent: float = 0  # seconds of its time limit that earlier runs took, whose output it finds

    @property
    def seconds_left(self) -> float:
        """Until its time limit, when it starts."""
        return max(0.0, self.limits.seconds - self.spent)

    def words(self, places: Mapping[str, str]) -> list[str]:
        """The command with every input and `out` at its place; other braces mean nothing."""
        return [_PLACE.sub(lambda name: places.get(name[1], name[0]), w) for w in self.command]


@dataclass(frozen=True)
class Outcome:
    """How a stage ended, as far as the engine or the system reports."""

    exit_code: int
    oom_killed: bool = False
    timed_out: bool = False
    stopped: bool = False  # by somebody else, through the engine
    output_full: bool = False
    oddity: str = ""  # something in its output that may not leave a container, in words
    tail: str = ""  # the last lines of its log
    error: Mapping[str, str] | None = None  # the stage's own error.json

    @property
    def last_line(self) -> str:
        """The last line of the log that says anything."""
        return next((line.strip() for line in reversed(self.tail.splitlines()) if line.strip()), "")

    @property
    def failed(self) -> bool:
        """Whether anything about it was wrong."""
        return bool(
            self.exit_code or self.timed_out or self.stopped or self.output_full or self.oddity
        )


def read_error(output: Path) -> dict[str, str] | None:
    """The stage's own `error.json`, or None; whatever is wrong with it, it only goes unheard."""
    path = output / "error.json"
    try:
        if path.is_symlink() or path.stat().st_size > MAX_ERROR_BYTES:
            return None
        value: Any = load_json(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return {str(key): str(text) for key, text in value.items()}


class StageUsage(Contract):
    """What a finished container took."""

    seconds: float = Field(ge=0)  # from its start to its end
    host_memory_mb: int | None  # the largest of all samples; null where it ran too short for them


class Runner(Protocol):
    """Runs stages; raises the `BusbenchError` of whoever is to blame."""

    name: RunnerName

    def run(self, stage: Stage, progress: Progress) -> None:
        """Run a stage to its end."""

    def ahead(self, stages: Iterable[Stage], /) -> AbstractContextManager[None]:
        """Let stages get ready that will be run within it, in a runner that can.

        They read none of their inputs before they are run; those that never are end with it.
        """

    def identify(self, component: Component) -> str:
        """What the component's stages run: an image id, or the process and its version."""

    def identify_base(self) -> str:
        """What that is made from: the base image's name and id, or the version of Python."""
