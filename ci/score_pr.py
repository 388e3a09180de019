r"""Score a pull request that a person approved, at exactly the commit that they approved.

    python -m ci.score_pr --base main --head SHA --reference refs/pull/7/head \
        --author ACCOUNT --state STATE --out OUT

Runs the base branch's code: the working tree must be the tip of the base branch, without changes.
Where the reference has moved on since the approval, nothing is run. Writes `OUT/comment.md`, and
`OUT/feedback.json` where there is one. Exit status as `busbench`'s.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from ci.check_pr import arguments, check
from ci.comment import refusal, result
from ci.duration import padded
from ci.git import COMMIT, Repository
from ci.placement import place
from ci.public import Desk, caught
from ci.scoring import Machine, score
from ci.state import State
from evaluator.documents.base import write
from evaluator.errors import BusbenchError, Code
from evaluator.files import write_atomically
from evaluator.harmless import Harmless, harmless
from harness.challenge import load_challenge
from harness.cli.options import RunnerName
from harness.execution import ExecutionEnvironment
from harness.ledger import known_keys
from harness.proposal import refused
from harness.quotas.recording import Accepted, RefusedError


def score_approved(
    machine: Machine,
    base: str,
    approved: str,
    *,
    reference: str,
    remote: str,
    author: str,
    out: Path,
    received: date | None = None,
) -> Harmless:
    """Check, score and write the comment; the one line that sums it up.

    Args:
        received: the day on which the organiser states that it came; null: today.

    Raises:
        BusbenchError: whatever is to blame; the comment says it, too.
    """
    accepted: list[Accepted] = []

    def scoring() -> None:
        require_base_code(machine.repository, base)
        require_unmoved(machine.repository, approved, reference, remote=remote)
        checked = check(
            machine.repository, base, approved, author=author, challenge=machine.challenge
        )
        accepted.append(score(machine, checked, record=False, received=received))

    error = caught(scoring)
    if error is not None:
        feedback = error.feedback if isinstance(error, RefusedError) else None
        text = refusal(error, feedback, approved, roots=machine.roots)
        write_atomically(out / "comment.md", text.encode())
        raise error
    feedback, report = accepted[0].feedback, accepted[0].evaluation.report
    write(feedback, out / "feedback.json")
    is_exact = feedback.cases_open and feedback.scores == report.scores.means
    ledger, challenge = machine.state.ledger, machine.challenge
    placement = place(report, ledger, challenge) if is_exact else None
    write_atomically(out / "comment.md", result(feedback, approved, placement).encode())
    return harmless(f"scored: {feedback.method} by {feedback.team}, see comment.md")


def require_base_code(repository: Repository, base: str) -> None:
    """Refuse to run any code but the base branch's newest."""
    remedy = "Check out the tip of the base branch, without changes."
    if repository.commit("HEAD") != base or repository.is_changed():
        message = "The working tree is not the base branch's newest commit."
        raise BusbenchError(Code.USAGE, message, remedy)


def require_unmoved(repository: Repository, approved: str, reference: str, *, remote: str) -> None:
    """Refuse a pull request that is at another commit than the approved one by now."""
    if not COMMIT.fullmatch(approved):
        message = f"--head {approved} is no full commit digest."
        raise BusbenchError(Code.USAGE, message, "Name the approved commit with all 40 digits.")
    now = repository.fetch(remote, reference)
    if now != approved:
        why = f"{reference} moved to {now} after {approved} was approved"
        raise refused(why, "Read what changed and approve the new commit.")


def machine_options(parser: argparse.ArgumentParser) -> None:
    """The options of what runs on the organiser's machine."""
    parser.add_argument("--state", type=Path, required=True, help="the organiser's folder")
    parser.add_argument("--runner", choices=[*RunnerName], default=RunnerName.DOCKER)


def make_machine(chosen: argparse.Namespace) -> Machine:
    """What the options name."""
    challenge, state = load_challenge(chosen.challenge), State(chosen.state)
    known = known_keys(state.ledger)
    environment = ExecutionEnvironment(chosen.runner, challenge, state.path / "keys", known)
    return Machine(Repository(chosen.repository), state, environment)


def desk(chosen: argparse.Namespace) -> Desk:
    """Where the words of what the options name go."""
    private = chosen.private or chosen.state / "errors"
    return Desk(private, [chosen.state, chosen.repository])


def main(argv: Sequence[str] | None = None) -> int:
    """Score, and print one line."""
    parser = arguments(__doc__)
    machine_options(parser)
    parser.add_argument("--base", required=True, help="the branch to merge into")
    parser.add_argument("--head", required=True, help="the approved commit, 40 digits")
    parser.add_argument("--reference", required=True, help="of the pull request's head")
    parser.add_argument("--remote", default="origin")
    parser.add_argument("--author", required=True, help="the account that opened it")
    parser.add_argument("--out", type=Path, required=True, help="where the comment goes")
    parser.add_argument(
        "--pad-minutes",
        type=int,
        choices=range(1441),
        default=10,
        metavar="N",
        help="last whole multiples of it, whatever the submission does; 0: as long as it takes",
    )
    parser.add_argument(
        "--received", type=date.fromisoformat, help="the day on which it came (UTC), if not today"
    )
    chosen = parser.parse_args(argv)

    def run() -> list[Harmless]:
        with padded(60 * chosen.pad_minutes):
            machine = make_machine(chosen)
            base = machine.repository.fetch(chosen.remote, chosen.base)
            line = score_approved(
                machine,
                base,
                chosen.head,
                reference=chosen.reference,
                remote=chosen.remote,
                author=chosen.author,
                out=chosen.out,
                received=chosen.received,
            )
        return [line]

    return desk(chosen).report(run)


if __name__ == "__main__":
    sys.exit(main())
