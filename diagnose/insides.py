"""What rules look at: the graph with the bodies of its functions in place of their calls, and where a finding is then.

ONNX Runtime inlines local functions before it does anything else, and so do the plan and its FLOPs; rules and coverage
see the same nodes. A function is told of once, with the number of its calls; a branch of an If by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.finding import Finding
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Site, label
from onnxfix.nouns.types.inlining import inline
from onnxfix.nouns.types.operators import BODIES

# Marks of a node of a function, which travel with it into the graph.
_FUNCTION, _LABEL = "onnxfix.function", "onnxfix.label"


@dataclass(frozen=True)
class _Inside:
    """Where a node stands: in a function, under the name it has there, or in a body of another node."""

    function: str = ""
    called: str = ""
    body: str = ""


def inlined(model: Model) -> Model:
    """The model with every function in place of its calls; itself where it has none, or they cannot be inlined."""
    if not model.ir.functions or model.faults:
        return model
    try:
        copy = model.clone()
        for function in copy.ir.functions.values():
            for node in function.all_nodes():
                node.metadata_props[_FUNCTION] = function.name
                node.metadata_props[_LABEL] = label(node)
        inline(copy.ir)
    except (OnnxfixError, ValueError, RuntimeError, KeyError):  # the runtime has the last word on such a model
        return model
    return copy


def placed(findings: Iterable[Finding], model: Model) -> list[Finding]:
    """Findings of an `inlined` model with where they are in words; those of all calls of a function are one."""
    where = dict(_insides(model.graph, ""))
    merged: dict[object, list[Finding]] = {}
    for number, finding in enumerate(findings):
        inside = where.get(finding.site.node)
        if inside is None:
            merged[number] = [finding]
        elif inside.function:
            key = (finding.code, finding.severity, inside.function, inside.called)
            merged.setdefault(key, []).append(finding)
        else:
            merged[number] = [replace(finding, message=f"{finding.message} (in {inside.body})")]
    return [_as_one(found, where.get(found[0].site.node)) for found in merged.values()]


def _as_one(found: list[Finding], inside: _Inside | None) -> Finding:
    first = found[0]
    if inside is None or not inside.function:
        return first
    times = f", called {len(found)} times" if len(found) > 1 else ""
    where = f"in function {inside.function}{times}{f', in {inside.body}' if inside.body else ''}"
    evidence = {**first.evidence, "function": inside.function, "calls": len(found)}
    site = Site(first.site.scope, first.site.op_type, inside.called, first.site.value, first.site.call)
    return replace(first, site=site, message=f"{first.message} ({where})", evidence=evidence)


def _insides(graph: ir.Graph, body: str) -> Iterator[tuple[str, _Inside]]:
    for node in graph:
        function = node.metadata_props.get(_FUNCTION) or ""
        if function or body:
            yield label(node), _Inside(function, node.metadata_props.get(_LABEL) or "", body)
        for name, given in node.attributes.items():
            of_node = f"the {name.replace('_', ' ')} of {node.op_type} {label(node)}"
            if given.type in BODIES and not given.is_ref():
                for inner in [given.value] if given.type == ir.AttributeType.GRAPH else given.value:
                    yield from _insides(inner, of_node)
