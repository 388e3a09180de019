"""The line-up of a final, as a table and as JSON."""

from __future__ import annotations

from typing import Any

from evaluator.harmless import harmless
from harness.cli.app import out
from harness.cli.screen import Grid, print_json
from harness.quotas.finalists import LineUp
from harness.quotas.finals import Entered


def print_line_up(lined: LineUp, as_json: bool) -> None:
    """Print who enters, who is left out and what is to be done first."""
    if as_json:
        first = [error.shown for error in lined.missing]
        return print_json({**line_up_document(lined), "missing": first})
    heads = ("track", "team", "method", "why", "submission", "run")
    grid = Grid(harmless(f"Who enters the phase {lined.phase.name}"), *map(harmless, heads))
    for each in lined.finalists:
        cells = (each.track, each.team, each.method, each.why, each.submission_sha256[:12])
        grid.row(*map(harmless, (*cells, each.run or "missing")))
    out.draw(grid)
    for line in lined.left_out:
        out.print(harmless(f"left out: {line}"))
    for error in lined.missing:
        out.print(harmless("to do first:"), error.shown)
    return None


def line_up_document(lined: LineUp) -> dict[str, Any]:
    """Who enters and who is left out, for scripts."""
    finalists = [
        {
            "track": each.track,
            "team": each.team,
            "method": each.method,
            "why": each.why,
            "submission_sha256": each.submission_sha256,
            "run": None if each.run is None else str(each.run),
        }
        for each in lined.finalists
    ]
    return {"phase": lined.phase.name, "finalists": finalists, "left_out": [*lined.left_out]}


def entry_document(one: Entered) -> dict[str, Any]:
    """A recorded result, for scripts."""
    return {
        "entry": one.appended.entry.number,
        "new": one.appended.new,
        "folder": str(one.folder),
        "report": one.ready.evaluation.report.document(),
    }
