"""Options that take effect beside others alone: given without them, they are refused.

A check that was asked for and not made would read as passed. A verb declares `cls=Checked`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from evaluator.errors import BusbenchError, Code


@dataclass(frozen=True)
class Need:
    """What some options of a verb take effect with."""

    options: tuple[str, ...]  # by their parameters' names
    met: Callable[[Mapping[str, Any]], Any]  # of all parameters
    remedy: str


def _is_ledger(parameters: Mapping[str, Any]) -> bool:
    from harness.ledger import is_report  # noqa: PLC0415  takes its time to import

    return not is_report(parameters["path"])


def _names_image(parameters: Mapping[str, Any]) -> bool:
    from harness.cli.submissions import is_image  # noqa: PLC0415  takes its time to import

    return any(map(is_image, parameters["submission"]))


NEEDS: dict[str, tuple[Need, ...]] = {
    "audit": (
        Need(("seed",), lambda given: given["policy"], "Name --policy, too"),
        Need(("partial",), lambda given: given["split"], "Name --split, too"),
        Need(
            ("fail_on_leak",),
            lambda given: given["split"] or given["policy"] or len(given["stores"]) > 1,
            "Name --split or --policy, too",
        ),
    ),
    "evaluate": (
        Need(("received",), lambda given: given["ledger"], "Name --ledger, too"),
        Need(("team", "method"), _names_image, "Name a container image by digest"),
    ),
    "finalise": (
        Need(
            ("keys", "device", "precision", "batch_size", "backend", "cluster", "inputs", "runner"),
            lambda given: not given["dry_run"],
            "Leave --dry-run out",
        ),
    ),
    "prepare": (
        Need(
            ("patients", "seed"),
            lambda given: given["dataset"] == "phantom",
            "Prepare the dataset phantom",
        ),
    ),
    "propose": (
        Need(
            ("track", "command"),
            lambda given: not Path(given["what"]).is_dir(),
            "Name an image by its digest; a folder says its track itself",
        ),
    ),
    "publish": (
        Need(("store",), lambda given: given["splits"], "Name --splits, too"),
        Need(("may_show", "cases"), lambda given: given["store"], "Name --store, too"),
        Need(("cases_of",), lambda given: given["cases"], "Name --cases, too"),
    ),
    "rank": (
        Need(("columns",), lambda given: not given["json"], "Take --json out"),
        Need(("keys", "track"), lambda given: given["cases"], "Name --cases, too"),
    ),
    "reproduce": (
        Need(
            ("device", "tolerance", "runner", "challenge"),
            lambda given: given["submission"] and given["split"] and given["store"],
            "Name --submission, --split and --store, too",
        ),
    ),
    "seal": (Need(("windows",), lambda given: given["consistency"], "Take --no-consistency out"),),
    "rescore": (Need(("reason",), lambda given: not given["dry_run"], "Leave --dry-run out"),),
    "splits verify": (Need(("secret",), lambda given: given["store"], "Name --store, too"),),
    "table": (Need(("columns",), lambda given: given["format"] != "csv", "Name another --format"),),
    "train": (
        Need(
            ("pull",),
            lambda given: any(not word.endswith("reference") for word in given["image"]),
            "Name an image other than reference",
        ),
    ),
    "verify": (
        Need(("holds", "witness"), _is_ledger, "Name a ledger, not a lone report"),
        Need(("store", "reveal"), lambda given: given["splits"], "Name --splits, too"),
        Need(("secret",), lambda given: given["store"], "Name --store, too"),
        Need(
            ("bundle", "keys", "final_keys", "runner", "challenge"),
            lambda given: given["rescore_runs"],
            "Name --rescore, too",
        ),
    ),
}


class Checked(TyperCommand):
    """A verb that refuses what `NEEDS` says has no effect."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb, once everything that was given has an effect.

        Raises:
            BusbenchError: `usage`, naming the option.
        """
        for need in NEEDS[" ".join(ctx.command_path.split()[1:])]:
            idle = [name for name in need.options if _is_given(ctx, name)]
            if idle and not need.met(ctx.params):
                option = next(p.opts[0] for p in self.params if p.name == idle[0])
                message = f"{option} would have no effect here."
                raise BusbenchError(Code.USAGE, message, f"{need.remedy}, or leave {option} out.")
        return super().invoke(ctx)


def _is_given(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")
