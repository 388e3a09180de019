"""Import of what nnU-Net trained: the template's export, run by a Python that has nnU-Net.

The harness itself never opens a checkpoint, which is a pickle and runs code. The user's own Python
does that, outside of any sandbox, as `nnUNetv2_predict` would.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.folders import require_free, whole_folder
from harness.sealing.training import TrainingSet
from harness.submission import read_submission
from harness.template import Kind, new_submission

PACKAGES = ("torch", "nnunetv2", "onnx", "onnxruntime", "yaml")
_REFUSED = 3  # nnunet_export.py's exit status where its last two lines are sentence and remedy
_STEP = re.compile(r"progress (\d+)/(\d+) (.*)")


@dataclass(frozen=True)
class ImportRequest:
    """What is exported, and under which names."""

    results: Path  # a trainer's folder of nnU-Net
    bundle: Path
    team: str
    method: str
    checkpoint: str  # final or best
    ensemble: bool
    mirroring: bool
    python: Path  # of the environment that has nnU-Net


def import_nnunet(
    request: ImportRequest, out: Path, *, progress: Progress, say: Callable[[str], None]
) -> Submission:
    """Write the submission of a trainer's folder, whole or not at all.

    Args:
        say: is given each line that a user should see.

    Raises:
        BusbenchError: `extra-missing` where the Python lacks nnU-Net, `submission-invalid` where
            a submission cannot say what it does, `bundle-invalid`, `output-exists`.
    """
    require_free(out)
    bundle = TrainingSet.open(request.bundle).path
    _require_packages(request.python)
    with tempfile.TemporaryDirectory(prefix="busbench-import-") as scratch:
        project = Path(scratch) / "project"
        new_submission(project, Kind.NNUNET, request.team, method=request.method)
        with whole_folder(out, last="submission.yaml") as partial:
            words = [
                *(str(request.python), str(project / "nnunet_export.py"), str(request.results)),
                *("--bundle", str(bundle), "--out", str(partial)),
                *("--checkpoint", request.checkpoint),
                *(["--ensemble"] if request.ensemble else []),
                *([] if request.mirroring else ["--no-mirroring"]),
            ]
            for line in _lines(words, Path(scratch) / "errors.txt"):
                step = _STEP.fullmatch(line)
                if step:
                    progress("models", int(step[1]), int(step[2]))
                else:
                    say(line)
    return read_submission(out)


def _require_packages(python: Path) -> None:
    """Raise `extra-missing` where a Python does not find what the export imports."""
    code = (
        "import sys, importlib.util as u; print(*(n for n in sys.argv[1:] if not u.find_spec(n)))"
    )
    try:
        done = subprocess.run(
            [python, "-c", code, *PACKAGES], capture_output=True, text=True, check=False
        )
    except OSError as error:
        remedy = "Name the Python of the environment that nnU-Net is installed in."
        raise BusbenchError(Code.USAGE, f"{python} cannot be started.", remedy) from error
    if done.returncode or done.stdout.strip():
        missing = ", ".join(done.stdout.split()) or "what a Python has"
        message = f"{python} lacks {missing}, and checkpoints of nnU-Net need it."
        remedy = "Install nnunetv2, onnx, onnxruntime and PyYAML there, or name another --python."
        raise BusbenchError(Code.EXTRA_MISSING, message, remedy)


def _lines(words: list[str], errors: Path) -> Iterator[str]:
    """What a command prints, line by line.

    Raises:
        BusbenchError: `submission-invalid` where it fails, in its own words where it has some.
    """
    with errors.open("w+", encoding="utf-8", errors="replace") as kept:
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=kept, text=True, errors="replace"
        ) as process:
            try:
                yield from (line.rstrip("\n") for line in process.stdout or ())
            except BaseException:
                process.kill()
                raise
        kept.seek(0)
        last = [line for line in kept.read().splitlines() if line.strip()][-2:]
    if process.returncode == _REFUSED and len(last) == 2:
        raise BusbenchError(Code.SUBMISSION_INVALID, *last)
    if process.returncode:
        why = last[-1] if last else f"status {process.returncode}"
        message = f"The export of {words[2]} failed: {why}."
        remedy = "Look whether nnUNetv2_predict runs with it in the same environment."
        raise BusbenchError(Code.SUBMISSION_INVALID, message, remedy)
