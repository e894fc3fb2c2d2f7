"""Why a copy happens: the node to blame, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode
from onnxfix.nouns.runtime.provider import placed_on

from .memcpy import Transfer, host_readers, on_device


@dataclass(frozen=True)
class CopyCause:
    node: PlannedNode
    text: str


def copy_cause(transfer: Transfer, lookup: Lookup) -> CopyCause:
    """The node that forces a copy: one without a kernel before one that wants a host argument before a shape chain."""
    if transfer.direction == "to_host":
        return _reader_cause(transfer.value, transfer.readers, lookup)
    if transfer.producer is not None:
        return _producer_cause(transfer.producer, transfer.readers)
    return _reader_cause(transfer.value, host_readers(transfer.region, transfer.value), lookup)


def _reader_cause(value: ir.Value, readers: Sequence[PlannedNode], lookup: Lookup) -> CopyCause:
    without = next((r for r in readers if not on_device(r) and r.root is None), None)
    if without is not None:
        return CopyCause(without, without.reason)
    hosting = next((r for r in readers if on_device(r)), None)
    if hosting is not None:
        return CopyCause(hosting, _host_argument(hosting, value, lookup))
    return _chained(readers[0])


def _host_argument(node: PlannedNode, value: ir.Value, lookup: Lookup) -> str:
    index = next(
        i for i, v in enumerate(node.inputs) if v is value and node.kernel is not None and i in node.kernel.host_inputs
    )
    schema = lookup.schema(node)
    formal = schema.input_formal(index) if schema else None
    label, name = placed_on(node.provider).label, formal.name if formal else "?"
    return f"the {label} kernel of {node.op_type} reads input {index} ({name}) from host memory"


def _chained(node: PlannedNode) -> CopyCause:
    """A node that runs on the CPU because its inputs are there: blame what put them there if that has no kernel."""
    root = node.root
    if root is not None and root is not node and not on_device(root):
        return CopyCause(root, root.reason)
    return CopyCause(node, f"{node.op_type} runs on the CPU: {node.reason}")


def _producer_cause(producer: PlannedNode, readers: Sequence[PlannedNode]) -> CopyCause:
    read = f"{readers[0]} reads it on the {placed_on(readers[0].provider).device}"
    if on_device(producer):
        label = placed_on(producer.provider).label
        return CopyCause(
            producer, f"the {label} kernel of {producer.op_type} leaves its result in host memory and {read}"
        )
    if producer.root is None:
        return CopyCause(producer, producer.reason)
    found = _chained(producer)
    if found.node is not producer:
        return found
    return CopyCause(producer, f"{found.text}, and {read}")
