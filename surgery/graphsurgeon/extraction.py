"""Extraction: a part of a model that runs alone. Its border is found, then the graph is cut there.

Weights, and what is computed from nothing but weights, come along; every other value that crosses the border is an
input or an output of the part, under the name it has in the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Site, scope_of
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.graphsurgeon.script import Script
from onnxfix.surgery.sites.half.block_list import in_scope, near_scopes
from onnxfix.surgery.sites.reach import reached

Dims = Sequence[int | str | None]


@dataclass(frozen=True)
class Border:
    """Names of the values at which a part begins and ends."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def border_of_scope(model: Model, pattern: str) -> Border:
    """The border around all nodes of a torch module, by a pattern as `--block-scope` takes it. Raises OnnxfixError."""
    caught = {node: None for node in model.graph if in_scope(scope_of(node), pattern)}
    for node in model.graph:
        inside = next((n for n in _inner(node) if in_scope(scope_of(n), pattern)), None)
        if inside is not None and node not in caught:
            _refuse_body(f"scope {scope_of(inside)}", node)
    if not caught:
        instead = near_scopes(pattern, model, f"name {arg('inputs')} and {arg('outputs')}")
        raise OnnxfixError(f"{arg('scope', pattern)} catches no node of {model.path.name}", instead)
    caught = _with_between(model, caught)
    fixed = _constant_values(model)
    made = {value for node in caught for value in node.outputs}
    outside = {v for node in model.graph if node not in caught for v in _reads(node, model)}
    inputs = [
        v for n in caught for v in _reads(n, model) if v not in made and v not in fixed and not v.is_initializer()
    ]
    outputs = [v for v in made if v not in fixed and (v in outside or v.is_graph_output())]
    if not outputs:
        raise OnnxfixError(
            f"nothing that {arg('scope', pattern)} computes is read outside it", f"name {arg('outputs')}"
        )
    order = {value: i for i, value in enumerate(v for node in model.graph for v in node.outputs)}
    return _checked(model, list(dict.fromkeys(inputs)), sorted(outputs, key=lambda v: order[v]))


def _with_between(model: Model, caught: Mapping[ir.Node, None]) -> dict[ir.Node, None]:
    """Nodes without a scope, such as optimisers make, belong to one when they lie between two nodes of it."""
    made = {value for node in caught for value in node.outputs}
    behind = []
    for node in model.graph:
        if not scope_of(node) and any(v in made for v in _reads(node, model)):
            behind.append(node)
            made.update(node.outputs)
    read = {value for node in caught for value in _reads(node, model)}
    between = set(caught)
    for node in reversed(behind):
        if any(v in read for v in node.outputs):
            between.add(node)
            read.update(_reads(node, model))
    return {node: None for node in model.graph if node in between}


def border_of_names(model: Model, inputs: Sequence[str], outputs: Sequence[str]) -> Border:
    """The border between named values; inputs of the model that are needed besides are added. Raises OnnxfixError."""
    starts = [_value(model, name) for name in dict.fromkeys(inputs)]
    ends = [_value(model, name) for name in dict.fromkeys(outputs)] or list(model.graph.outputs)
    for value in ends:
        if value.producer() is None or value in starts:
            raise OnnxfixError(f"{value.name} cannot be an output: it is an input", "name what a node makes")
    reached = _reached(model, ends, set(starts))
    idle = [str(v.name) for v in starts if v not in reached]
    if idle:
        raise OnnxfixError(f"{', '.join(idle)} is not read on the way to {', '.join(outputs)}", "leave it out")
    more = [v for v in model.graph.inputs if v in reached and v not in starts and not v.is_initializer()]
    return _checked(model, [*starts, *more], ends)


def cut(model: Model, border: Border, declared: Mapping[str, tuple[np.dtype[Any], Dims]]) -> Model:
    """The part within a border, over the model's own weights. `declared`: dtype and dimensions of its interface."""
    import onnx_graphsurgeon as gs

    def surgery(graph: Any) -> None:
        tensors = graph.tensors()
        inputs = [gs.Variable(name, *declared[name]) for name in border.inputs]
        for value in inputs:
            old = tensors[value.name]
            for reader in list(old.outputs):
                reader.inputs = [value if tensor is old else tensor for tensor in reader.inputs]
            old.name = f"{old.name} outside"  # not taken from its node, whose other outputs would move up
        graph.inputs = inputs
        graph.outputs = [tensors[name] for name in border.outputs]
        for value in graph.outputs:
            value.dtype, value.shape = declared[value.name]
        graph.cleanup()
        used = {(n.domain, n.op) for inner in (graph, *graph.functions) for n in _all_nodes(inner)}
        graph.functions = [f for f in graph.functions if (f.domain, f.name) in used]

    part = model.clone()
    Script("extract", surgery).apply(Editor(part, "extract"))
    for name, value in list(part.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del part.graph.initializers[name]
    return part


def _all_nodes(graph: Any) -> Iterator[Any]:
    for inner in (graph, *graph.subgraphs(recursive=True)):
        yield from inner.nodes


def _checked(model: Model, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> Border:
    types = infer(model.ir).of
    for value in (*inputs, *outputs):
        kind = types.get(value, "tensor")
        if not kind.startswith("tensor"):
            raise OnnxfixError(f"{value.name} at the border is a {kind}, which no input file holds", "cut elsewhere")
    return Border(tuple(str(v.name) for v in inputs), tuple(str(v.name) for v in outputs))


def _value(model: Model, name: str) -> ir.Value:
    values = {v.name: v for v in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)) if v.name}
    if name in model.graph.initializers:
        raise OnnxfixError(f"{name} is a weight, which a part brings along", "name a value that a node makes")
    if name in values:
        return values[name]
    for node in model.graph:
        if any(v.name == name for inner in _inner(node) for v in inner.outputs):
            _refuse_body(name, node)
    raise OnnxfixError(f"{model.path.name} has no value {name}", _near(name, map(str, values)))


def _refuse_body(what: str, owner: ir.Node) -> None:
    raise OnnxfixError(
        f"{what} lies in a body of {Site.of_node(owner)}, which runs only with it: no part can be cut from there",
        "cut around that node",
    )


def _near(wanted: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4) or names[len(names) // 2 :][:1]
    return f"near it are {', '.join(near)}" if near else "this file names none"


def _inner(node: ir.Node) -> Iterator[ir.Node]:
    for body in _bodies(node):
        yield from body.all_nodes()


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) and not attribute.is_ref():
            yield from [attribute.value] if attribute.type == ir.AttributeType.GRAPH else attribute.value


def _reads(node: ir.Node, model: Model) -> Iterator[ir.Value]:
    """Values of the main graph that a node or a body of it reads."""
    inner = (v for n in _inner(node) for v in n.inputs)
    ends = (v for body in _bodies(node) for v in body.outputs)
    for value in (*node.inputs, *inner, *ends):
        if value is not None and value.graph is model.graph:
            yield value


def _constant_values(model: Model) -> set[ir.Value]:
    """Values that depend on weights alone, and so are the same on every input."""
    fixed: set[ir.Value] = set()
    for node in model.graph:
        drawn = node.op_type.startswith("Random")
        if not drawn and all(v in fixed or v.is_initializer() for v in _reads(node, model)):
            fixed.update(node.outputs)
    return fixed


def _reached(model: Model, ends: Iterable[ir.Value], stops: set[ir.Value]) -> set[ir.Value]:
    """All values that others are computed from, those in `stops` with nothing behind them."""

    def sources(value: ir.Value) -> Iterable[ir.Value]:
        producer = value.producer()
        return _reads(producer, model) if producer is not None and value not in stops else ()

    return set(reached(ends, sources))
