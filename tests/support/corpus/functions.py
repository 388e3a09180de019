"""Models of functions that hand an attribute on to each other."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper

from tests.support.corpus.honest import OPSET, model_of
from tests.support.corpus.hostile import node

TEXT = int(TensorProto.STRING)


def _refers(made: onnx.NodeProto, attribute: str, to: str) -> onnx.NodeProto:
    made.attribute.add(name=attribute, ref_attr_name=to, type=AttributeProto.INT)
    return made


def _function(label: str, body: onnx.NodeProto, **changes: Any) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("evil", 1)]
    return helper.make_function("evil", label, ["a"], ["b"], [body], imports, **changes)


def nested_casts(depth: int, attribute: str, operator: str, *, default: bool) -> ModelProto:
    """`depth` functions inside each other, the innermost with a cast to text.

    Args:
        attribute: the name of the type, which the outermost has by default or from its call.
    """
    functions = [
        _function("F0", _refers(node(operator, "a", "b"), attribute, "kind0"), attributes=["kind0"])
    ]
    for level in range(1, depth):
        call = helper.make_node(f"F{level - 1}", ["a"], ["b"], domain="evil")
        body = _refers(call, f"kind{level - 1}", f"kind{level}")
        functions.append(_function(f"F{level}", body, attributes=[f"kind{level}"]))
    outer = f"kind{depth - 1}"
    call = helper.make_node(f"F{depth - 1}", ["x"], ["y"], "call", domain="evil")
    if default:
        functions[-1].ClearField("attribute")
        functions[-1].attribute_proto.append(helper.make_attribute(outer, TEXT))
    else:
        call.attribute.append(helper.make_attribute(outer, TEXT))
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("evil", 1)]
    return model_of([call], opset_imports=imports, functions=functions)
