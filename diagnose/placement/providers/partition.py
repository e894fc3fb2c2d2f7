"""Assign each node to a provider as ONNX Runtime's partitioner does: TensorRT, CUDA, then the CPU for the rest.

Source: graph_partitioner.cc and the CUDA provider's GetCapability; kernel lookup is by `onnxfix.nouns.runtime.kernels`.
"""

from __future__ import annotations

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region
from onnxfix.nouns.target import CPU, CUDA, TENSORRT

from . import tensorrt
from .shape_chain import cpu_preferred


def partition(region: Region, providers: tuple[str, ...], lookup: Lookup, inlined_first: bool = False) -> None:
    """Set `provider`, `kernel` and `reason` of every node, those of control-flow bodies included.

    `inlined_first`: the model has local functions, so ONNX Runtime inlines before it optimises and partitions.
    """
    if inlined_first:
        while _expand(region, [n for n in region.nodes if not _claimed(n, providers, lookup)]):
            pass
    while True:
        _round(region, providers, lookup)
        if not _expand(region, [n for n in region.nodes if not n.provider]):
            break
    for node in region.nodes:
        if not node.provider:
            _leftover(node, CUDA if CUDA in providers else CPU, lookup)
        for inner in node.regions:
            partition(inner, providers, lookup, inlined_first)
    if TENSORRT in providers:
        tensorrt.explain(region, lookup)


def _round(region: Region, providers: tuple[str, ...], lookup: Lookup) -> None:
    if TENSORRT in providers:
        tensorrt.claim(region, lookup)
    if CUDA in providers:
        _offer_cuda(region, lookup)
    for node in region.nodes:
        if node.provider:
            continue
        kernel = lookup.kernel(CPU, node)
        if kernel is not None:
            node.provider, node.kernel = CPU, kernel
            if CUDA in providers and not node.reason:
                node.reason = lookup.missing(CUDA, node)


def _offer_cuda(region: Region, lookup: Lookup) -> None:
    found = {n: lookup.kernel(CUDA, n) for n in region.nodes if not n.provider}
    tentative = {node: kernel for node, kernel in found.items() if kernel is not None}
    moved = cpu_preferred(region, tentative, lookup)
    for node, kernel in tentative.items():
        if node in moved:
            node.reason = _chain_reason(node)
        else:
            node.provider, node.kernel = CUDA, kernel


def _chain_reason(node: PlannedNode) -> str:
    where = f" from {node.root}" if node.root is not None and node.root is not node else ""
    return f"it reads only values that are in host memory{where}, so ONNX Runtime computes it there"


def _claimed(node: PlannedNode, providers: tuple[str, ...], lookup: Lookup) -> bool:
    if TENSORRT in providers and not tensorrt.refusal(node, lookup):
        return True
    return any(lookup.kernel(provider, node) for provider in providers)


def _expand(region: Region, nodes: list[PlannedNode]) -> bool:
    """Put the bodies of function operators in place of those among the nodes; False when there are none."""
    functions = [node for node in nodes if node.expansion]
    if functions:
        region.expand(functions)
    return bool(functions)


def _leftover(node: PlannedNode, first: str, lookup: Lookup) -> None:
    """A node that no provider has a kernel for: float16 is cast to float32 on the CPU, anything else fails to load."""
    node.reason = node.reason or lookup.missing(first, node)
    if lookup.schema(node) is None:
        node.provider = CPU  # a custom operator: its library's kernels are not in the tables
        return
    if any(lookup.type_of(v) == "tensor(float16)" for v in node.inputs) and not node.regions:
        node.kernel = lookup.widened(CPU, node)
        node.provider = CPU if node.kernel else ""
        node.widened = bool(node.kernel)
        node.reason += "; it runs in float32 on the CPU between casts"
