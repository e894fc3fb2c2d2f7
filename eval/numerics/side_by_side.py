"""Where two versions of a model part: one graph that holds both, fed alike, and measures every value they share.

Only numbers leave the graph, so that a profile of thousands of activations takes no more memory than the two models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import data_type

from .spread_function import OF_HALF, declare_spread, spread_node

FLOATS = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")
OTHER = "half/"
"""In front of every name of the second model."""

# Of masks that no half precision has changed; their squares must not overflow.
OF_FLOAT = 1e15


@dataclass(frozen=True)
class Spread:
    """One value of both models. `rel_l2`: error of the second against the first over the norm of the first, both within
    the limit and over entries finite in both; `inherited`: the largest such error among its node's inputs; `lost`:
    entries that are NaN or infinite in the second only; `largest`: the largest absolute entry of the first."""

    site: Site
    rel_l2: float
    inherited: float
    lost: int
    largest: float


def profile(
    reference: Model,
    candidate: Model,
    *feeds: Feed,
    isolated: bool = False,
    only: Collection[str] | None = None,
    limit: float = OF_HALF,
    clips: Mapping[str, tuple[float, float]] | None = None,
) -> list[Spread]:
    """Every float value of the main graph that both models have under one name, in the reference's order.

    The candidate is taken as it is: hand in an emulated one to see half precision. `isolated`: it reads the reference's
    values wherever both have one, so that each figure is what is lost since, and errors do not add up. `only`: names of
    the values to measure; `limit`: numbers beyond it are taken for it; `clips`: by name, the range that all readers of
    the candidate's value cut it to, behind which it is compared. Of several feeds each value's worst counts. Raises
    what a runner raises.
    """
    merged, pairs = _merged(reference, candidate, isolated, only, limit, clips or {})
    if not pairs:
        return []
    with on_disk(merged) as path:
        runner = OrtRunner(path, level="none", custom_op_libraries=reference.custom_op_libraries)
        runs = [_spreads(pairs, runner.run(feed.arrays)) for feed in feeds]
        runner.close()
    return [max(each, key=lambda spread: (spread.lost > 0, spread.rel_l2)) for each in zip(*runs, strict=True)]


def _spreads(pairs: Sequence[ir.Value], found: Mapping[str, np.ndarray]) -> list[Spread]:
    figures = {value: found[f"{value.name}/figures"].tolist() for value in pairs}
    errors = {value: float(np.sqrt(f[0] / (f[1] or 1.0))) for value, f in figures.items()}
    return [
        Spread(Site.of_value(value), errors[value], _inherited(value, errors), int(lost), largest)
        for value, (_, _, lost, largest) in figures.items()
    ]


def worst(spreads: list[Spread]) -> Spread | None:
    """Where it goes wrong first: the first value with lost entries, else the one whose node adds most to the error."""
    lost = next((s for s in spreads if s.lost), None)
    return lost or max(spreads, key=lambda s: s.rel_l2 - s.inherited, default=None)


def _inherited(value: ir.Value, errors: dict[ir.Value, float]) -> float:
    node = value.producer()
    return max((errors.get(v, 0.0) for v in node.inputs if v is not None), default=0.0) if node is not None else 0.0


def _merged(
    reference: Model,
    candidate: Model,
    isolated: bool,
    only: Collection[str] | None,
    limit: float,
    clips: Mapping[str, tuple[float, float]],
) -> tuple[Model, list[ir.Value]]:
    """Both graphs in one, on the reference's inputs, with one vector of figures a value as its only outputs."""
    merged, other = reference.clone(), candidate.clone()
    _rename(other)
    inputs = {v.name: v for v in merged.graph.inputs}
    for value in [v for v in other.graph.inputs if v.is_initializer()]:
        other.graph.inputs.remove(value)
    for value in list(other.graph.inputs):
        value.replace_all_uses_with(inputs[(value.name or "").removeprefix(OTHER)])
    types, their_types = infer(merged.ir), infer(other.ir)
    theirs = {v.name: v for node in other.graph for v in node.outputs if their_types.get(v) in FLOATS}
    pairs = [
        value
        for node in merged.graph
        for value in node.outputs
        if node.op_type != "Constant" and types.get(value) in FLOATS and f"{OTHER}{value.name}" in theirs
    ]
    _move(other.graph, merged.graph)
    for key, body in other.ir.functions.items():
        merged.ir.functions.setdefault(key, body)
    for domain, version in other.ir.opset_imports.items():
        merged.ir.opset_imports.setdefault(domain, version)
    if isolated:
        for value in pairs:
            _read_instead(value, theirs[f"{OTHER}{value.name}"], types, their_types)
    pairs = [value for value in pairs if only is None or value.name in only]
    declare_spread(merged, limit)
    merged.graph.outputs.clear()
    for value in pairs:
        found, bounds = theirs[f"{OTHER}{value.name}"], clips.get(value.name or "")
        node = spread_node(value, _clipped(merged.graph, found, bounds) if bounds else found)
        merged.graph.append(node)
        merged.graph.outputs.append(node.outputs[0])
    return merged, pairs


def _clipped(graph: ir.Graph, value: ir.Value, bounds: tuple[float, float]) -> ir.Value:
    """A float32 value cut to a range."""
    for op_type, bound in zip(("Max", "Min"), bounds, strict=True):
        name = f"{value.name}/{op_type.lower()}"
        limit = ir.Value(name=f"{name}/bound", const_value=ir.tensor(np.array(bound, np.float32)))
        graph.register_initializer(limit)
        node = ir.Node("", op_type, [value, limit], name=name)
        node.outputs[0].name = name
        graph.append(node)
        value = node.outputs[0]
    return value


def _read_instead(value: ir.Value, other: ir.Value, types: ElementTypes, their_types: ElementTypes) -> None:
    """Let all readers of `other` read `value`, in the type of `other`."""
    if not other.uses():
        return
    source, kind = value, their_types.get(other) or ""
    if types.get(value) != kind:
        cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", data_type(kind))], name=f"{other.name}/read")
        cast.outputs[0].name = cast.name
        producer = other.producer()
        assert producer is not None
        producer.append(cast)
        source = cast.outputs[0]
    other.replace_all_uses_with(source)


def _rename(model: Model) -> None:
    for graph in model.graphs():
        # an initializer may be an input as well (IR 3); nameless nodes may all be so
        values = dict.fromkeys([*graph.inputs, *graph.initializers.values(), *(v for n in graph for v in n.outputs)])
        for value in values:
            if value.name:
                value.name = OTHER + value.name
        for node in graph:
            if node.name:
                node.name = OTHER + node.name


def _move(source: ir.Graph, destination: ir.Graph) -> None:
    source.outputs.clear()
    for name, value in list(source.initializers.items()):
        del source.initializers[name]
        destination.register_initializer(value)
    for node in list(source):
        source.remove(node)
        destination.append(node)
