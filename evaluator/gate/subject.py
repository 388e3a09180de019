"""What a rule is given, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from evaluator.contract import Submission
from evaluator.gate.limits import GateLimits
from evaluator.gate.survey import Survey


@dataclass(frozen=True)
class Subject:
    """One model under the rules."""

    survey: Survey
    submission: Submission
    limits: GateLimits


class Hit(NamedTuple):
    """One breach: the node (or None) and what is particular about it, as a sentence or empty."""

    node: str | None
    detail: str
