"""The command line: one thin verb a function, grouped by the room it opens."""

from harness.cli.app import app, main

__all__ = ["app", "main"]
