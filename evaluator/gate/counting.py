"""How large is a network, read off its graph?

For models that one trusts; for others the gate does the same in a contained process.
"""

from __future__ import annotations

from typing import NamedTuple

from onnx import ModelProto

from evaluator.gate.macs import cost, lighten
from evaluator.gate.parameters import parameters
from evaluator.gate.survey import survey


class Counted(NamedTuple):
    """What a graph holds and costs."""

    nodes: int
    parameters: int
    gmacs: float | None  # None where a shape stays unknown


def count(model: ModelProto, height: int, width: int) -> Counted:
    """Count a model that passed the static rules.

    Args:
        height: rows of the declared input.
        width: columns of the declared input.

    Returns:
        Nodes with function calls expanded, values used as weights (`evaluator.gate.parameters`),
        and multiply-accumulates in 1e9 at batch 1 (`evaluator.gate.macs`).
    """
    seen = survey(model)
    nodes = seen.expanded(None, 1 << 62)
    return Counted(nodes, parameters(seen), cost(lighten(model, height, width)).gmacs)
