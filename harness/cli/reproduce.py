"""`busbench reproduce`: a recorded result, computed again by whoever has the public files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import (
    ChallengeOption,
    InferDevice,
    JsonOption,
    LedgerArgument,
    PublicKeyOption,
    RunnerName,
    RunnerOption,
    make_runner,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.evaluation.reproduction import Files, Reproduction, files_needed
from harness.evaluation.reproduction import reproduce as evaluate_again
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_output import known_profile
from harness.ledger import verify_ledger
from harness.ledger.report import Report
from harness.ranking import METRICS
from harness.ranking.metrics import AWESOME_BUS
from harness.sandbox.cached import Context
from harness.sealing.keys import read_public_key
from harness.splits import FrozenSplit
from harness.store import CaseStore

Folder = Path | None


@app.command(cls=Checked)
def reproduce(
    ledger: LedgerArgument,
    entry: Annotated[
        int, typer.Argument(metavar="ENTRY", help="The number of the result's entry.", min=1)
    ],
    key: PublicKeyOption = None,
    submission: Annotated[
        Folder, typer.Option(help="The submission's folder.", exists=True, file_okay=False)
    ] = None,
    split: Annotated[
        Folder, typer.Option(help="The frozen split's folder.", exists=True, file_okay=False)
    ] = None,
    store: Annotated[
        Folder,
        typer.Option(help="The store that it was frozen from.", exists=True, file_okay=False),
    ] = None,
    device: Annotated[
        InferDevice | None,
        typer.Option(help="What inference runs on.", show_default="as the result's"),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="By how much a mean may differ, and one above 1 by which share: another processor "
            "rounds otherwise.",
            min=0,
            max=0.01,
        ),
    ] = 0.0,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a submission of a ledger again, from public files, and compare every number.

    Without files it says which ones it needs, with their digests. With --submission, --split and
    --store it runs gate, inference and scoring on the split's test part, and compares all scores
    and counts with those that were signed; no key of the organiser's is needed. What depends on
    the organiser's secret seeds is left out, by name. Exit status 20 where something differs.

    Example: busbench reproduce ledger.jsonl 3 --submission sub --split split --store store
    """
    report = _recorded(ledger, entry, key)
    precision, backend = report.runtime.precision, report.runtime.backend
    if precision is None or backend == "image":
        message = f"Entry {entry} of {ledger} is of a container image, and only ONNX is run again."
        raise BusbenchError(Code.USAGE, message, "Evaluate the image by its digest, and compare.")
    needed, given = files_needed(report), (submission, split, store)
    if submission is None or split is None or store is None:
        if any(path is not None for path in given):
            missing = next(f for f, path in zip(needed, given, strict=True) if path is None)
            message = f"{missing} is missing: {needed[missing]}."
            raise BusbenchError(Code.USAGE, message, "Name all three, or none to list them.")
        return _print_needed(entry, needed, as_json)
    settings = read_challenge(challenge)
    with bars() as progress:
        again = evaluate_again(
            report,
            Files(submission, FrozenSplit.open(split), CaseStore.open(store)),
            EvaluateSettings(
                device=report.runtime.device if device is None else device.value,
                precision=precision,
                backend=backend,
                profile=known_profile(report.scores, f"Entry {entry} of {ledger}"),
                probabilities="brier" in report.scores.groups["all"].metrics,
            ),
            context=Context(make_runner(runner, settings, progress), settings, progress),
            tolerance=tolerance,
        )
    if as_json:
        print_json({"entry": entry, **asdict(again), "scores": again.scores.document()})
    else:
        _print(report, again)
    if again.differences:
        raise typer.Exit(20)
    return None


def _recorded(ledger: Path, entry: int, key: Path | None) -> Report:
    verdict = verify_ledger(ledger, None if key is None else read_public_key(key))
    if (found := verdict.report(entry)) is not None:
        return found.report
    message = f"Entry {entry} of {ledger} is not there, or is no result."
    raise BusbenchError(Code.USAGE, message, f"`busbench ledger entries {ledger}` lists them.")


def _print_needed(entry: int, needed: dict[str, str], as_json: bool) -> None:
    if as_json:
        return print_json({"entry": entry, "needed": needed})
    out.print(harmless(f"To reproduce entry {entry}, give"))
    for option, what in needed.items():
        out.print(harmless(f"{option:<14}{what}"))
    return None


def _print(report: Report, again: Reproduction) -> None:
    verdict = "something differs" if again.differences else "reproduced"
    out.print(harmless(f"verdict       {verdict}: {again.compared} numbers compared"))
    both = (
        ("", report.scores.groups["all"].metrics, again.scores.groups["all"].metrics),
        (
            f", {AWESOME_BUS}",
            report.scores.awesome_bus_2025.metrics,
            again.scores.awesome_bus_2025.metrics,
        ),
    )
    for how, before, after in both:
        for metric in METRICS:
            if metric.key in before and metric.key in after:
                signed, now = before[metric.key].mean, after[metric.key].mean
                out.print(harmless(f"{metric.label + how}: signed {signed:.6f}, now {now:.6f}"))
    for line in again.differences:
        out.print(harmless(f"differs       {line}"))
    for line in again.left_out:
        out.print(harmless(f"not compared  {line}"))
