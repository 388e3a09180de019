"""`busbench finalise`: the end of a challenge, on the final part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code, Fault
from evaluator.harmless import harmless
from harness.challenge import Challenge
from harness.cli.app import app, err, out
from harness.cli.effects import Checked
from harness.cli.finalise_view import entry_document, line_up_document, print_line_up
from harness.cli.options import (
    Backend,
    BackendOption,
    BatchSizeOption,
    ChallengeOption,
    ClusterOption,
    DeviceOption,
    InferDevice,
    InputsOption,
    JsonOption,
    LedgerArgument,
    OptionalKeys,
    PrecisionOption,
    RunnerName,
    RunnerOption,
    read_batch_size,
    read_challenge,
)
from harness.cli.run_view import Failure, do_jobs
from harness.cli.screen import print_json
from harness.cli.submissions import names_image
from harness.declared import require_hidden
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation, finished_run
from harness.evaluation.settings import EvaluateSettings
from harness.execution import ExecutionEnvironment
from harness.ledger import known_keys, verify_ledger
from harness.quotas import recording
from harness.quotas.finalists import Finalist, LineUp, Record, line_up, read_choices
from harness.quotas.finals import (
    SUBMISSION,
    Entered,
    Ready,
    job_of,
    note_failure,
    record_final,
    require_over,
    run_of,
)
from harness.quotas.submission_log import SubmissionLog
from harness.ranking.runs import run_folders
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys

HELD = "Nothing was recorded: what is not the submissions' fault is to be put right first."


@app.command(cls=Checked)
def finalise(
    ledger: LedgerArgument,
    bundle: Annotated[
        list[Path],
        typer.Option(
            help="The folder with a track's bundles; repeatable, each track once.",
            exists=True,
            file_okay=False,
        ),
    ],
    keys: OptionalKeys = None,
    runs: Annotated[
        Path,
        typer.Option(
            help="The folder that `busbench evaluate --out` filled; new runs are kept there, too.",
            exists=True,
            file_okay=False,
        ),
    ] = Path("runs"),
    choose: Annotated[
        Path | None,
        typer.Option(
            help="A table of what teams chose: team, method, and track where there are several.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List who would be run and why, and do nothing.")
    ] = False,
    device: DeviceOption = InferDevice.CPU,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = "auto",
    backend: BackendOption = Backend.ONNXRUNTIME,
    cluster: ClusterOption = None,
    inputs: InputsOption = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score one submission of each team on the final part, and record all of them at once.

    When the phase with `part: final` is over: of each team on each track what it handed in in that
    phase, else what the table --choose names, else its best on the test part by the challenge's
    ranking. --keys are those of the final part. One that fails holds up no other run, and nothing
    is recorded while one is missing through a fault that is not its own. A submission that fails by
    its own fault is noted and left out. Run it again after an interruption: finished work is kept.

    Example: busbench finalise ledger.jsonl --bundle bundles --dry-run

    Example: busbench finalise ledger.jsonl --bundle bundles --keys final-keys --choose chosen.csv
    """
    settings = read_challenge(challenge)
    opened = _open(bundle)
    lined = _line_up(ledger, settings, opened, runs=runs, choose=choose)
    if dry_run:
        return print_line_up(lined, as_json)
    require_over(lined.phase, recording.today())
    if keys is None:
        message = "The final part is opened with --keys."
        raise BusbenchError(Code.USAGE, message, "Name the folder that `busbench keys final` made.")
    environment = ExecutionEnvironment(runner.value, settings, keys, known_keys(ledger))

    def job(finalist: Finalist, folder: Path) -> EvaluateSubmission:
        own = "fp32" if names_image(folder) else settings.precision_of(finalist.track)
        chosen = own if precision is None else precision.value
        how = EvaluateSettings(device.value, read_batch_size(batch_size), backend.value, chosen)
        return job_of(
            finalist,
            opened[finalist.track],
            runs,
            environment=environment,
            settings=how,
            address=inputs,
        )

    for track in opened.values():
        require_hidden(settings, track.sealed.stated_track, track.path)
    done = _run(lined, job, keys=Keys.open(keys), environment=environment, cluster=cluster)
    return _end(ledger, lined, done, keys=Keys.open(keys), as_json=as_json)


def _open(folders: Sequence[Path]) -> dict[str, Bundles]:
    """The bundles with the final part of each track."""
    opened: dict[str, Bundles] = {}
    for folder in folders:
        bundles = Bundles.open(folder, "final")
        if (first := opened.setdefault(bundles.sealed.track, bundles)) is not bundles:
            message = f"{first.path} and {folder} are both of track {bundles.sealed.track}."
            raise BusbenchError(Code.USAGE, message, "Name one folder of each track.")
    return opened


def _line_up(
    ledger: Path,
    settings: Challenge,
    opened: Mapping[str, Bundles],
    *,
    runs: Path,
    choose: Path | None,
) -> LineUp:
    log = SubmissionLog.beside(ledger)
    log.require_whole(ledger, settings)
    verdict, final = verify_ledger(ledger), settings.final_phase
    named = {entry.report.track for entry in verdict.reports}
    named |= {one.track for one in log.submissions if final and one.phase == final.name}
    for track in sorted(named - opened.keys()):
        message = f"{ledger} has results on track {track}, and no bundle of it is named."
        raise BusbenchError(Code.USAGE, message, "Name its folder with --bundle, too.")
    record = Record(verdict, log.submissions, run_folders([runs]))
    choices = () if choose is None else read_choices(choose)
    return line_up(record, settings, opened.values(), choices=choices)


@dataclass(frozen=True)
class _Done:
    """What came of the runs on the final part."""

    ready: list[Ready]
    failed: list[tuple[Finalist | None, Failure]]


def _run(
    lined: LineUp,
    job: Callable[[Finalist, Path], EvaluateSubmission],
    *,
    keys: Keys,
    environment: ExecutionEnvironment,
    cluster: str | None,
) -> _Done:
    """Get every finalist scored that can be; one that fails holds up no other."""
    found: dict[tuple[str, str], Evaluation] = {}
    jobs: list[EvaluateSubmission] = []
    by_label: dict[str, Finalist] = {}
    refused = [Failure(str(lined.phase.name), error) for error in lined.missing]
    for finalist in lined.finalists:
        try:
            if finalist.run is None:  # it is among the missing
                continue
            if finalist.source is None:
                known = environment.known_keys
                found[finalist.rival] = finished_run(finalist.run, keys, known)
            else:
                jobs.append(job(finalist, run_of(finalist.run) / SUBMISSION))
                by_label[jobs[-1].label] = finalist
        except BusbenchError as error:
            refused.append(Failure(finalist.label, error))
            by_label[finalist.label] = finalist
    batch = do_jobs(jobs, cluster, refused=refused)
    found |= {by_label[each.label].rival: each.finished() for each in batch.done}
    entered = [each for each in lined.finalists if each.rival in found]
    return _Done(
        [Ready(each, found[each.rival]) for each in entered],
        [(by_label.get(failure.job), failure) for failure in batch.failed],
    )


def _end(ledger: Path, lined: LineUp, done: _Done, *, keys: Keys, as_json: bool) -> None:
    """Record all, unless something is to be put right first; and say what became of each."""
    phase, day, recorded = lined.phase, recording.today(), list[Entered]()
    held = any(each.error.fault is not Fault.SUBMISSION for _, each in done.failed)
    if not held:
        for finalist, failure in done.failed:
            if finalist is not None:
                note_failure(ledger, phase, finalist, error=failure.error, day=day)
        recorded = record_final(ledger, phase, done.ready, keys=keys, day=day)
    if as_json:
        failures = [failure.document() for _, failure in done.failed]
        entries = [entry_document(one) for one in recorded]
        print_json({**line_up_document(lined), "failed": failures, "recorded": entries})
    else:
        for one in recorded:
            state = "is recorded as" if one.appended.new else "is already"
            number = one.appended.entry.number
            out.print(harmless(f"{one.ready.finalist.label} {state} entry {number}"))
        for line in lined.left_out:
            out.print(harmless(f"left out: {line}"))
        if recorded:
            err.print(harmless("Rank it next: `busbench rank LEDGER --cases RUNS --keys KEYS`."))
    if held:
        err.print(harmless(HELD))
    if done.failed:
        raise typer.Exit(max(int(failure.error.fault) for _, failure in done.failed))
