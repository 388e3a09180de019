"""`busbench`: the Typer application, and the one place where errors become exit statuses."""

from __future__ import annotations

import errno
import json
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console

import harness
from evaluator.errors import BusbenchError, Code

app = typer.Typer(
    name="busbench",
    help="A fair comparison of breast-ultrasound lesion segmentation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()  # results
err = Console(stderr=True)  # progress and errors, so that --json stays clean


def _version(value: bool) -> None:
    if value:
        out.print(f"busbench {harness.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """A fair comparison of breast-ultrasound lesion segmentation."""


def print_json(value: object) -> None:
    """Print `value` as JSON on standard output, for scripts."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def main() -> None:
    """Run the command line; every foreseen failure is one sentence and an exit status."""
    from harness.cli import verbs  # noqa: F401, PLC0415  registers the verbs on `app`

    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except BusbenchError as error:
        sys.exit(_fail(error))
    except KeyboardInterrupt:
        err.print("Interrupted. Run the same command again to resume.")
        sys.exit(130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        remedy = "Free some space, then run the same command again."
        sys.exit(_fail(BusbenchError(Code.DISK_FULL, f"The disk is full ({error}).", remedy)))


def _stop(number: int, _: object) -> None:
    """End as after Ctrl-C, so that no container is left running."""
    sys.exit(128 + number)


def _fail(error: BusbenchError) -> int:
    if "--json" in sys.argv:
        fields = {"code": error.code, "message": error.message, "remedy": error.remedy}
        print_json({"error": {**fields, "fault": error.fault.name.lower()}})
    err.print(f"[bold red]error[/] \\[{error.code}] ", end="")
    err.print(f"{error.message} {error.remedy}", markup=False, highlight=False)
    return int(error.fault)
