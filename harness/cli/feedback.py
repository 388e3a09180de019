"""`busbench feedback`: write what teams may read by now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.options import ChallengeOption, JsonOption, read_challenge
from harness.cli.screen import print_json
from harness.quotas.due import hand_out_due


@app.command()
def feedback(
    runs: Annotated[
        Path,
        typer.Argument(
            metavar="RUNS", help="The folder of the runs.", exists=True, file_okay=False
        ),
    ],
    ledger: Annotated[
        Path, typer.Option(help="The ledger of these runs.", exists=True, dir_okay=False)
    ],
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what each team may read of its runs today; nothing is run or counted.

    From results_open of a submission's phase on, that includes the results of every case.

    Example: busbench feedback demo/runs --ledger demo/ledger.jsonl
    """
    due = hand_out_due(runs, ledger, read_challenge(challenge))
    if as_json:
        found = [{"folder": str(d.folder), "feedback": d.feedback.document()} for d in due]
        return print_json({"feedback": found})
    for d in due:
        what = "every case" if d.feedback.cases_open else "the numbers of its phase"
        line = f"{d.folder}  {d.feedback.method} by {d.feedback.team}, {d.feedback.phase}: {what}"
        out.print(harmless(line))
    return None
