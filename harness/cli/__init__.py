"""The command line: one thin verb a function; `app` is the whole of it."""

from harness.cli.main import app, main

__all__ = ["app", "main"]
