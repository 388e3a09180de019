"""Composition root of the command line: the table of verbs, and the exit status of each error.

A verb's module is imported when the verb is run or its own help is asked for, not before: all of
them import pandas, scipy and the engine's client, which `--help` and completion would wait for.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import harness
from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app as registered
from harness.cli.app import err, out
from harness.cli.screen import Styled, never_fail_to_print, print_json
from harness.spelling import did_you_mean

# Who uses them -> verb -> its module in this package, and the first paragraph of its help; in the
# order of `--help`.
BY_PERSON: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "demo": ("demo", "The whole journey, from raw images to a published leaderboard."),
        "doctor": (
            "doctor",
            "Look at this machine: engine, versions with known vulnerabilities, GPU, disk, keys.",
        ),
        "errors": (
            "doctor",
            "List every error code: whose fault it is, the exit status, and what it means.",
        ),
    },
    "Organiser: data and splits": {
        "fetch": (
            "fetch",
            "Download a dataset from where it is published, or say how to ask for it.",
        ),
        "prepare": ("prepare", "Turn a dataset as downloaded into a case store."),
        "audit": ("audit", "Find the cases that belong on one side of a split."),
        "freeze": ("splits", "Audit a store and draw its test part and folds, once and for all."),
        "splits": ("splits", "Check frozen splits, and open their commitments."),
        "export-split": (
            "export",
            "Write a frozen split's images, masks and folds as other people's code reads them.",
        ),
    },
    "Organiser: the challenge": {
        "keys": ("sealing", "The organiser's keys."),
        "seal": (
            "sealing",
            "Write the public training bundle and the sealed test bundle of a frozen split.",
        ),
        "evaluate": (
            "evaluate",
            "Evaluate a submission on the sealed test set: gate, infer, score, sign.",
        ),
        "benchmark": (
            "benchmark",
            "Train networks on tracks fold by fold, evaluate each, and print a table.",
        ),
        "feedback": (
            "feedback",
            "Write what each team may read of its runs today; nothing is run or counted.",
        ),
        "rescore": (
            "rescore",
            "Score the kept predictions of a ledger's results anew, and record what changes.",
        ),
        "finalise": (
            "finalise",
            "Score one submission of each team on the final part, and record all of them at once.",
        ),
        "rank": ("results", "Show the board: every track's submissions in order of rank."),
        "ledger": ("ledger", "Look through a ledger, and retract results."),
        "publish": (
            "publish",
            "Write the board as a static site, which any web server or browser can show.",
        ),
    },
    "Participant": {
        "new-submission": (
            "template",
            "Make a submission to start from: training, export, an image, tests of its own.",
        ),
        "import-nnunet": (
            "import_nnunet",
            "Write a submission from what nnU-Net has trained: ONNX files that predict as it does.",
        ),
        "limits": ("limits", "Show what a submission may take: size, time, memory, quotas."),
        "check": (
            "check",
            "Tell whether the evaluator would take a submission; labels are never touched.",
        ),
        "train": (
            "train",
            "Train an image on the training bundle, in the sandbox, and take its submission.",
        ),
        "propose": (
            "propose",
            "Write and check the files of a pull request: manifest and ONNX files.",
        ),
        "predict": (
            "predict",
            "Run an accepted submission on images of your own, and write a mask for each.",
        ),
    },
    "Reviewer": {
        "open": ("open_site", "Open a published site in the browser."),
        "table": ("results", "Print the board as a table for a paper or a program."),
        "compare": (
            "compare",
            "Compare two submissions case by case: differences, intervals, a paired test.",
        ),
        "verify": (
            "verify",
            "Check every byte, digest and signature of a ledger or of one signed report.",
        ),
        "reproduce": (
            "reproduce",
            "Run a submission of a ledger again, from public files, and compare every number.",
        ),
    },
}
VERBS = {verb: row for verbs in BY_PERSON.values() for verb, row in verbs.items()}
PANELS = {verb: person for person, verbs in BY_PERSON.items() for verb in verbs}
# The base of all that Typer says of a command line; it has no public name of its own.
UsageError: type[Any] = typer.BadParameter.__mro__[1]


class Commands(Mapping[str, Any]):
    """The commands of `VERBS` by name, each imported when it is taken."""

    def __getitem__(self, name: str) -> Any:
        import_module(f"harness.cli.{VERBS[name][0]}")
        return typer.main.get_group(registered).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class LazyGroup(TyperGroup):
    """Lists its commands from `VERBS`, and imports the one that is run."""

    commands: Any

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands()

    def list_commands(self, _: Any) -> list[str]:
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, _: Any, cmd_name: str) -> Any:
        """The name and the help of a verb, which is all that a list of verbs takes."""
        found = VERBS.get(cmd_name)
        if found is None:
            return None
        return TyperCommand(cmd_name, help=found[1], rich_help_panel=PANELS[cmd_name])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb itself, to be run."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and self.commands[str(found.name)], rest


app = typer.Typer(
    name="busbench",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        out.print(harmless(f"busbench {harness.__version__}"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A fair comparison of breast-ultrasound lesion segmentation."""


def main() -> None:
    """Run the command line; every foreseen failure is one sentence and an exit status."""
    signal.signal(signal.SIGTERM, _stop)
    never_fail_to_print()
    try:
        status = app(prog_name="busbench", standalone_mode=False)
    except BusbenchError as error:
        status = _fail(error)
    except UsageError as error:
        status = _misused(error)
    except Exception as error:  # noqa: BLE001  a traceback quotes what anybody wrote
        status = _fail(_unforeseen(error))
    if status == 130:
        err.print(harmless("Interrupted. Run the same command again to resume."))
    sys.exit(status)


def _stop(number: int, _: object) -> None:
    """End as after Ctrl-C, so that no container is left running."""
    sys.exit(128 + number)


def _misused(error: Any) -> int:
    """Report what Typer refused as every other error is reported."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        error.show()
        return int(error.exit_code)
    verb = error.ctx.command_path if error.ctx else "busbench"
    message = error.format_message().replace("Value error, ", "")
    message += "" if message.endswith((".", "?")) else "."
    return _fail(BusbenchError(Code.USAGE, message + _meant(message), f"See `{verb} --help`."))


def _meant(message: str) -> str:
    """The question whether a choice was meant that is spelled nearly so; else nothing."""
    found = re.search(r"'([^']*)' is not one of (.*)", message)
    if found is None:
        return ""
    choices = re.findall("'([^']*)'", found[2])
    return f" {did_you_mean(found[1], choices)}".rstrip()


def _unforeseen(error: Exception) -> BusbenchError:
    """The error of a fault of ours; its traceback is kept, as harmless text."""
    from harness.execution.job import unforeseen  # noqa: PLC0415  imports numpy

    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt", delete=False) as kept:
        for line in "".join(traceback.format_exception(error)).splitlines():
            kept.write(f"{harmless(line)}\n")
    known = unforeseen("busbench", error, f"what {kept.name} contains")
    if known.code != Code.STAGE_CRASHED:  # the disk's, which needs no traceback
        Path(kept.name).unlink()
    return known


def _fail(error: BusbenchError) -> int:
    if "--json" in sys.argv:
        fields = {"code": error.code, "message": error.message, "remedy": error.remedy}
        print_json({"error": {**fields, "fault": error.fault.name.lower()}})
    err.print(Styled(harmless("error"), "bold red"), error.shown)
    return int(error.fault)
