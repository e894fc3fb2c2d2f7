"""A graph of single units of a QDQ graph, for ONNX Runtime to fuse: one of each kind, the smallest that there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx_ir as ir

from onnxfix.diagnose.placement.optimised.weightless import Holes
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import integer
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.sites.constants import constant_tensor

from .quantized_units import CLIPS, QUANTIZE, Unit

Kind = tuple[object, ...]


def kinds(found: Iterable[Unit], types: ElementTypes) -> dict[Kind, list[Unit]]:
    """Units by what decides on their fusion, the smallest of each kind first."""
    groups: dict[Kind, list[Unit]] = {}
    for unit in found:
        groups.setdefault(_kind(unit, types), []).append(unit)
    return {kind: sorted(group, key=_weight) for kind, group in groups.items()}


def probe(chosen: Sequence[Unit], types: ElementTypes, source: ir.Model, path: Path) -> None:
    """Save the units as one graph to `path`: the operator of the unit at index i is called `u{i}`.

    Weights become holes in a sparse file beside it.
    """
    data = path.with_suffix(".data")
    with data.open("wb") as file:
        maker = _Maker(types, Holes(data, file))
        for index, unit in enumerate(chosen):
            maker.add(unit, f"u{index}")
        graph = ir.Graph(maker.inputs, maker.outputs, nodes=maker.nodes, initializers=maker.constants,
                         opset_imports=dict(source.opset_imports), name="units")  # fmt: skip
        proto = ir.to_proto(ir.Model(graph, ir_version=source.ir_version))
        file.truncate(maker.holes.end)
    path.write_bytes(proto.SerializeToString())


class _Maker:
    def __init__(self, types: ElementTypes, holes: Holes) -> None:
        self.types, self.holes = types, holes
        self.nodes: list[ir.Node] = []
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self.constants: list[ir.Value] = []

    def add(self, unit: Unit, name: str) -> None:
        made: dict[ir.Value, ir.Value] = {}
        inside = set(unit.nodes)
        for number, node in enumerate(unit.nodes):
            read = [None if v is None else made.get(v) or self._outer(v, f"{name}_{len(made)}", made)
                    for v in node.inputs]  # fmt: skip
            copy = ir.Node(
                node.domain, node.op_type, read, list(node.attributes.values()), num_outputs=len(node.outputs),
                name=name if node is unit.node else f"{name}_{number}",
            )  # fmt: skip
            self.nodes.append(copy)
            for index, (old, new) in enumerate(zip(node.outputs, copy.outputs, strict=True)):
                new.name = f"{name}_{number}_{index}"
                new.type, new.shape = self._type(old), old.shape
                made[old] = new
                if old.is_graph_output() or not old.uses() or any(use.node not in inside for use in old.uses()):
                    self.outputs.append(new)

    def _outer(self, value: ir.Value, name: str, made: dict[ir.Value, ir.Value]) -> ir.Value:
        """A constant as a constant, anything else as an input of the graph."""
        tensor = constant_tensor(value)
        new = made[value] = ir.Value(name=name, type=self._type(value), shape=value.shape)
        if tensor is None:
            self.inputs.append(new)
        else:
            new.const_value = self._content(tensor, name)
            new.type, new.shape = ir.TensorType(tensor.dtype), ir.Shape(list(tensor.shape.numpy()))
            self.constants.append(new)
        return new

    def _content(self, tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
        """What is inline stays, and what is not becomes a hole: the file that it was in may be gone."""
        if not isinstance(tensor, ir.ExternalTensor):
            return tensor
        path, offset = self.holes.path, self.holes.take(tensor.nbytes)
        return ir.ExternalTensor(
            path.name,
            offset,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(list(tensor.shape.numpy())),
            name=name,
            base_dir=path.parent,
        )

    def _type(self, value: ir.Value) -> ir.TypeProtocol | None:
        known = self.types.get(value)
        return ir.TensorType(data_type(known)) if known and known.startswith("tensor(") else value.type


def _kind(unit: Unit, types: ElementTypes) -> Kind:
    """Operators, attributes, types, what is constant, which sizes and which scales are equal: not the sizes, not the
    scales. Where a Clip is to be dropped its bounds are compared with the scale, so there they count."""
    clipped = any(n.op_type in CLIPS for n in unit.after)
    values: dict[ir.Value, int] = {}
    sizes: dict[int, int] = {}
    scalars: dict[object, int] = {}

    def described(value: ir.Value | None) -> object:
        if value is None or value in values:
            return None if value is None else values[value]
        values[value] = len(values)
        tensor, kind = constant_tensor(value), types.get(value)
        if tensor is None:
            return kind, None if value.shape is None else len(value.shape), _readers(value)
        dims = tuple(s if s == 1 else sizes.setdefault(s, len(sizes)) for s in tensor.shape.numpy())
        if tensor.size != 1 or isinstance(tensor, ir.ExternalTensor):
            return kind, dims
        number = tensor.numpy().item()
        return kind, dims, number if clipped else scalars.setdefault(number, len(scalars))

    return tuple(
        (
            n.domain,
            n.op_type,
            tuple(sorted((a.name, str(a.value)) for a in n.attributes.values())),
            tuple(described(v) for v in n.inputs),
            tuple(described(v) for v in n.outputs),
            _blocks(n),
        )
        for n in unit.nodes
    )


def _readers(value: ir.Value) -> tuple[object, ...]:
    """Who reads what a node makes, as far as it matters."""
    told = (QUANTIZE, *CLIPS)
    names = sorted(use.node.op_type if use.node.op_type in told else "" for use in value.uses())
    return (value.is_graph_output(), *names) if value.producer() is not None else ()


def _blocks(node: ir.Node) -> bool:
    """Whether the scales of a blocked DequantizeLinear are as many as its blocks."""
    size = integer(node, "block_size", 0)
    tensors = [constant_tensor(v) for v in node.inputs[:2]]
    if not size or None in tensors:
        return False
    weight, scale = (t.shape.numpy() for t in tensors if t is not None)
    axis = integer(node, "axis", 1)
    return len(weight) == len(scale) and -(-weight[axis] // size) == scale[axis]


def _weight(unit: Unit) -> int:
    tensors = (constant_tensor(v) for n in unit.nodes for v in n.inputs)
    return sum(int(t.size) for t in tensors if t is not None)
