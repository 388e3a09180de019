"""Writer of a pull request's files from a submission folder that `busbench check` takes.

    python -m ci.propose my-submission --team example --method my-unet

Run it in your clone of the challenge's repository. It writes the manifest and copies the ONNX
files. Exit status 10 where the submission would be refused; then nothing is written. Whether an
account may speak for the team, the check of the pull request says.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from ci.check_pr import arguments, require_suited
from ci.proposal import Onnx, Proposal
from ci.public import Desk
from evaluator.documents.base import parse
from evaluator.errors import Code
from evaluator.files import disk_errors, write_atomically
from evaluator.harmless import Harmless, harmless
from harness.challenge import Challenge, load_challenge
from harness.submission import take


def propose(
    submission: Path, repository: Path, names: tuple[str, str], *, challenge: Challenge
) -> Path:
    """Write manifest and models of a submission into a clone, over those of an earlier one.

    Args:
        names: of the team's folder and of the method.

    Returns:
        The manifest.

    Raises:
        BusbenchError: `submission-invalid` or `pull-request-refused`, before anything is written.
    """
    team, method = names
    with tempfile.TemporaryDirectory(prefix="busbench-propose-") as name:
        taken = take(submission, Path(name, "submission"))
        onnx = {field: getattr(taken, field) for field in Onnx.model_fields}
        document = {
            "schema": "busbench/proposal/v1",
            "team": team,
            "method": method,
            "track": taken.track,
            "onnx": Onnx(**onnx).document(),
        }
        manifest = repository / "submissions" / team / f"{method}.yaml"
        data = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
        remedy = "Name team and method as their folder and file: lower case, without spaces."
        where, code = f"{method}.yaml", Code.SUBMISSION_INVALID
        proposal = parse(Proposal, data, where, code=code, remedy=remedy)
        require_suited(proposal, challenge, where)
        with disk_errors(manifest.parent):
            folder = manifest.with_suffix("")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for model in taken.models:
                shutil.copyfile(Path(name, "submission", model.file), folder / model.file)
            write_atomically(manifest, data)
    return manifest


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files and print what to add."""
    parser = arguments(__doc__)
    parser.add_argument("submission", type=Path, help="a folder with submission.yaml")
    parser.add_argument("--team", required=True, help="the team's folder in submissions/")
    parser.add_argument("--method", required=True, help="the method's file name, without .yaml")
    chosen = parser.parse_args(argv)

    def run() -> list[Harmless]:
        manifest = propose(
            chosen.submission,
            chosen.repository,
            (chosen.team, chosen.method),
            challenge=load_challenge(chosen.challenge),
        )
        return [harmless(f"written: {manifest} and its files; `git add` both and commit")]

    return Desk(chosen.private, [chosen.repository]).report(run)


if __name__ == "__main__":
    sys.exit(main())
