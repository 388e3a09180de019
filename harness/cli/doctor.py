"""`busbench doctor` and `busbench errors`: checks of this machine, and the table of error codes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import CODES
from evaluator.harmless import harmless
from harness.challenge import load_challenge
from harness.cli.app import app, out
from harness.cli.options import ChallengeOption, JsonOption, OptionalKeys, say_challenge
from harness.cli.progress import bars
from harness.cli.screen import Grid, Style, Styled, print_json
from harness.doctor import Context, Finding, examine, exit_status
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.probe import probe

STYLES: dict[str, Style] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@app.command()
def doctor(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Try the sandbox out from inside, too (15 s).")
    ] = False,
    keys: OptionalKeys = None,
    out_dir: Annotated[
        Path,
        typer.Option("--out", help="Where runs are kept; its disk is looked at.", file_okay=False),
    ] = Path(),
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at this machine: engine, versions with known vulnerabilities, GPU, disk, keys.

    Exit status: 0 where nothing fails, 20 where the organiser has to act, 30 the machine's owner.

    Example: busbench doctor --keys keys

    Example: busbench doctor --sandbox
    """
    say_challenge(challenge)
    found = [] if sandbox else examine(Context(challenge, keys, out_dir))
    if sandbox:
        settings = load_challenge(challenge)
        with bars() as progress:
            tried = probe(DockerRunner(settings, progress), settings, progress)
        found = [
            Finding(t.name, "ok" if t.withstood else "fail", t.detail, "" if t.withstood else _OPEN)
            for t in tried
        ]
        what = {t.name: t.what for t in tried}
    if as_json:
        rows = [dataclasses.asdict(f) | {"fault": f.fault.name.lower()} for f in found]
        print_json({"findings": rows, "status": exit_status(found)})
    elif sandbox:
        _print_sandbox(found, what)
    else:
        _print(found)
    raise typer.Exit(exit_status(found))


_OPEN = "Run no stranger's work here: look at `busbench doctor`, and at the engine's settings."


def _print(found: list[Finding]) -> None:
    table = Grid(harmless("This machine"), *[harmless("")] * 3, headed=False)
    for f in found:
        table.row(Styled(harmless(f.level), STYLES[f.level]), harmless(f.name), harmless(f.says))
        if f.remedy:
            table.row(harmless(""), harmless(""), Styled(harmless(f.remedy), "italic"))
    out.draw(table)


def _print_sandbox(found: list[Finding], what: dict[str, str]) -> None:
    heads = ("", "attempt", "what was tried", "what came of it")
    table = Grid(harmless("Tried from inside the sandbox"), *map(harmless, heads))
    for f in found:
        word = "prevented" if f.level == "ok" else "OPEN"
        cells = map(harmless, (f.name, what[f.name], f.says))
        table.row(Styled(harmless(word), STYLES[f.level]), *cells)
    out.draw(table)
    open_ones = [f.name for f in found if f.level == "fail"]
    failed = f"{len(found) - len(open_ones)} of {len(found)} attempts failed, as they should."
    out.print(harmless(failed))
    if open_ones:
        names = harmless(f"{', '.join(open_ones)}. {_OPEN}")
        out.print(Styled(harmless("open:"), "bold red"), names)


@app.command()
def errors(
    as_json: JsonOption = False,
) -> None:
    """List every error code: whose fault it is, the exit status, and what it means.

    Example: busbench errors --json
    """
    if as_json:
        return print_json(
            {c: {"fault": f.name.lower(), "status": f, "meaning": m} for c, (f, m) in CODES.items()}
        )
    table = Grid(harmless("Error codes"), *map(harmless, ("code", "fault", "exit", "meaning")))
    for code, (fault, meaning) in CODES.items():
        table.row(*map(harmless, (code, fault.name.lower(), int(fault), meaning)))
    return out.draw(table)
