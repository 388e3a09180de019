"""Findings of a check: ok, warn or fail, in one line, with a remedy where one is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from evaluator.errors import Fault

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's."""

    name: str
    level: Level
    says: str
    remedy: str = ""
    fault: Fault = Fault.INFRASTRUCTURE  # who has to act, where it fails


def exit_status(findings: Iterable[Finding]) -> int:
    """0 where nothing fails; else who has to act, and the machine's owner first."""
    return max((int(finding.fault) for finding in findings if finding.level == "fail"), default=0)
