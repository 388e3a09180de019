"""`busbench demo`: the first thing a newcomer runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.challenge import Challenge
from harness.cli.app import app, err, out
from harness.cli.options import ChallengeOption, RunnerName, read_challenge
from harness.cli.progress import bars
from harness.cli.results import print_board
from harness.cli.screen import Styled
from harness.demo import DemoSettings, run_demo
from harness.execution import ExecutionEnvironment
from harness.ledger import verify_ledger
from harness.ranking import make_board
from harness.sandbox.docker_runner import connect
from harness.sandbox.images import with_base_here


@app.command()
def demo(
    dataset: Annotated[str, typer.Option(help="A dataset's name; needs --raw.")] = "phantom",
    raw: Annotated[
        Path | None,
        typer.Option(help="The dataset's folder as downloaded.", exists=True, file_okay=False),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where everything goes.", file_okay=False)
    ] = Path("demo"),
    runner: Annotated[
        RunnerName | None,
        typer.Option(help="Default: docker where an engine answers, else process."),
    ] = None,
    challenge: ChallengeOption = None,
) -> None:
    """The whole journey, from raw images to a published leaderboard.

    Run it again after an interruption: finished steps are kept.

    Example: busbench demo --dataset busbra --raw BUSBRA --out demo-busbra
    """
    if dataset != "phantom" and raw is None:
        raise BusbenchError(Code.USAGE, f"--dataset {dataset} needs --raw.", "Name its folder.")
    settings = read_challenge(challenge)
    chosen = runner or _available()
    if chosen is RunnerName.DOCKER:
        settings = _with_base_here(settings)
    environment = ExecutionEnvironment(chosen.value, settings)
    with bars() as progress:
        result = run_demo(
            DemoSettings(dataset, raw), out_dir, environment, progress=progress, tell=_tell
        )
    for track in make_board(verify_ledger(result.ledger)).tracks:
        print_board(track)
    out.print(harmless(f"ledger  {result.ledger}"))
    out.print(harmless(f"site    {result.site}"))


def _tell(step: str, line: str) -> None:
    err.print(Styled(harmless("✓"), "green"), harmless(f"{step:<9} {line}"))


def _with_base_here(settings: Challenge) -> Challenge:
    images = with_base_here(connect(), settings.images)
    if images != settings.images:
        message = f"The base image is this engine's own {images.base}, which no digest pins."
        message += " Enough for a demo; `busbench doctor` says what other runs need."
        err.print(harmless(message))
    return settings.model_copy(update={"images": images})


def _available() -> RunnerName:
    try:
        connect()
    except BusbenchError as error:
        err.print(error.message, harmless("Running without isolation (--runner process)."))
        return RunnerName.PROCESS
    return RunnerName.DOCKER
