"""`busbench propose`: the files of a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.challenge import CHALLENGE
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import ChallengeOption, JsonOption, read_challenge
from harness.cli.screen import print_json
from harness.proposing import Entrant, propose_folder, propose_image


@app.command(cls=Checked)
def propose(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SUBMISSION",
            help="A folder that `busbench check` takes, of ONNX files or an image that predicts; "
            "or an image that trains, by its digest "
            "(registry/name@sha256:…).",
        ),
    ],
    team: Annotated[str, typer.Option(help="The team's folder in submissions/.")],
    method: Annotated[str, typer.Option(help="The method's file there, without .yaml.")],
    repository: Annotated[
        Path,
        typer.Option(help="A clone of the challenge's repository.", exists=True, file_okay=False),
    ] = Path(),
    account: Annotated[
        str | None, typer.Option(help="Check that this account may hand in for the team.")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Of an image: the track it trains on.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Of an image: its arguments, with {bundle} and {out}.")
    ] = None,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write and check the files of a pull request: manifest and ONNX files.

    They are checked as the pull request will be: schema, track, folds, sizes and team. Where they
    would be refused, nothing is written. Files of an earlier proposal of the method are replaced.

    Example: busbench propose my-submission --team example --method my-unet --account me

    Example: busbench propose registry/name@sha256:… --team example --method my-unet --track busbra
    """
    declared = repository / CHALLENGE
    settings = read_challenge(challenge or (declared if declared.exists() else None))
    entrant = Entrant(team, method, account)
    if Path(what).is_dir():
        manifest, proposal = propose_folder(Path(what), repository, entrant, challenge=settings)
    elif "@" not in what:
        message = f"{what} is neither a folder nor an image by its digest."
        raise BusbenchError(Code.USAGE, message, "`docker push` prints an image's digest.")
    elif track is None:
        message = "An image does not say which track it is for."
        raise BusbenchError(Code.USAGE, message, "Name it with --track.")
    else:
        words = tuple((command or "").split())
        manifest, proposal = propose_image(
            what, words, repository, track=track, entrant=entrant, challenge=settings
        )
    if as_json:
        return print_json({"manifest": str(manifest), "proposal": proposal.document()})
    out.print(harmless(f"written          {manifest}"))
    if proposal.onnx is not None:
        out.print(harmless(f"models           {manifest.with_suffix('')}"))
    out.print(harmless("Add them with `git add`, commit, and open the pull request."))
    out.print(harmless(proposal.only_scoring))
    return None
