"""Which kernel ONNX Runtime's providers have for a node, and why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.runtime.kernels import UNKNOWN_TYPE, Kernel, KernelTable
from onnxfix.nouns.runtime.provider import Provider
from onnxfix.nouns.types import schemas
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import opset

from .region import PlannedNode


@dataclass(frozen=True)
class Lookup:
    """Kernel lookup in one model: its operator-set imports and the element types of its values."""

    table: KernelTable
    types: ElementTypes
    imports: Mapping[str, int]

    def schema(self, node: PlannedNode) -> schemas.Schema | None:
        return self.table.schema(node.op_type, node.domain, self.opset(node.domain))

    def opset(self, domain: str) -> int:
        return opset(self.imports, domain)

    def kernel(self, provider: str, node: PlannedNode) -> Kernel | None:
        """The kernel of a provider, by ONNX Runtime's name, for the types of a node; None without one."""
        schema = self.schema(node)
        if schema is None:
            return None
        return self.table.find(provider, schema, self.actual(node.inputs), self.actual(node.outputs))

    def widened(self, provider: str, node: PlannedNode) -> Kernel | None:
        """The kernel for the node after its float16 arguments are cast to float32."""
        schema = self.schema(node)
        if schema is None:
            return None
        inputs, outputs = (
            [t and t.replace("tensor(float16)", "tensor(float)") for t in self.actual(values)]
            for values in (node.inputs, node.outputs)
        )
        return self.table.find(provider, schema, inputs, outputs)

    def actual(self, values: Sequence[ir.Value | None]) -> list[str | None]:
        """Type strings as kernel lookup wants them: None for an omitted argument."""
        return [None if v is None or not v.name else self.types.get(v) or UNKNOWN_TYPE for v in values]

    def type_of(self, value: ir.Value | None) -> str:
        return self.types.get(value) or ""

    def missing(self, provider: Provider, node: PlannedNode, refused: str = "") -> str:
        """One sentence on why a provider does not take a node, naming the kernels that do exist. `refused`: what of its
        attributes they do not take."""
        name = provider.label
        release = f"ONNX Runtime {self.table.version}"
        schema = self.schema(node)
        if schema is None:
            return f"{node.domain}.{node.op_type} is a custom operator, whose kernels {release} has no table of"
        kernels = self.table.candidates(provider.runtime_name, node.op_type, node.domain)
        if not kernels:
            return f"{node.op_type} has no {name} kernel in {release}"
        matching = [k for k in kernels if k.covers(schema.since)]
        if not matching:
            return f"{node.op_type} version {schema.since} has no {name} kernel in {release}, only {_versions(kernels)}"
        if refused:
            return f"the {name} kernel of {node.op_type} does not take {refused}"
        wanted = ", ".join(t for t in dict.fromkeys(self.actual(node.inputs)) if t)
        return (
            f"{node.op_type} version {schema.since} has no {name} kernel for {wanted} in {release}, "
            f"only for {_types(matching)}"
        )


def _versions(kernels: Sequence[Kernel]) -> str:
    spans = dict.fromkeys((k.since, k.until) for k in sorted(kernels, key=lambda k: k.since))
    texts = [str(since) if until in (None, since) else f"{since} to {until}" for since, until in spans]
    return ("version " if len(texts) == 1 else "versions ") + ", ".join(texts)


def _types(kernels: Sequence[Kernel]) -> str:
    merged: dict[str, set[str]] = {}
    for kernel in kernels:
        for name, allowed in kernel.types.items():
            merged.setdefault(name, set()).update(allowed)
    return "; ".join(f"{name} = {', '.join(_bare(allowed))}" for name, allowed in merged.items())


def _bare(types: set[str]) -> Iterator[str]:
    for text in sorted(types):
        yield text[len("tensor(") : -1] if text.startswith("tensor(") else text
