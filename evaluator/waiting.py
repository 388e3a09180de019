"""The wait of a stage that was started ahead: it imports and begins its device, and reads nothing.

The harness starts such a process while an earlier stage runs, and lets it go on by a line on
standard input, before the key. Where standard input ends instead, the stage is not wanted.
"""

from __future__ import annotations

import argparse
import sys

GO = "go\n"


def add_wait(parser: argparse.ArgumentParser) -> None:
    """The option of a stage that can be started ahead; it calls `wait` before it reads anything."""
    parser.add_argument(
        "--wait", action="store_true", help="get ready, then wait for a line on standard input"
    )


def wait(args: argparse.Namespace) -> None:
    """Wait for the line, where `--wait` was given and the line has not come before."""
    if getattr(args, "wait", False):
        if sys.stdin.readline() != GO:
            sys.exit(0)  # whoever started it is gone
        args.wait = False
