"""Model-local functions → their bodies, by onnx-ir's inliner, which takes functions of the model's own versions only.

A function imports operator sets for itself. ONNX Runtime 1.31 reads its body by those of the model all the same: a
Softmax in a function of operator set 11 goes along one axis in a model of 18. So the body is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes import common

from onnxfix.nouns.errors import OnnxfixError

from . import schemas
from .opening import nodes
from .operators import BODIES, bodies, graphs, opset


def inline(model: ir.Model) -> None:
    """Replace every call by the function's body, in place. Raises OnnxfixError where that cannot be done, with the
    calls in place, but some functions in other versions."""
    _drop_idle(model)
    for function in model.functions.values():
        for node in function.all_nodes():
            _make_callable(node, model)
        _unify(function, model)
    for node in model.graph.all_nodes():
        _make_callable(node, model)
    common.InlinePass()(model)
    _name_apart(model.graph, _names(model.graph))


def _names(graph: ir.Graph) -> set[str]:
    """Of all values of a graph and of the bodies in it."""
    return {str(value.name) for each in graphs(graph) for value in _values(each)}


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """What a graph gives names to, its bodies left out."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from (value for value in node.outputs if value.name)


def _name_apart(graph: ir.Graph, used: set[str], outer: frozenset[str] = frozenset()) -> None:
    """Give values of a body other names where one around it has theirs: what was a function's may be one now, and ONNX
    allows no name twice where both are seen. onnx-ir's inliner looks at the graph of the call alone."""
    for value in list(_values(graph)):
        if str(value.name) in outer:
            wanted, count = str(value.name), 1
            while f"{wanted}_{count}" in used:
                count += 1
            value.name = f"{wanted}_{count}"
            used.add(value.name)
    seen = outer | {str(value.name) for value in _values(graph)}
    for node in graph:
        for body in bodies(node):
            _name_apart(body, used, seen)


def _drop_idle(model: ir.Model) -> None:
    """Functions that nobody calls go in any case, and may call themselves."""
    called, waiting = set(), [model.graph]
    while waiting:
        for node in waiting.pop().all_nodes():
            key = node.op_identifier()
            if key in model.functions and key not in called:
                called.add(key)
                waiting.append(model.functions[key].graph)
    for key in [key for key in model.functions if key not in called]:
        del model.functions[key]


def _make_callable(node: ir.Node, model: ir.Model) -> None:
    function = model.functions.get(node.op_identifier())
    if function is None:
        return
    if len(node.outputs) < len(function.outputs):
        node.resize_outputs(len(function.outputs))
    parameters = [name for name, given in node.attributes.items() if given.type in BODIES]
    if parameters:
        raise OnnxfixError(
            f"the function {function.name} takes a graph as its attribute '{parameters[0]}', which cannot be put into "
            "its body",
            "export without local functions",
        )


def _unify(function: ir.Function, model: ir.Model) -> None:
    """Let a function import what the model imports."""
    for domain, version in list(function.opset_imports.items()):
        wanted = opset(model.opset_imports, domain, default=version)
        if wanted != version:
            _require_readable(function, domain, version, wanted)
        function.opset_imports[domain] = wanted
        if domain not in model.opset_imports and schemas.canonical_domain(domain) not in model.opset_imports:
            model.opset_imports[domain] = version


def _require_readable(function: ir.Function, domain: str, version: int, wanted: int) -> None:
    """Raise OnnxfixError where an operator of a body is not what the model's version takes."""
    references = frozenset(function.attributes)
    for node in function.all_nodes():
        if schemas.canonical_domain(node.domain) != schemas.canonical_domain(domain):
            continue
        schema = schemas.find(node.op_type, domain, wanted)
        wrong = next(nodes.faults(ir.to_proto(node), schema, references), "") if schema else ""
        if wrong:
            raise OnnxfixError(
                f"the function {function.name} imports operator set {version} and is read by the model's {wanted}: "
                f"{node.op_type} {wrong}",
                "export both in one operator set",
            )
