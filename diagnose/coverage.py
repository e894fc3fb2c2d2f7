"""Coverage: how much of a model is quantized, what is not and why, what it saves, and where it will run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.site import label
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import convolutions, embeddings, heads, linears

HEAD = "a head, small and decisive"


def coverage(model: Model, types: ElementTypes, plan: Plan, target: Target) -> dict[str, object]:
    """The `quantization` block of a report.

    `weight_share` and `bytes_saved` (against fp32, scales counted) are of linears, embeddings and convolutions
    together; `flops_share` is of the operations of all products at the plan's batch and sequence, attention's products
    of two activations included, None where shapes are not known; `providers` says for each quantized operator with a
    weight where the target runs it, as what it is fused into; `skipped` names each linear in float with its reason;
    `heads` counts those of them that are heads, which quantizations leave in float on purpose.
    """
    products = linears.find(model, types)
    tables = list(embeddings.find(model))
    filters = list(convolutions.find(model))
    sizes = [
        *((x.node, x.elements, x.quantized, x.weight.source) for x in products),
        *((x.node, x.elements, x.quantized, x.weight.source) for x in tables),
        *((x.node, x.weight.elements, x.quantized, x.weight.source) for x in filters),
    ]
    kept = heads.find(products, model.graph) - {x.node for x in products if x.quantized}
    total, done = sum(n for _, n, _, _ in sizes), sum(n for _, n, quantized, _ in sizes if quantized)
    return {
        "linears": len(products),
        "quantized": sum(x.quantized for x in products),
        "heads": len(kept),
        "embeddings": len(tables),
        "embeddings_quantized": sum(x.quantized for x in tables),
        "convolutions": len(filters),
        "convolutions_quantized": sum(x.quantized for x in filters),
        "weight_share": round(done / total, 4) if total else 0.0,
        "flops_share": _flops_share(plan),
        "bytes_saved": _saved([(node, n, source) for node, n, quantized, source in sizes if quantized]),
        "providers": _providers(plan, target.ep_names()[0]),
        "skipped": [
            {"node": label(x.node), "reason": HEAD if x.node in kept and x.reason == "float" else x.reason}
            for x in products
            if not x.quantized
        ],
    }


def _flops_share(plan: Plan) -> float | None:
    if plan.flops is None:
        return None
    return round(plan.flops.quantized / plan.flops.total, 4) if plan.flops.total else 0.0


def _saved(quantized: Sequence[tuple[ir.Node, int, ir.Value]]) -> int:
    """Bytes of fp32 weights less those of the constants that quantized nodes read, each counted once: the bias, which
    was there before, too. Of each node: the numbers in its weight, and where that is stored."""
    seen: set[ir.Value] = set()
    saved = 0
    for node, numbers, source in quantized:
        read = [v for v in node.inputs if v is not None]
        behind = [
            v
            for x in read
            if (p := x.producer()) is not None and p.op_type == "DequantizeLinear"
            for v in p.inputs
            if v is not None
        ]
        saved += 4 * numbers if source not in seen else 0
        for value in (source, *read, *behind):
            if value not in seen and (tensor := constant_tensor(value)) is not None:
                saved -= tensor.nbytes
                seen.add(value)
    return saved


def _providers(plan: Plan, provider: str) -> dict[str, int]:
    weighted = {*linears.INTEGER_PRODUCTS, "ConvInteger", "QLinearConv", "GatherBlockQuantized"}
    placed = Counter(f"{n.op_type} on {n.provider}" for n in plan.nodes if n.op_type in weighted and n.provider)
    placed.update(f"{op_type} on {provider}" for op_type in plan.fused if op_type in weighted)
    return dict(placed.most_common())
