"""`busbench new-submission`: a folder to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from evaluator.documents.base import Title
from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.template import Kind, new_submission


@app.command(name="new-submission")
def new_submission_verb(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", file_okay=False)],
    kind: Annotated[
        Kind,
        typer.Option(
            "--like",
            help="What your method is like. smp is segmentation_models_pytorch, monai a network "
            "as MONAI's bundles define them.",
        ),
    ] = Kind.PYTORCH,
    team: Annotated[str, typer.Option(help="The team on the board.")] = "My team",
    method: Annotated[
        str | None, typer.Option(help="The method on the board; default: the folder's name.")
    ] = None,
) -> None:
    """Make a submission to start from: training, export, an image, tests of its own.

    Example: busbench new-submission my-method --like pytorch --team "Lab of Jane"
    """
    titles = {"team": team, "method": method or folder.resolve().name}
    require_titles(**titles)
    for path in new_submission(folder, kind, **titles):
        out.print(harmless(folder / path))
    out.print(harmless(f"Read {folder / 'README.md'} next."))


def require_titles(**titles: str) -> None:
    """Raise `usage` where a name cannot be shown on a board."""
    for name, title in titles.items():
        try:
            TypeAdapter(Title).validate_python(title)
        except ValidationError as error:
            remedy = "Use 1 to 100 printable characters."
            message = f"The {name} {title[:40]!r} cannot be shown on a board."
            raise BusbenchError(Code.USAGE, message, remedy) from error
