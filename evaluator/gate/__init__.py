"""The gate: what a participant's ONNX file must be before any runtime sees it.

Static rules first, on the parsed file alone; then a first load in a process that can be killed.
`inspect` is the whole gate; `RULES` is the table of what it demands.
"""

from evaluator.gate.inspection import inspect
from evaluator.gate.rules import RULES, Rule
from evaluator.gate.subject import Finding, GateLimits, GateRefused

__all__ = ["RULES", "Finding", "GateLimits", "GateRefused", "Rule", "inspect"]
