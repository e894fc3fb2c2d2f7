"""forecast: which provider will run each node of a model, and which values ONNX Runtime will copy, without a GPU.

Follows ONNX Runtime's own steps: the graph after basic optimisations (boundary), operators inlined for the CPU put back
(inlined), provider per node (partition), copies (memcpy), and for each copy the node to blame (causes). Later fusions
(extended, all) rarely change copies: 2 of about 1,350 random graphs. In models with local functions ONNX Runtime
inlines before it optimises, so an operator that only the CPU lacks may be folded here and not there: 5 of 341 graphs.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.diagnose.placement.copies.copies import copies, label, output
from onnxfix.diagnose.placement.copies.cuda_graph import obstacles
from onnxfix.diagnose.placement.copies.duplicate_casts import remove_duplicate_casts
from onnxfix.diagnose.placement.copies.inserted_casts import insert_casts
from onnxfix.diagnose.placement.copies.memcpy import transfers
from onnxfix.diagnose.placement.fusion.fusion import Fusions, fusions
from onnxfix.diagnose.placement.optimised.boundary import Boundary, Pending, boundary
from onnxfix.diagnose.placement.providers.forecaster import forecasters
from onnxfix.diagnose.placement.providers.inlined import regroup
from onnxfix.diagnose.placement.providers.partition import partition
from onnxfix.diagnose.placement.shapes.flops import flops
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import DEFAULT_SIZES, NodePlacement, Plan, Sizes
from onnxfix.nouns.process.children import CrashedError
from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer

from .lookup import Lookup
from .origins import Origins, scopes
from .region import PlannedNode, Region, regions_of


def forecast(model: Model, target: Target, sizes: Sizes = DEFAULT_SIZES, pending: Pending | None = None) -> Plan:
    """The plan of ONNX Runtime for a model on a target. `sizes`: the batch that the bytes of copies are stated for.

    `pending`: the boundary graph of this model, if it is in the making already.
    """
    if target.tabled is None:
        note = f"ONNX Runtime asks {target.ep_names()[0]} itself at load time: there is no table to forecast from"
        return Plan("unknown", note=note)
    origins = Origins.of(model.nodes())
    at = pending.result() if pending is not None else boundary(model)
    lookup = Lookup(target.table, infer(at.model), at.model.opset_imports)
    region = regions_of(at.model.graph)
    regroup(region, origins.by_output | _function_nodes(model), target.table, shared=bool(model.ir.functions))
    partition(region, forecasters(target), lookup, inlined_first=bool(model.ir.functions))
    where = scopes(region, origins)
    placed = [node for inner in region.walk() for node in inner.nodes]
    kept = {v.name or "" for n in placed for v in (*n.inputs, *n.outputs) if v is not None}
    nodes = tuple(_placement(n, where, origins, lookup, kept) for n in placed)
    insert_casts(region, lookup)
    remove_duplicate_casts(region, lookup)
    copied = copies(tuple(transfers(region)), at.model, lookup, where, origins, sizes)
    found, unasked = _fusions(at, lookup, target, origins)
    return Plan(
        engine="forecast",
        nodes=nodes,
        copies=copied,
        failures=tuple(node.name for node in nodes if not node.provider),
        note="; ".join(filter(None, (*_notes(target, at.note, region, lookup), unasked))),
        load_error=at.error,
        approximate=at.approximate,
        sizes=sizes,
        unfused=found.unfused,
        fused=found.fused,
        flops=None if at.error else flops(at.model, sizes, origins.shapes()),
        obstacles=obstacles(region, nodes, copied) if target.provider.waiting is not None and not at.error else None,
    )


def _fusions(at: Boundary, lookup: Lookup, target: Target, origins: Origins) -> tuple[Fusions, str]:
    """What becomes of the units of a QDQ graph, and why that is unknown."""
    if at.error or at.approximate or not target.provider.fuses_pairs:
        return Fusions(), ""
    try:
        return fusions(at.model, lookup.types, target.provider, origins), ""
    except (CrashedError, TimeoutError) as error:
        return Fusions(), f"what ONNX Runtime fuses of the quantization is unknown: its process {error}"


def _function_nodes(model: Model) -> dict[str, ir.Node]:
    """Nodes of local functions, under names that no value of a graph has: they tell which operators the model calls."""
    bodies = model.ir.functions.items()
    return {f"{key}/{v.name}": n for key, function in bodies for n in function for v in n.outputs if v.name}


def _placement(
    node: PlannedNode, where: dict[PlannedNode, str], origins: Origins, lookup: Lookup, kept: set[str]
) -> NodePlacement:
    return NodePlacement(
        name=label(node),
        op_type=node.op_type,
        provider=node.provider,
        reason=node.reason,
        scope=where.get(node, ""),
        output=output(node),
        source=origins.sources(node, kept),
        # what TensorRT refuses and CUDA takes has a reason and a kernel
        lacks_kernel=bool(node.reason)
        and not placed_on(node.provider).device
        and node.root is None
        and bool(lookup.schema(node)),
        reads=tuple(v.name for v in (*node.inputs, *node.captured) if v is not None and v.name),
        makes=tuple(v.name for v in node.outputs if v.name),
        dtype=lookup.type_of(node.outputs[0]) if node.outputs else "",
    )


def _notes(target: Target, note: str, region: Region, lookup: Lookup) -> Iterator[str]:
    table = target.table
    if note:
        yield note
    if not table.exact:
        yield f"kernel table of ONNX Runtime {table.version} stands for {table.requested}"
    if not table.followed:
        yield f"the steps are those of ONNX Runtime 1.30 and 1.31: {table.requested} may place some nodes differently"
    yield from filter(None, (each.note(lookup) for each in forecasters(target)))
    custom = sorted({n.op_type for r in region.walk() for n in r.nodes if lookup.schema(n) is None})
    if custom:
        yield f"custom operators are taken to run on the CPU: {', '.join(custom)}"
