"""Parts of the main graph that somebody else's fp16 converter must not touch, each free of paths that leave and return.

The converters know no types: they cast around single nodes by operator or name. What has to stay in fp32 must therefore
be out of their sight as a whole, and a part can only be taken out of a graph if nothing between its nodes stays behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import bodies
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.disjoint_sets import root

from .half_plan import HalfPlan, accepts_half, schema_of

# What onnxconverter-common 1.16 and onnxruntime.transformers 1.31 leave in fp32 unless told otherwise. They cast around
# each such node: with two readers of one value, two casts make one name, or the casts are named after unnamed nodes.
BLOCKED_BY_LIBRARIES = frozenset(
    "ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder "
    "LinearClassifier LinearRegressor Normalizer OneHotEncoder RandomUniformLike SVMClassifier SVMRegressor Scaler "
    "TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap NonMaxSuppression TopK RoiAlign Resize Range "
    "CumSum Min Max Upsample".split()
)


@dataclass(frozen=True)
class Island:
    """Nodes of the main graph in graph order; bodies of control flow belong to their node.

    `fp32` says that they compute in fp32. Otherwise it is a single node that computes in half, but that a converter
    would leave in fp32, or of whose inputs it would convert one that must stay fp32.
    """

    nodes: tuple[ir.Node, ...]
    fp32: bool


def find(model: Model, types: ElementTypes, plan: HalfPlan) -> list[Island]:
    """All islands of a plan, fp32 ones first. Nodes that compute in half and give no trouble are in none."""
    owner = owners(model)
    kept = {owner[node] for node in plan.keep if _touches_float(node, types) and node.op_type != "Constant"}
    kept |= {node for node in model.graph if bodies(node)}
    _absorb_readers(model.graph, types, kept)
    alone = [n for n in model.graph if n not in kept and _needs_hiding(n, model, types, plan.half)]
    return [*(Island(nodes, True) for nodes in _parts(model.graph, kept, owner)), *(Island((n,), False) for n in alone)]


def owners(model: Model) -> dict[ir.Node, ir.Node]:
    """Each node → the node of the main graph in whose bodies it is, or itself."""
    found: dict[ir.Node, ir.Node] = {}
    for node in model.graph:
        found.update((inner, node) for inner in _with_bodies(node))
    return found


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """Values that a node reads from its own graph or further out: its inputs, and what its bodies capture."""
    yield from (v for v in node.inputs if v is not None)
    for body in bodies(node):
        for inner in body:
            yield from (v for v in reads(inner) if v.graph is not body)


def _with_bodies(node: ir.Node) -> Iterator[ir.Node]:
    yield node
    for body in bodies(node):
        for inner in body:
            yield from _with_bodies(inner)


def _touches_float(node: ir.Node, types: ElementTypes) -> bool:
    return any("(float)" in (types.get(v) or "") for v in (*node.inputs, *node.outputs))


def _absorb_readers(graph: ir.Graph, types: ElementTypes, kept: set[ir.Node]) -> None:
    """What makes integers or booleans of fp32 results (a position bucket, a comparison) reads them unrounded."""
    for node in graph:
        if (
            node in kept
            or node.op_type in ("Shape", "Size")
            or any("(float)" in (types.get(v) or "") for v in node.outputs)
        ):
            continue
        floats = [v for v in node.inputs if types.is_float32(v) and constant_tensor(v) is None]
        if floats and all(v is not None and v.producer() in kept for v in floats):
            kept.add(node)


def _needs_hiding(node: ir.Node, model: Model, types: ElementTypes, half: str) -> bool:
    floats = [i for i, v in enumerate(node.inputs) if types.is_float32(v)]
    if not floats:
        return False
    if node.op_type in BLOCKED_BY_LIBRARIES:
        return True
    schema = schema_of(node, model)
    makes_float = any(types.is_float32(v) for v in node.outputs)
    return (
        makes_float and schema is not None and not all(accepts_half(schema, i, "tensor(float)", half) for i in floats)
    )


def _parts(graph: ir.Graph, kept: set[ir.Node], owner: dict[ir.Node, ir.Node]) -> list[tuple[ir.Node, ...]]:
    """Connected kept nodes that are equally often entered from outside on the way to them.

    A path that leaves a part and comes back would have entered once more, so that each part can become one node and
    the graph stays free of cycles.
    """
    level: dict[ir.Node, int] = {}
    first: dict[ir.Node, ir.Node] = {}  # of the same part, towards the part's first node
    for node in graph:
        before = {owner[p] for v in reads(node) if (p := v.producer()) is not None}
        inside = node in kept
        level[node] = max((level[p] + (inside and p not in kept) for p in before), default=0)
        if not inside:
            continue
        first[node] = node
        for other in before & kept:
            if level[other] == level[node]:
                first[root(first, other)] = root(first, node)
    parts: dict[ir.Node, list[ir.Node]] = {}
    for node in first:
        parts.setdefault(root(first, node), []).append(node)
    return [tuple(nodes) for nodes in parts.values()]
