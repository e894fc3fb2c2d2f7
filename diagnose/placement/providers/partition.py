"""Assign each node to a provider as ONNX Runtime's partitioner does: each in its order, the CPU what is left.

Source: graph_partitioner.cc; which nodes a provider takes is its forecaster's to say.
"""

from __future__ import annotations

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region

from .forecaster import Forecaster


def partition(region: Region, chain: tuple[Forecaster, ...], lookup: Lookup, inlined_first: bool = False) -> None:
    """Set `provider`, `kernel` and `reason` of every node, those of control-flow bodies included.

    `chain`: the target's providers in their order. `inlined_first`: the model has local functions, so ONNX Runtime
    inlines before it optimises and partitions.
    """
    if inlined_first:
        while _expand(region, [n for n in region.nodes if all(each.refusal(n, lookup) for each in chain)]):
            pass
    while True:
        for each in chain:
            each.claim(region, lookup)
        if not _expand(region, [n for n in region.nodes if not n.provider]):
            break
    for node in region.nodes:
        _settle(node, chain, lookup)
        for inner in node.regions:
            partition(inner, chain, lookup, inlined_first)
    for each in reversed(chain):
        _explain(each, region, lookup)


def _settle(node: PlannedNode, chain: tuple[Forecaster, ...], lookup: Lookup) -> None:
    """What a node is left with for want of a kernel of the first provider that has any."""
    first, host = next(each for each in chain if each.provider.tabled), chain[-1]
    if not node.provider:
        _leftover(node, first, host, lookup)
    elif node.provider == host.provider.runtime_name and first is not host and not node.reason:
        node.reason = first.refusal(node, lookup)


def _explain(each: Forecaster, region: Region, lookup: Lookup) -> None:
    """Put the refusal of a provider without kernels in front of the reason of every node that it left to others."""
    for node in region.nodes:
        if not each.provider.tabled and node.provider != each.provider.runtime_name:
            node.reason = "; ".join(filter(None, (each.refusal(node, lookup), node.reason)))


def _expand(region: Region, nodes: list[PlannedNode]) -> bool:
    """Put the bodies of function operators in place of those among the nodes; False when there are none."""
    functions = [node for node in nodes if node.expansion]
    if functions:
        region.expand(functions)
    return bool(functions)


def _leftover(node: PlannedNode, first: Forecaster, host: Forecaster, lookup: Lookup) -> None:
    """A node that no provider has a kernel for: float16 is cast to float32 on the CPU, anything else fails to load."""
    node.reason = node.reason or first.refusal(node, lookup)
    name = host.provider.runtime_name
    if lookup.schema(node) is None:
        node.provider = name  # a custom operator: its library's kernels are not in the tables
        return
    if any(lookup.type_of(v) == "tensor(float16)" for v in node.inputs) and not node.regions:
        node.kernel = lookup.widened(name, node)
        node.provider = name if node.kernel else ""
        node.widened = bool(node.kernel)
        node.reason += "; it runs in float32 on the CPU between casts"
