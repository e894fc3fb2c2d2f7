"""Why a copy happens: the node to blame, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode

from .memcpy import Transfer, host_readers, on_device


@dataclass(frozen=True)
class CopyCause:
    node: PlannedNode
    text: str


def copy_cause(transfer: Transfer, provider: str, lookup: Lookup) -> CopyCause:
    """The node that forces a copy: one without a kernel before one that wants a host argument before a shape chain."""
    if transfer.direction == "to_host":
        return _reader_cause(transfer.value, transfer.readers, provider, lookup)
    if transfer.producer is not None:
        return _producer_cause(transfer.producer, transfer.readers, provider)
    return _reader_cause(transfer.value, host_readers(transfer.region, transfer.value, provider), provider, lookup)


def _reader_cause(value: ir.Value, readers: Sequence[PlannedNode], provider: str, lookup: Lookup) -> CopyCause:
    without = next((r for r in readers if not on_device(r, provider) and r.root is None), None)
    if without is not None:
        return CopyCause(without, without.reason)
    hosting = next((r for r in readers if r.provider == provider), None)
    if hosting is not None:
        return CopyCause(hosting, _host_argument(hosting, value, lookup))
    return _chained(readers[0], provider)


def _host_argument(node: PlannedNode, value: ir.Value, lookup: Lookup) -> str:
    index = next(
        i for i, v in enumerate(node.inputs) if v is value and node.kernel is not None and i in node.kernel.host_inputs
    )
    schema = lookup.schema(node)
    formal = schema.input_formal(index) if schema else None
    return f"the CUDA kernel of {node.op_type} reads input {index} ({formal.name if formal else '?'}) from host memory"


def _chained(node: PlannedNode, provider: str) -> CopyCause:
    """A node that runs on the CPU because its inputs are there: blame what put them there if that has no kernel."""
    root = node.root
    if root is not None and root is not node and not on_device(root, provider):
        return CopyCause(root, root.reason)
    return CopyCause(node, f"{node.op_type} runs on the CPU: {node.reason}")


def _producer_cause(producer: PlannedNode, readers: Sequence[PlannedNode], provider: str) -> CopyCause:
    if producer.provider == provider:
        left = f"the CUDA kernel of {producer.op_type} leaves its result in host memory"
        text = f"{left} and {readers[0]} reads it on the GPU"
        return CopyCause(producer, text)
    if producer.root is None:
        return CopyCause(producer, producer.reason)
    found = _chained(producer, provider)
    if found.node is not producer:
        return found
    return CopyCause(producer, f"{found.text}, and {readers[0]} reads it on the GPU")
