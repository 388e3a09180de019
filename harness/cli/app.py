"""Shared parts of the command line: where verbs register, and where their output goes."""

from __future__ import annotations

import typer

from harness.cli.screen import Screen

# A verb's module registers here when it is imported; `harness.cli.main` says which module that is.
app = typer.Typer(rich_markup_mode="rich", add_completion=False)
out = Screen()  # results
err = Screen(stderr=True)  # progress and errors, so that --json stays clean
