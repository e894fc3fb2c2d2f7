"""S003: an axis that is declared dynamic and works at one size alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site, label
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.sizes import baked_sizes, freed_sizes
from onnxfix.surgery.sites.sizes.baked_sizes import Baked


class BakedSize:
    """An axis of an input is declared dynamic, and the graph takes one size of it alone.

    Python integers of the module become constants when it is traced: a batch that `x.shape[0]` or `len(x)` gave stands
    as a number in a Reshape, a Tile or an Expand, a mask or a state made for it as a weight. The file still declares
    the axis dynamic, and the first request of another size ends in an error at a node that is right
    (roboflow/rf-detr#949). Found by following sizes through the graph: it fits at this one and at no other. Limits,
    such as a table of 512 positions, and steps, such as images of multiples of 32, are none of these.

    Repair: `onnxfix repair` puts the size of the input in the place of each number, where each is proven to be the
    batch; the result is the same at the baked size, and is verified row by row on others. Else export again with sizes
    that the module computes by tensor operations.
    """

    code: ClassVar[str] = "S003"
    name: ClassVar[str] = "baked-size"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for found in baked_sizes.find(subject.model.graph):
            edits = freed_sizes.find(subject.model.graph, found)
            causes = list(dict.fromkeys(name for e in edits if (name := _read_by(e.value)))) or _told(found)
            value, axis = found.axis.places[0]
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR,
                site=Site.of_node(found.misfit.node),
                message=f"axis {axis} of {value.name} is declared dynamic, but only {found.size} works: "
                f"{found.misfit.node.op_type} {label(found.misfit.node)} refuses others"
                f"{', the number stands in ' + _some(causes) if causes else ''}",
                evidence={"input": value.name, "axis": axis, "size": found.size, "baked_in": causes},
                repair="onnxfix repair --precision fp32" if edits else "",
                applicability=Applicability.EXACT if edits else Applicability.MANUAL,
            )


def _read_by(value: ir.Value) -> str:
    """The first reader of a constant, in words."""
    reader = next((use.node for use in value.uses()), None)
    return f"{reader.op_type} {label(reader)}" if reader is not None else ""


def _told(found: Baked) -> list[str]:
    """The node itself where a constant tells it the number, or is one of that size."""
    node = found.misfit.node
    for value in node.inputs:
        tensor = constant_tensor(value)
        if tensor is not None and found.size in (*tensor.shape.numpy(), *_numbers(tensor)):
            return [f"{node.op_type} {label(node)}"]
    return []


def _numbers(tensor: ir.TensorProtocol) -> list[int]:
    small = tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32) and tensor.size <= 64
    return [int(n) for n in tensor.numpy().reshape(-1)] if small else []


def _some(causes: list[str]) -> str:
    shown = ", ".join(causes[:3])
    return f"{shown} and {len(causes) - 3} more" if len(causes) > 3 else shown
