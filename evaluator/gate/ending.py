"""The end of a network: whether something after its last layers bends values into 0 to 1.

Logits are taken to a probability by the evaluator. A network that has done so itself, and is
declared to give logits, would be scored with every pixel a lesion.
"""

from __future__ import annotations

from evaluator.gate.operators import ALLOWED
from evaluator.gate.survey import Survey
from evaluator.gate.work import PRODUCTS

_BENDING = """
And ArgMax ArgMin Ceil Clip Equal Erf Exp Floor Greater GreaterOrEqual HardSigmoid Hardmax If IsNaN
Less LessOrEqual LinearClassifier Not OneHot Or QLinearSigmoid QLinearSoftmax Round SVMClassifier
Sigmoid Sign Softmax Tanh TreeEnsembleClassifier TreeEnsembleRegressor Where Xor
"""
_BENDS = frozenset(_BENDING.split())
_QUANTISED = ("ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "QGemm", "QLinearConv")
_LAYERS = frozenset(PRODUCTS).union(_QUANTISED, ["QLinearMatMul", "MatMulIntegerToFloat"]) - _BENDS


def is_bent(seen: Survey) -> bool:
    """Whether a bending operator, or a local function, lies between a layer and the output.

    Complexity: linear in the nodes.
    """
    main = (placed for placed in seen.nodes if not placed.scope.name)
    makers = {name: placed for placed in main for name in placed.node.output}
    waiting = [info.name for info in seen.model.graph.output]
    known = set(waiting)
    while waiting:
        placed = makers.get(waiting.pop())
        if placed is None or placed.node.op_type in _LAYERS:
            continue
        if placed.node.op_type in _BENDS or placed.node.domain not in ALLOWED:
            return True
        fresh = set(placed.node.input) - known
        known |= fresh
        waiting.extend(fresh)
    return False
