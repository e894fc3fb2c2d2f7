"""Basic optimisations in our own approximation, for graphs that ONNX Runtime's optimiser does not come to an end with.

It folds small constants, drops what does nothing and merges what is computed twice. Fusions, which join nodes of one
provider, are left out: they change how many nodes there are, rarely a copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes import common

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.inlining import inline
from onnxfix.nouns.types.operators import BODIES, graphs, is_standard, opset
from onnxfix.nouns.types.type_strings import data_type

# Constants up to this many elements are computed with; larger ones are weights, of which shapes are enough.
SMALL = 1024

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def approximate(model: Model) -> ir.Model:
    """A copy of the file's graph, about as ONNX Runtime would partition it."""
    copy = model.ir.clone()
    with contextlib.suppress(OnnxfixError):  # calls that cannot be inlined stay
        inline(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    _expand_cast_like(copy)
    for graph in list(graphs(copy.graph)):
        for node in list(graph):
            _simplify(graph, node, copy.opset_imports)
    common.CommonSubexpressionEliminationPass()(copy)
    common.RemoveUnusedNodesPass()(copy)
    return copy


def _expand_cast_like(model: ir.Model) -> None:
    """The one operator of which ONNX Runtime puts in the body (a Cast) in every session."""
    types = infer(model)
    for node in model.graph.all_nodes():
        known = types.get(node.inputs[1]) if node.op_type == "CastLike" and is_standard(node) else None
        if known is not None and known.startswith("tensor("):
            node.op_type = "Cast"
            node.attributes.add(ir.AttrInt64("to", data_type(known)))
            node.resize_inputs(1)


def _simplify(graph: ir.Graph, node: ir.Node, imports: dict[str, int]) -> None:
    if not is_standard(node) or any(v.is_graph_output() for v in node.outputs):
        return
    if node.op_type in ("Identity", "Dropout") or _is_idle_cast(node):
        source = node.inputs[0]
        if source is not None and not any(v.uses() for v in node.outputs[1:]):
            node.outputs[0].replace_all_uses_with(source)
            graph.remove(node, safe=True)
        return
    folded = _folded(node, imports)
    if folded is not None:
        value = ir.Value(name=node.outputs[0].name, const_value=folded)
        node.outputs[0].replace_all_uses_with(value)
        graph.remove(node, safe=True)
        graph.register_initializer(value)


def _is_idle_cast(node: ir.Node) -> bool:
    source = node.inputs[0] if node.op_type == "Cast" else None
    to = node.attributes.get("to")
    return source is not None and source.dtype is not None and to is not None and to.as_int() == source.dtype


def _folded(node: ir.Node, imports: dict[str, int]) -> ir.TensorProtocol | None:
    """The result of a node of small constants, None for all others and where the reference evaluator gives up."""
    if len(node.outputs) != 1 or node.op_type in _RANDOM or _has_body(node):
        return None
    tensors = [v.const_value if v is not None and v.is_initializer() else None for v in node.inputs]
    if not tensors or any(t is None or t.size > SMALL or t.dtype == ir.DataType.STRING for t in tensors):
        return None
    arrays = {v.name or "": t.numpy() for v, t in zip(node.inputs, tensors, strict=True) if v is not None and t}
    found = _evaluated(node, arrays, opset(imports))
    return found if found is not None and found.size <= SMALL else None


def _has_body(node: ir.Node) -> bool:
    return any(a.is_ref() or a.type in BODIES for a in node.attributes.values())


def _evaluated(node: ir.Node, arrays: Mapping[str, object], opset: int) -> ir.TensorProtocol | None:
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    formals = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in arrays]
    output = onnx.helper.make_value_info(node.outputs[0].name or "", onnx.TypeProto())
    graph = onnx.helper.make_graph([ir.to_proto(node)], "one", formals, [output])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            (result,) = ReferenceEvaluator(proto).run(None, arrays)
        return ir.tensor(np.asarray(result), name=node.outputs[0].name)
    except Exception:  # whatever it does not implement stays in the graph
        return None
