"""After a merge: put the scored submissions into the ledger, and publish the site.

    python -m ci.after_merge --before SHA --after SHA --state STATE

Whatever lies between the two commits of the base branch is taken, manifest by manifest. What was
merged without being scored, or scored as something else, does not enter the ledger.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ci.check_pr import Checked, arguments, read_proposal, read_teams, report, select_models
from ci.git import Change, refused
from ci.proposal import MANIFEST
from ci.score_pr import machine_options, make_machine, require_base_code
from ci.scoring import Machine, handed_in, is_assembled, place_of, score
from evaluator.errors import BusbenchError, Code
from harness.ledger import verify_ledger
from harness.quotas import SubmissionLog, Submitted, require_open
from harness.quotas.recording import today
from harness.website import publish


def record_merged(machine: Machine, before: str, after: str) -> str:
    """Record every scored submission that was merged, then publish; one line a submission.

    Raises:
        BusbenchError: the first that was not recorded, after all others were.
    """
    require_base_code(machine.repository, after)
    changes = machine.repository.changes(before, after, since_they_parted=False)
    manifests = [c for c in changes if MANIFEST.fullmatch(c.path) and c.status in "AM"]
    lines, errors = [], []
    for manifest in manifests:
        try:
            lines.append(record(machine, manifest, after))
        except BusbenchError as error:
            errors.append(error)
    lines.append(publish_open(machine))
    if errors:
        print("\n".join(lines))
        raise errors[0]
    return "\n".join(lines)


def record(machine: Machine, manifest: Change, merged: str) -> str:
    """Put one merged submission into the ledger, if it is the one that was scored."""
    repository = machine.repository
    proposal = read_proposal(repository, manifest, machine.challenge)
    team = read_teams(repository, merged).teams.get(proposal.team)
    if team is None or f"submissions/{proposal.team}/{proposal.method}.yaml" != manifest.path:
        raise refused(f"{manifest.path} is nobody's", "Revert the merge.")
    blobs = select_models(repository, proposal, merged)
    checked = Checked(proposal, team, blobs)
    scored = _scored(machine, checked)
    if scored is None:
        raise refused(f"{manifest.path} was merged, but never scored", "Score it, or revert.")
    accepted = score(machine, checked, record=True, day=scored.day)
    assert accepted.appended is not None
    entry = accepted.appended.entry.number
    state = "recorded as" if accepted.appended.new else "is already"
    return f"{manifest.path} {state} entry {entry}"


def _scored(machine: Machine, checked: Checked) -> Submitted | None:
    """The submission log's entry of the very submission that was scored, or None."""
    if not is_assembled(place_of(machine, checked)):
        return None
    digest = handed_in(machine, checked).digest
    log = SubmissionLog.beside(machine.state.ledger).submissions
    found = (one for one in log if one.submission_sha256 == digest and one.shown is not None)
    return next(found, None)


def publish_open(machine: Machine) -> str:
    """Publish the site, unless a phase hides exact results still."""
    ledger = machine.state.ledger
    if not ledger.exists():
        return "no site: the ledger is empty"
    try:
        reports = [entry.report for entry in verify_ledger(ledger).reports]
        log = SubmissionLog.beside(ledger).submissions
        require_open(log, machine.challenge, today(), reports=reports)
    except BusbenchError as error:
        if error.code != Code.RESULTS_CLOSED:
            raise
        return f"no new site: {error.message}"
    publish(ledger, machine.state.site, challenge=machine.challenge)
    return f"the site is at {machine.state.site}"


def main(argv: Sequence[str] | None = None) -> int:
    """Record and publish, and print what was done."""
    parser = arguments(__doc__)
    machine_options(parser)
    parser.add_argument("--before", required=True, help="the base branch before the merge")
    parser.add_argument("--after", required=True, help="the base branch after the merge")
    chosen = parser.parse_args(argv)

    def run() -> str:
        machine = make_machine(chosen)
        commit = machine.repository.commit
        return record_merged(machine, commit(chosen.before), commit(chosen.after))

    return report(run)


if __name__ == "__main__":
    sys.exit(main())
