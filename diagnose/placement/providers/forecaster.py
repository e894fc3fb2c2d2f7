"""Forecaster: what a provider takes of a graph, by its kernels; a provider that decides otherwise has a subclass."""

from __future__ import annotations

from dataclasses import dataclass

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region
from onnxfix.nouns.runtime.kernels import Kernel
from onnxfix.nouns.runtime.provider import Provider, resolved
from onnxfix.nouns.target import Target


@dataclass(frozen=True)
class Forecaster:
    """Takes every node that it has a kernel for."""

    provider: Provider

    def claim(self, region: Region, lookup: Lookup) -> None:
        """Take nodes that no provider has yet. Safe to repeat when nodes were inlined."""
        for node in region.nodes:
            if not node.provider and not self.refusal(node, lookup):
                node.provider, node.kernel = self.provider.runtime_name, self.kernel(node, lookup)

    def refusal(self, node: PlannedNode, lookup: Lookup) -> str:
        """Why a node is left to the next provider, in one sentence; empty when it is taken."""
        if self.kernel(node, lookup) is not None:
            return ""
        return lookup.missing(self.provider, node, self.rejection(node, lookup))

    def kernel(self, node: PlannedNode, lookup: Lookup) -> Kernel | None:
        """The kernel that runs a node, None without one or when the provider refuses the node's attributes."""
        found = lookup.kernel(self.provider.runtime_name, node)
        return None if found is None or self.rejection(node, lookup) else found

    def rejection(self, node: PlannedNode, lookup: Lookup) -> str:
        """What of a node's attributes the kernel does not take, empty when it takes them."""
        return ""

    def note(self, lookup: Lookup) -> str:
        """What a reader of the plan must know about the share it gives to the provider."""
        return ""


def forecasters(target: Target) -> tuple[Forecaster, ...]:
    """Of the target's provider and those behind it."""
    return tuple((resolved(p.forecaster) if p.forecaster else Forecaster)(p) for p in target.provider.chain)
