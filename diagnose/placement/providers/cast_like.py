"""Undo the inlining of CastLike, the one operator whose body is a single node, a Cast.

Such a body leaves no inlined names behind, so the call is known by the node of the file that made the same value. It
matters to placement because CastLike has no kernel in the first round: a shape chain runs through it to all readers.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.diagnose.placement.region import PlannedNode


def as_called(node: PlannedNode, originals: Mapping[str, ir.Node], values: Mapping[str, ir.Value]) -> PlannedNode:
    """The CastLike that a node is the body of, with the node as its expansion; else the node itself."""
    if node.op_type != "Cast" or node.expansion:
        return node
    original = _maker(next((v.name or "" for v in node.outputs_named()), ""), originals)
    if original is None or original.op_type != "CastLike":
        return node
    named = [values.get(v.name or "") for v in original.inputs if v is not None]
    return PlannedNode(
        name=original.name or "",
        op_type=original.op_type,
        domain="",
        inputs=tuple(dict.fromkeys([*node.inputs, *(v for v in named if v is not None)])),
        outputs=node.outputs,
        attributes=original.attributes,
        order=node.order,
        expansion=(node,),
    )


def _maker(name: str, originals: Mapping[str, ir.Node]) -> ir.Node | None:
    """The node of the file that made a value; past Identity, which the optimiser takes out, passing on its name."""
    node = originals.get(name)
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        node = originals.get(node.inputs[0].name or "")
    return node
