"""The end of a network: whether something after its last layers bends values into 0 to 1.

Logits are taken to a probability by the evaluator. A network that has done so itself, and is
declared to give logits, would be scored with every pixel a lesion.
"""

from __future__ import annotations

from evaluator.gate.survey import Survey, function_key
from evaluator.gate.work import PRODUCTS

_BENDING = """
And ArgMax ArgMin Ceil Clip Equal Erf Exp Floor Greater GreaterOrEqual HardSigmoid Hardmax IsNaN
Less LessOrEqual LinearClassifier Not OneHot Or QLinearSigmoid QLinearSoftmax Round SVMClassifier
Sigmoid Sign Softmax Tanh TreeEnsembleClassifier TreeEnsembleRegressor Where Xor
"""
_BENDS = frozenset(_BENDING.split())
_QUANTISED = ("ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "QGemm", "QLinearConv")
_LAYERS = frozenset(PRODUCTS).union(_QUANTISED, ["QLinearMatMul", "MatMulIntegerToFloat"]) - _BENDS


def is_bent(seen: Survey) -> bool:
    """Whether a bending operator lies between a layer and the output.

    Branches and local functions there count as bending where any of them has such an operator.

    Complexity: linear in the nodes.
    """
    inner = any(each.scope.name and each.node.op_type in _BENDS for each in seen.nodes)
    main = (placed for placed in seen.nodes if not placed.scope.name)
    makers = {name: placed for placed in main for name in placed.node.output}
    waiting = [info.name for info in seen.model.graph.output]
    known = set(waiting)
    while waiting:
        placed = makers.get(waiting.pop())
        if placed is None or placed.node.op_type in _LAYERS:
            continue
        has_inner = placed.node.op_type == "If" or function_key(placed.node) in seen.functions
        if placed.node.op_type in _BENDS or (has_inner and inner):
            return True
        if placed.node.op_type == "If":
            continue  # its one input decides which branch, and gives no value
        fresh = set(placed.node.input) - known
        known |= fresh
        waiting.extend(fresh)
    return False
