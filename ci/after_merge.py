"""After a merge: put the scored submissions into the ledger, and publish the site.

    python -m ci.after_merge --before SHA --after SHA --state STATE

Whatever lies between the two commits of the base branch is taken, manifest by manifest. What was
merged without being scored, or scored as something else, does not enter the ledger.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from ci.check_pr import Checked, arguments, read_proposal, read_teams, select_models
from ci.git import Change
from ci.public import NOBODY, Desk, Public, caught
from ci.score_pr import desk, machine_options, make_machine, require_base_code
from ci.scoring import Machine, handed_in, is_assembled, place_of, score
from evaluator.errors import BusbenchError, Code
from evaluator.harmless import Harmless, harmless
from harness.proposal import MANIFEST, refused
from harness.quotas import SubmissionLog
from harness.quotas.publication import require_results_open
from harness.website import publish


def record_merged(machine: Machine, before: str, after: str, *, desk: Desk = NOBODY) -> str:
    """Record every scored submission that was merged, then publish; one line a submission.

    One that cannot be recorded holds up no other, and what was done is reported all the same.

    Raises:
        BusbenchError: the worst that happened, after all others were recorded.
    """
    require_base_code(machine.repository, after)
    changes = machine.repository.changes(before, after, since_they_parted=False)
    manifests = [c for c in changes if MANIFEST.fullmatch(c.path) and c.status in "AM"]
    steps = {each.path: partial(record, machine, each, after) for each in manifests}
    lines: list[Harmless] = []
    errors: list[BusbenchError] = []
    for what, step in {**steps, "the site": partial(publish_open, machine)}.items():
        error = caught(lambda step=step: lines.append(step()), what)  # type: ignore[misc]
        errors += [] if error is None else [error]
    if errors:
        worst = max(errors, key=lambda error: error.fault)
        desk.print(lines)
        desk.complain([error for error in errors if error is not worst])
        raise worst
    return "\n".join(lines)


def record(machine: Machine, manifest: Change, merged: str) -> Harmless:
    """Put one merged submission into the ledger, if it is the one that was scored."""
    repository = machine.repository
    proposal = read_proposal(repository, manifest, machine.challenge)
    team = read_teams(repository, merged).teams.get(proposal.team)
    if team is None or f"submissions/{proposal.team}/{proposal.method}.yaml" != manifest.path:
        raise refused(f"{manifest.path} is nobody's", "Revert the merge.")
    blobs = select_models(repository, proposal, merged)
    checked = Checked(proposal, team, blobs)
    if not _is_scored(machine, checked):
        raise refused(f"{manifest.path} was merged, but never scored", "Score it, or revert.")
    accepted = score(machine, checked, record=True)
    if accepted.appended is None:
        return harmless(f"{manifest.path} is kept for the final, which is recorded at its end")
    entry = accepted.appended.entry.number
    state = "recorded as" if accepted.appended.new else "is already"
    return harmless(f"{manifest.path} {state} entry {entry}")


def _is_scored(machine: Machine, checked: Checked) -> bool:
    """Whether the submission log has an answer to the very submission."""
    if not is_assembled(place_of(machine, checked)):
        return False
    digest = handed_in(machine, checked).digest
    log = SubmissionLog.beside(machine.state.ledger).submissions
    return any(one.submission_sha256 == digest and one.shown is not None for one in log)


def publish_open(machine: Machine) -> Harmless:
    """Publish the site, unless a phase hides exact results still."""
    ledger = machine.state.ledger
    if not ledger.exists():
        return harmless("no site: the ledger is empty")
    try:
        require_results_open(ledger, machine.challenge)
    except BusbenchError as error:
        if error.code != Code.RESULTS_CLOSED:
            raise
        return harmless(f"no new site: {Public.of(error).line}")
    state = machine.state
    publish(ledger, state.site, challenge=machine.challenge, keys=state.keys())
    return harmless("the site is published")


def main(argv: Sequence[str] | None = None) -> int:
    """Record and publish, and print what was done."""
    parser = arguments(__doc__)
    machine_options(parser)
    parser.add_argument("--before", required=True, help="the base branch before the merge")
    parser.add_argument("--after", required=True, help="the base branch after the merge")
    chosen = parser.parse_args(argv)
    ours = desk(chosen)

    def run() -> list[Harmless]:
        machine = make_machine(chosen)
        commit = machine.repository.commit
        before, after = commit(chosen.before), commit(chosen.after)
        done = record_merged(machine, before, after, desk=ours)
        return [harmless(line) for line in done.splitlines()]

    return ours.report(run)


if __name__ == "__main__":
    sys.exit(main())
