"""Model-local functions → their bodies, by onnx-ir's inliner, which takes functions of the model's own versions only.

A function imports operator sets for itself, and ONNX Runtime reads its body by these. A body whose operators have the
same definition in the model's version stays as it is; another one is written anew by onnx's version converter.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes import common

from onnxfix.nouns.errors import OnnxfixError, one_line

from . import schemas
from .operators import BODIES, opset


def inline(model: ir.Model) -> None:
    """Replace every call by the function's body, in place. Raises OnnxfixError where that cannot be done, with the
    calls in place, but some functions in other versions."""
    for function in model.functions.values():
        for node in function.all_nodes():
            _make_callable(node, model)
        _unify(function, model)
    for node in model.graph.all_nodes():
        _make_callable(node, model)
    common.InlinePass()(model)


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
        if wanted != version and (other := sorted(set(_of_other_meaning(function, domain, version, wanted)))):
            _convert(function, domain, wanted, other)
        function.opset_imports[domain] = wanted
        if domain not in model.opset_imports and schemas.canonical_domain(domain) not in model.opset_imports:
            model.opset_imports[domain] = wanted


def _of_other_meaning(function: ir.Function, domain: str, version: int, wanted: int) -> Iterator[str]:
    """Operators of a body whose definition is not the same in both versions."""
    for node in function.all_nodes():
        if schemas.canonical_domain(node.domain) == schemas.canonical_domain(domain):
            found = [schemas.find(node.op_type, domain, each) for each in (version, wanted)]
            if any(found) and (None in found or found[0].since != found[1].since):  # type: ignore[union-attr]
                yield node.op_type


def _convert(function: ir.Function, domain: str, wanted: int, other: list[str]) -> None:
    """Write a body in another version. Raises OnnxfixError where onnx's converter fails."""
    import onnx
    from onnx import version_converter

    version = function.opset_imports[domain]
    try:
        parameters = [a for n in function.all_nodes() for a in n.attributes.values() if a.is_ref()]
        if schemas.canonical_domain(domain) or parameters:
            raise ValueError("it converts ai.onnx, in functions without attributes")
        written = ir.to_proto(function)
        formals = [[onnx.ValueInfoProto(name=name) for name in names] for names in (written.input, written.output)]
        graph = onnx.helper.make_graph(list(written.node), "body", *formals)
        imports = [onnx.helper.make_opsetid(each.domain, each.version) for each in written.opset_import]
        made = version_converter.convert_version(onnx.helper.make_model(graph, opset_imports=imports), wanted)
        del written.node[:]
        written.node.extend(made.graph.node)
        changed = ir.from_proto(written)
    except Exception as error:  # onnx's converter raises RuntimeError, ValueError and protobuf's own
        raise OnnxfixError(
            f"the function {function.name} is written in version {version} of {domain or 'ai.onnx'} and the model in "
            f"{wanted}, where {other[0]} is another operator; onnx's version converter says: {one_line(error)}",
            "export both in one version",
        ) from error
    _take_body(function, changed)


def _take_body(function: ir.Function, other: ir.Function) -> None:
    """Put another function's nodes in the place of a function's own."""
    before, after = function.graph, other.graph
    new = list(after)
    after.outputs.clear()
    after.remove(new)
    replaced = {str(v.name): v for node in new for v in node.outputs}
    for old, value in zip(other.inputs, function.inputs, strict=True):
        old.replace_all_uses_with(value)
    outputs = [replaced.get(str(v.name), v) for v in function.outputs]
    before.outputs[:] = outputs
    before.remove(list(before))
    before.extend(new)
