"""forecast: which provider will run each node of a model, and which values ONNX Runtime will copy, without a GPU.

Follows ONNX Runtime's own steps: the graph after basic optimisations (boundary), operators inlined for the CPU put back
(inlined), provider per node (partition), copies (memcpy), and for each copy the node to blame (causes). Later fusions
(extended, all) rarely change copies: 2 of about 1,350 random graphs. In models with local functions ONNX Runtime
inlines before it optimises, so an operator that only the CPU lacks may be folded here and not there: 5 of 341 graphs.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix import element_types
from onnxfix.model import Model
from onnxfix.plan import DEFAULT_SIZES, NodePlacement, Plan, Sizes
from onnxfix.target import CUDA, Target

from .boundary import Boundary, Pending, boundary
from .compiler import CrashedError
from .copies import copies, label, output
from .cuda_graph import obstacles
from .duplicate_casts import remove_duplicate_casts
from .flops import flops
from .fusion import Fusions, fusions
from .inlined import regroup
from .inserted_casts import insert_casts
from .lookup import Lookup
from .memcpy import transfers
from .partition import partition
from .provenance import Origins, scopes
from .region import PlannedNode, Region, regions_of
from .tensorrt import OperatorList


def forecast(model: Model, target: Target, sizes: Sizes = DEFAULT_SIZES, pending: Pending | None = None) -> Plan:
    """The plan of ONNX Runtime for a model on a target. `sizes`: the batch that the bytes of copies are stated for.

    `pending`: the boundary graph of this model, if it is in the making already.
    """
    if target.table_provider is None:
        note = f"ONNX Runtime asks {target.ep_names()[0]} itself at load time: there is no table to forecast from"
        return Plan("unknown", note=note)
    origins = Origins.of(model.nodes())
    at = pending.result() if pending is not None else boundary(model)
    lookup = Lookup(target.table, element_types.infer(at.model), at.model.opset_imports)
    region = regions_of(at.model.graph)
    regroup(region, origins.by_output | _function_nodes(model), target.table, shared=bool(model.ir.functions))
    providers = tuple(target.ep_names())
    partition(region, providers, lookup, inlined_first=bool(model.ir.functions))
    where = scopes(region, origins)
    placed = [node for inner in region.walk() for node in inner.nodes]
    kept = {v.name or "" for n in placed for v in (*n.inputs, *n.outputs) if v is not None}
    nodes = tuple(_placement(n, where, origins, lookup, kept) for n in placed)
    insert_casts(region, lookup)
    remove_duplicate_casts(region, lookup)
    moved = tuple(transfers(region, CUDA)) if CUDA in providers else ()
    copied = copies(moved, at.model, lookup, where, origins, sizes)
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
        obstacles=obstacles(region, nodes, copied) if target.provider == "cuda" and not at.error else None,
    )


def _fusions(at: Boundary, lookup: Lookup, target: Target, origins: Origins) -> tuple[Fusions, str]:
    """What becomes of the units of a QDQ graph, and why that is unknown.

    TensorRT reads QuantizeLinear and DequantizeLinear itself.
    """
    if at.error or at.approximate or target.provider not in ("cpu", "cuda"):
        return Fusions(), ""
    try:
        return fusions(at.model, lookup.types, target.ep_names()[0], origins), ""
    except (CrashedError, TimeoutError) as error:
        return Fusions(), f"what ONNX Runtime fuses of the quantization is unknown: {error or 'it gave no answer'}"


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
        lacks_kernel=bool(node.reason) and node.provider != CUDA and node.root is None and bool(lookup.schema(node)),
    )


def _notes(target: Target, note: str, region: Region, lookup: Lookup) -> Iterator[str]:
    table = target.table
    if note:
        yield note
    if not table.exact:
        yield f"kernel table of ONNX Runtime {table.version} stands for {table.requested}"
    if not table.followed:
        yield f"the steps are those of ONNX Runtime 1.30 and 1.31: {table.requested} may place some nodes differently"
    if target.provider == "tensorrt":
        yield OperatorList.load().note(lookup.opset(""))
    custom = sorted({n.op_type for r in region.walk() for n in r.nodes if lookup.schema(n) is None})
    if custom:
        yield f"custom operators are taken to run on the CPU: {', '.join(custom)}"
