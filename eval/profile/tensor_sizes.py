"""Real shapes and bytes of the values of a graph, from a run that was traced: nothing is inferred."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.sites.constants import constant_tensor

from .events import Event, Shape
from .traced_run import Array, TracedRun

# As the profiler calls types; what it calls otherwise is not counted.
KINDS = {"float": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16,
         "double": ir.DataType.DOUBLE, "bool": ir.DataType.BOOL, "int8": ir.DataType.INT8, "uint8": ir.DataType.UINT8,
         "int16": ir.DataType.INT16, "uint16": ir.DataType.UINT16, "int32": ir.DataType.INT32,
         "uint32": ir.DataType.UINT32, "int64": ir.DataType.INT64, "uint64": ir.DataType.UINT64}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """What a value was; `dtype` is None where its elements have no size, as strings."""

    shape: Shape
    dtype: ir.DataType | None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return math.ceil(self.elements * self.dtype.itemsize) if self.dtype is not None else 0


@dataclass(frozen=True)
class Sized:
    """`of`: every value whose shape the run showed; `shapes`: the same, shapes alone; `times`: how often a node ran, 0
    in a branch that was not taken and many in a loop, whose shapes are those of its last round."""

    of: Mapping[ir.Value, Tensor]
    times: Mapping[ir.Node, int]

    @property
    def shapes(self) -> dict[ir.Value, Shape]:
        return {value: tensor.shape for value, tensor in self.of.items()}

    def nbytes(self, value: ir.Value | None) -> int:
        """Bytes of a value, 0 where its shape or type is not known."""
        tensor = self.of.get(value) if value is not None else None
        return tensor.nbytes if tensor is not None else 0


def sized(model: ir.Model, run: TracedRun, feed: Mapping[str, Array], types: ElementTypes | None = None) -> Sized:
    """Sizes of all values of a graph on one feed. With `types` elements have the type that the file gives them and not
    the one that the provider computed in: the CPU provider computes fp16 in fp32."""
    events = {event.name: event for event in run.events}
    found: dict[ir.Value, Tensor] = {}
    for value in model.graph.inputs:
        if value.name is not None and value.name in feed:
            array = feed[value.name]
            found[value] = Tensor(array.shape, value.dtype)
    for node in model.graph.all_nodes():
        for read in node.inputs:
            if read is None or read in found:
                continue
            constant = constant_tensor(read)
            # an initializer that is an input too: its default value counts
            tensor = read.const_value if constant is None else constant
            if tensor is not None:
                found[read] = Tensor(tuple(tensor.shape.numpy()), tensor.dtype)
        event = events.get(node.name or "")
        if event is not None:
            found = {**_read(node, event, types), **found, **_made(node, event, types)}
    return Sized(found, _times(model, run))


def _made(node: ir.Node, event: Event, types: ElementTypes | None) -> dict[ir.Value, Tensor]:
    values = [v for v in node.outputs if v.name]
    if len(values) != len(event.made):  # some outputs are absent or sequences: only the first is known to match
        values = values[:1]
    return _tensors(values, event.made, types)


def _read(node: ir.Node, event: Event, types: ElementTypes | None) -> dict[ir.Value, Tensor]:
    """What a node read: all that is known of the inputs of a loop's body."""
    given = [v for v in node.inputs if v is not None]
    variable = [v for v in given if constant_tensor(v) is None]
    values = next((values for values in (given, variable) if len(values) == len(event.read)), [])
    return _tensors(values, event.read, types)


def _tensors(
    values: Sequence[ir.Value], known: Sequence[tuple[str, Shape]], types: ElementTypes | None
) -> dict[ir.Value, Tensor]:
    return {
        value: Tensor(shape, _dtype(types.get(value) if types is not None else None, kind))
        for value, (kind, shape) in zip(values, known, strict=False)
    }


def _dtype(declared: str | None, computed: str) -> ir.DataType | None:
    if declared is not None and declared.startswith("tensor(") and declared != "tensor(string)":
        return data_type(declared)
    return KINDS.get(computed)


def _times(model: ir.Model, run: TracedRun) -> dict[ir.Node, int]:
    """How often each node ran. One without events, which the runtime expanded, ran as often as its neighbours."""
    counts = Counter(event.name for event in run.events)
    nodes = list(model.graph.all_nodes())
    often: dict[object, int] = defaultdict(int)
    for node in nodes:
        often[node.graph] = max(often[node.graph], counts[node.name or ""])
    return {node: counts[node.name or ""] or often[node.graph] for node in nodes}
