"""Shared parts of the command line: where verbs register, and where their output goes."""

from __future__ import annotations

import json
import sys

import typer
from rich.console import Console

# A verb's module registers here when it is imported; `harness.cli.main` says which module that is.
app = typer.Typer(rich_markup_mode="rich", add_completion=False)
out = Console()  # results
err = Console(stderr=True)  # progress and errors, so that --json stays clean


def print_json(value: object) -> None:
    """Print `value` as JSON on standard output, for scripts."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
