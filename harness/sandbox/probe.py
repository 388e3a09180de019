"""The sandbox probe: what must not be possible is tried on this engine and kernel.

`probe_inside` runs as a stage like any other and tries what a hostile image would try; what can
only be seen from outside (time, log, output, what is left behind) is tried with small stages.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker

from evaluator.documents.reading import MEBIBYTE, load_json
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge, Limits
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.images import ensure_base
from harness.sandbox.log import LOG_MB
from harness.sandbox.profile import LABEL, LOG_FILES
from harness.sandbox.stage import Stage

INSIDE = Path(__file__).with_name("probe_inside.py")
LIMITS = Limits(
    seconds=120, memory_mb=192, cpus=1, output_mb=16, tmp_mb=16, pids=64, output_files=256
)
FLOOD_MB = 3 * LOG_MB * LOG_FILES
# Ends for nobody's asking: two sessions, and neither listens to SIGTERM.
ENDLESS = (
    "trap '' TERM INT HUP; setsid sh -c \"trap '' TERM; sleep 600; : {mark}\" & sleep 600; : {mark}"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    name: str
    what: str  # was tried, in a sentence
    withstood: bool  # whether the sandbox prevented it
    detail: str


def probe(runner: DockerRunner, challenge: Challenge, progress: Progress = quiet) -> list[Finding]:
    """Try everything that the sandbox must withstand.

    Raises:
        BusbenchError: `image-unavailable`, `engine-unavailable`, `stage-crashed` where it cannot
            be tried.
    """
    with tempfile.TemporaryDirectory(prefix="busbench-probe-") as name:
        work = Path(name)
        image = ensure_base(runner.client, challenge.images)
        bare = Stage(
            name="probe",
            component="infer",
            image=image,
            command=(),
            inputs={},
            output=work / "out",
            limits=LIMITS,
            log=work / "probe.log",
        )
        bare.output.mkdir()
        progress("trying the sandbox", 0, 3)
        found = _inside(runner, bare, work)
        progress("trying the sandbox", 1, 3)
        found.append(_endless(runner, bare))
        progress("trying the sandbox", 2, 3)
        found.append(_link(runner, bare))
        found.append(_left_behind(runner.client))
        progress("trying the sandbox", 3, 3)
    return found


def _inside(runner: DockerRunner, bare: Stage, work: Path) -> list[Finding]:
    """What the program inside achieved, and what its flood of words came to."""
    canary = f"canary-{uuid.uuid4().hex}"
    (work / "another-run").mkdir()
    (work / "another-run" / canary).write_text("predictions of another team")
    program = work / "probe.py"  # a copy: where the sandbox is open, it is what gets changed
    shutil.copyfile(INSIDE, program)
    settings = {**LIMITS.model_dump(), "canary": canary, "log_mb": FLOOD_MB}
    stage = replace(
        bare,
        command=("python", "{probe}", "{out}"),
        inputs={"probe": program},
        environment={"BUSBENCH_PROBE": json.dumps(settings)},
    )
    runner.run(stage, quiet)
    found = [_finding(row) for row in load_json((stage.output / "probe.json").read_bytes())]
    assert stage.log is not None  # `bare` has one
    kept = stage.log.stat().st_size / MEBIBYTE
    return [
        *found,
        Finding(
            "flood the log",
            f"Print {FLOOD_MB} MB.",
            kept <= LOG_MB * LOG_FILES + 1,
            f"{kept:.1f} MB were kept",
        ),
    ]


def _finding(row: dict[str, Any]) -> Finding:
    return Finding(row["name"], row["what"], not row["achieved"], row["detail"])


def _endless(runner: DockerRunner, bare: Stage) -> Finding:
    """A program that never ends, in two sessions, deaf to every polite signal."""
    mark = uuid.uuid4().hex
    words = ("sh", "-c", ENDLESS.replace("{mark}", mark))
    short = LIMITS.model_copy(update={"seconds": 1})
    code = _run(runner, replace(bare, command=words, limits=short))
    left = _processes(mark)
    return Finding(
        "run for ever",
        "Go on past the time limit, in two sessions that ignore SIGTERM.",
        code == Code.LIMITS_TOO_LOW and not left,
        f"{len(left)} processes are left" if left else f"stopped ({code or 'it ended well'})",
    )


def _link(runner: DockerRunner, bare: Stage) -> Finding:
    """A link in the output that points to a file of the host."""
    code = _run(runner, replace(bare, command=("ln", "-s", "/etc/passwd", "{out}/link")))
    held = code == Code.LIMITS_TOO_LOW and not (bare.output / "link").is_symlink()
    return Finding(
        "leave a link",
        "Leave a link to a file of the host in the output.",
        held,
        "refused, and not on the host" if held else f"taken ({code})",
    )


def _left_behind(client: docker.DockerClient) -> Finding:
    """Containers and volumes of the stages above."""
    left = client.api.containers(all=True, filters={"label": f"{LABEL}=probe"})
    return Finding(
        "stay behind",
        "Leave a container after the run.",
        not left,
        f"{len(left)} containers are left" if left else "nothing is left",
    )


def _run(runner: DockerRunner, stage: Stage) -> str:
    """The code of the error that a stage ends with; empty where it ends well."""
    try:
        runner.run(stage, quiet)
    except BusbenchError as error:
        return error.code
    return ""


def _processes(mark: str) -> list[str]:
    """Processes of this machine with `mark` in their command line; not those of a remote engine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
