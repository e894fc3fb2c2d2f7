"""Undo the inlining of an operator whose body is one node: CastLike is a Cast.

Such a body leaves no inlined names behind, so the call is known by the node of the file that made the same value. It
matters to placement because the call has no kernel in the first round: a shape chain runs through it to all readers.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.schemas import canonical_domain

from .region import PlannedNode


def as_called(node: PlannedNode, originals: Mapping[str, ir.Node], values: Mapping[str, ir.Value]) -> PlannedNode:
    """The call that a node is the body of, with the node as its expansion; else the node itself."""
    name = next((v.name or "" for v in node.outputs_named()), "")
    original = _maker(name, originals)
    if original is None or node.expansion or node.op_type in (original.op_type, originals[name].op_type):
        return node
    if not _is_function(original.op_type, original.domain):
        return node
    named = [values.get(v.name or "") for v in original.inputs if v is not None]
    return PlannedNode(
        name=original.name or "",
        op_type=original.op_type,
        domain=canonical_domain(original.domain),
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


@functools.cache
def _is_function(op_type: str, domain: str) -> bool:
    import onnx

    if canonical_domain(domain) or not onnx.defs.has(op_type):
        return False
    schema = onnx.defs.get_schema(op_type)
    return bool(schema.has_function or schema.has_context_dependent_function)
