"""`busbench rescore`: kept predictions scored anew, and the difference in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluator.harmless import harmless
from evaluator.metrics import METRICS as DEFINED
from evaluator.metrics.secondary import SECONDARY
from harness.cli.app import app, err, out
from harness.cli.effects import Checked
from harness.cli.options import (
    ChallengeOption,
    FinalKeysOption,
    JsonOption,
    KeysOption,
    LedgerArgument,
    RunnerName,
    RunnerOption,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.run_view import Failure, do_jobs
from harness.cli.screen import Grid, print_json
from harness.execution import ExecutionEnvironment
from harness.ledger import RecordedReport, known_keys, verify_ledger
from harness.ranking import METRICS
from harness.ranking.metrics import MISSING
from harness.ranking.runs import who
from harness.rescoring.plan import Change, find_changes, make_plan, require_all
from harness.rescoring.record import Written, record
from harness.sealing.bundle import open_each
from harness.sealing.keys import Keys


@app.command(cls=Checked)
def rescore(
    ledger: LedgerArgument,
    runs: Annotated[
        list[Path],
        typer.Option(help="The folder of the runs; may be repeated.", exists=True, file_okay=False),
    ],
    bundle: Annotated[
        list[Path],
        typer.Option(
            help="The folder with the bundles that they were evaluated on; repeatable.",
            exists=True,
            file_okay=False,
        ),
    ],
    keys: KeysOption,
    final_keys: FinalKeysOption = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="The metric profile and its version, such as native@2.",
            show_default="each track's in challenge.yaml",
        ),
    ] = None,
    track: Annotated[str | None, typer.Option(help="The only track to rescore.")] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            help="Why, in one line that everybody may read.", show_default="by which profile"
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Leave results without a run as they are, in a table of their own."
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Score, print what would change, and record nothing."),
    ] = False,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the kept predictions of a ledger's results anew, and record what changes.

    Nothing is inferred again, and no phase or quota applies: it is the organiser's act, for a
    metric that was corrected. Each new entry keeps who made a result, on what, and whether it was
    trained here. They count all at once, by one signed entry with the numbers and ranks before and
    after. What teams were shown and the ranking are brought up to it. Run it again after an
    interruption: until its end the ledger says what it said before.

    Example: busbench rescore l.jsonl --runs runs --bundle bundles --keys keys --dry-run

    Example: busbench rescore l.jsonl --runs runs --bundle bundles --keys keys --profile native@2
    """
    declared, opened = read_challenge(challenge), Keys.open(keys)
    verdict = verify_ledger(ledger, opened.report)
    environment = ExecutionEnvironment(runner.value, declared, keys, known_keys(ledger))
    bundles = open_each(bundle, keys, final_keys)
    plan = make_plan(verdict, runs, bundles, environment=environment, profile=profile, track=track)
    if not partial:
        require_all(plan.missing)
    batch = do_jobs(list(plan.jobs.values()), None)
    if batch.failed:  # the others are kept for the next time
        if as_json:
            _print_json([], plan.missing, failed=batch.failed)
        err.print(harmless("Nothing was recorded: not all results could be scored."))
        batch.exit()
    scored = {entry: job.finished() for entry, job in plan.jobs.items()}
    changes = find_changes(verdict, scored, runs, challenge=declared)
    written = None
    if not dry_run:
        with bars() as progress:
            written = record(
                ledger,
                changes,
                plan.missing,
                keys=opened,
                reason=reason or _default_reason(changes),
                runs=runs,
                challenge=declared,
                progress=progress,
            )
    if as_json:
        return _print_json(changes, plan.missing, written=written)
    return _print(changes, plan.missing, same=len(scored) - len(changes), written=written)


TITLES = {key: metric.title for key, metric in DEFINED.items()}
TITLES |= {key: number.title for key, number in SECONDARY.items()}


def _default_reason(changes: Sequence[Change]) -> str:
    labels = sorted({one.report.scores.metric_profile.label for one in changes})
    return f"Scored anew by {' and '.join(labels)}."


def _print_json(
    changes: Sequence[Change],
    missing: Sequence[RecordedReport],
    *,
    written: Written | None = None,
    failed: Sequence[Failure] = (),
) -> None:
    document: dict[str, Any] = {
        "changes": [one.document() for one in changes],
        "left": [one.number for one in missing],
        "failed": [failure.document() for failure in failed],
        "recorded": None,
    }
    if written is not None:
        document["recorded"] = {
            "entry": written.entry and written.entry.number,
            "digest": written.entry and written.entry.digest,
            "answers": written.answers,
            "rankings": [
                {"track": one.track, "split_version": one.split_version, "state": one.state}
                for one in written.rankings
            ],
            "unranked": written.unranked and written.unranked.message,
        }
    print_json(document)


def _print(
    changes: Sequence[Change],
    missing: Sequence[RecordedReport],
    *,
    same: int,
    written: Written | None,
) -> None:
    for track in dict.fromkeys(one.report.track for one in changes):
        out.draw(_grid(track, [one for one in changes if one.report.track == track]))
    moved = [one for one in changes if one.ranks[0] != one.ranks[1]]
    out.print(harmless(f"{len(changes)} results change, {same} stay; {len(moved)} change rank."))
    for one in missing:
        out.print(harmless(f"left as it is     {who(one)}: no run has its predictions"))
    if written is None:
        out.print(harmless("Nothing was recorded: this was --dry-run."))
    elif written.entry is None:
        out.print(harmless("Nothing was recorded: the ledger says these numbers already."))
    else:
        out.print(harmless(f"They count by entry {written.entry.number}, {written.entry.digest}."))
    if written is not None:
        _print_what_follows(written)


def _print_what_follows(written: Written) -> None:
    if written.answers:
        line = f"{written.answers} answers to teams changed: `busbench feedback` writes them."
        out.print(harmless(line))
    for one in written.rankings:
        out.print(harmless(f"ranking          {one.track} {one.split_version}: {one.state}"))
    if written.unranked is not None:
        out.print(harmless(f"No ranking yet: {written.unranked.shown}"))
    if written.entry is not None:
        out.print(harmless("Publish the site again."))


def _grid(track: str, changes: Sequence[Change]) -> Grid:
    profiles = {
        tuple(each.scores.metric_profile.label for each in (one.before.report, one.report))
        for one in changes
    }
    how = ", ".join(" to ".join(dict.fromkeys(pair)) for pair in sorted(profiles))
    grid = Grid(harmless(f"{track}: {how}"))
    keys = dict.fromkeys(key for one in changes for key in one.means)
    shown = {metric.key: metric.number for metric in METRICS}
    titles = {key: TITLES.get(key, key) for key in keys}
    for name in ("Entry", "Method", "Team", *titles.values(), "Rank"):
        grid.column(harmless(name), right=name not in ("Method", "Team"))
    for one in changes:
        numbers = [
            _both(*map(shown.get(key, _number), one.means.get(key, (None, None)))) for key in keys
        ]
        ranks = _both(*(MISSING if rank is None else str(rank) for rank in one.ranks))
        names = (str(one.before.number), one.report.method, one.report.team)
        grid.row(*map(harmless, (*names, *numbers, ranks)))
    return grid


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _both(before: str, after: str) -> str:
    return after if before == after else f"{before} → {after}"
