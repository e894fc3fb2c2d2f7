"""Inference of the type of every value from operator schemas alone; it walks on where runtimes stop at a conflict.

Declared types (`value_info`) are used where the schema leaves a type open and are compared with the inferred one
everywhere else, because exporters and converters are known to leave wrong ones behind.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.nouns.site import Site
from onnxfix.nouns.types.operators import bodies, is_standard, opset

from . import schemas
from .element_types import ElementTypes, TypeConflict
from .op_outputs import OPEN_OUTPUTS
from .type_strings import declared_type, type_string
from .unchanged import once


def infer(model: ir.Model) -> ElementTypes:
    """Infer the type of every value of the main graph and its sub-graphs; function bodies are typed at each call."""
    return once(model.graph, "types", lambda: _inferred(model))


def _inferred(model: ir.Model) -> ElementTypes:
    result = ElementTypes()
    _Inference(model, result).graph(model.graph)
    return result


class _Inference:
    def __init__(
        self, model: ir.Model, result: ElementTypes, inside: frozenset[ir.OperatorIdentifier] = frozenset()
    ) -> None:
        self.model = model
        self.result = result
        self.inside = inside  # functions being expanded: the specification forbids recursion, broken files do not

    def graph(self, graph: ir.Graph) -> None:
        for value in [*graph.inputs, *graph.initializers.values()]:
            declared = declared_type(value)
            if declared and value not in self.result.of:
                self.result.of[value] = declared
        for node in graph:
            self.node(node, graph.opset_imports or self.model.opset_imports)

    def node(self, node: ir.Node, imports: Mapping[str, int]) -> None:
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            self._function(node, function)
            return
        for body in bodies(node):
            if node.op_type in ("Loop", "Scan"):
                _bind_body_inputs(node, body, self.result)
            self.graph(body)
        schema = schemas.find(node.op_type, node.domain, opset(imports, node.domain))
        if schema is None:
            self.result.unknown_ops.append(node)
            self._outputs(node, {})
            return
        bound = self._bind(node, schema)
        self._outputs(node, self._inferred_outputs(node, schema, bound))

    def _function(self, node: ir.Node, function: ir.Function) -> None:
        key = node.op_identifier()
        if key in self.inside:
            self._outputs(node, {})
            return
        local = ElementTypes()
        for formal, actual in zip(function.inputs, node.inputs, strict=False):
            known = self.result.get(actual)
            if known:
                local.of[formal] = known
        inner = _Inference(self.model, local, self.inside | {key})
        for child in function:
            inner.node(child, function.opset_imports)
        site = Site.of_node(node)
        for conflict in local.conflicts:
            where = Site(site.scope, conflict.site.op_type, f"{site.node}/{conflict.site.node}", conflict.site.value)
            self.result.conflicts.append(
                TypeConflict(conflict.kind, where, conflict.variable, conflict.types, conflict.values, conflict.message)
            )
        outputs = {i: t for i, v in enumerate(function.outputs) if (t := local.get(v)) is not None}
        self._outputs(node, outputs)

    def _bind(self, node: ir.Node, schema: schemas.Schema) -> dict[str, str]:
        bound: dict[str, tuple[str, ir.Value]] = {}
        for index, value in enumerate(node.inputs):
            formal = schema.input_formal(index)
            known = self.result.get(value)
            if value is None or formal is None or known is None:
                continue
            if not self._allowed(node, schema, formal, value, known) or not formal.homogeneous:
                continue
            first = bound.setdefault(formal.type_str, (known, value))
            if first[0] != known and formal.type_str in schema.allowed:
                self._conflict(
                    "unify", node, formal.type_str, (first[0], known), (first[1], value),
                    f"type parameter {formal.type_str} of {node.op_type} is bound to {first[0]} "
                    f"({first[1].name}) and {known} ({value.name})",
                )  # fmt: skip
        return {name: known for name, (known, _) in bound.items()}

    def _allowed(
        self, node: ir.Node, schema: schemas.Schema, formal: schemas.Formal, value: ir.Value, known: str
    ) -> bool:
        allowed = schema.allowed.get(formal.type_str, frozenset({formal.type_str}))
        if known in allowed or not known.startswith(("tensor(", "seq(")):
            return True
        self._conflict(
            "refused", node, formal.type_str, (known,), (value,),
            f"{node.op_type} (opset version {schema.since}) does not take {known} as {formal.name} ({value.name})",
        )  # fmt: skip
        return False

    def _inferred_outputs(self, node: ir.Node, schema: schemas.Schema, bound: dict[str, str]) -> dict[int, str]:
        special = OPEN_OUTPUTS.get(node.op_type) if is_standard(node) else None
        found: dict[int, str] = dict(special(node, self.result) if special else {})
        for index in range(len(node.outputs)):
            formal = schema.output_formal(index)
            if index in found or formal is None or not formal.homogeneous:
                continue
            allowed = schema.allowed.get(formal.type_str)
            if allowed is None:
                found[index] = formal.type_str
            elif formal.type_str in bound:
                found[index] = bound[formal.type_str]
            elif len(allowed) == 1:
                found[index] = next(iter(allowed))
        return found

    def _outputs(self, node: ir.Node, inferred: Mapping[int, str]) -> None:
        for index, value in enumerate(node.outputs):
            declared = type_string(value.type)
            made = inferred.get(index)
            if made and declared and made != declared:
                self._conflict(
                    "declared", node, "", (made, declared), (value, value),
                    f"{node.op_type} produces {made} as {value.name}, which the file declares {declared}",
                )  # fmt: skip
            known = made or declared
            if known:
                self.result.of[value] = known

    def _conflict(
        self, kind: str, node: ir.Node, variable: str, types: tuple[str, ...], values: tuple[ir.Value, ...], text: str
    ) -> None:
        names = tuple(v.name or "" for v in values)
        self.result.conflicts.append(TypeConflict(kind, Site.of_node(node), variable, types, names, text))


def _bind_body_inputs(node: ir.Node, body: ir.Graph, result: ElementTypes) -> None:
    """Types of a Loop or Scan body's formal inputs where the file declares none, from the node's own inputs."""
    actual: list[str | None]
    if node.op_type == "Loop":  # body formals: iteration number, condition, loop-carried values
        actual = ["tensor(int64)", "tensor(bool)", *(result.get(v) for v in node.inputs[2:])]
    else:
        actual = [result.get(v) for v in node.inputs]
    for formal, known in zip(body.inputs, actual, strict=False):
        if known and declared_type(formal) is None:
            result.of[formal] = known
