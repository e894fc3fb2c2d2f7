"""Half precision as a GPU computes it, on a CPU: every node's result is rounded to the type that the graph declares.

ONNX Runtime's CPU provider does not compute in half precision. It casts to fp32 and drops the casts in between, at
every optimisation level, so that 90,000 in an fp16 MatMul stays finite there. Here each node with half arguments
becomes its fp32 form, which accumulates in fp32 as CUDA's kernels do, between casts that the runtime cannot drop: it
removes a cast that undoes another one, but not across an `Identity`. Reductions whose kernels hold a sum in half are
written out first (`kernel_steps`). Run the result with optimisation off.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types import schemas
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import is_standard, opset
from onnxfix.surgery.sites.half import half_types

from .kernel_steps import written_out

HALVES = {"tensor(float16)": ir.DataType.FLOAT16, "tensor(bfloat16)": ir.DataType.BFLOAT16}

# They hand values on as they are: rounding them again changes nothing, and casting them to fp32 doubles their memory.
_UNROUNDED = frozenset(
    "Reshape Transpose Unsqueeze Squeeze Expand Slice Concat Split Gather Identity Flatten Shape Size".split()
)
_CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def emulated(model: Model) -> Model:
    """A copy of the model for the CPU whose outputs are those of real half arithmetic, up to the order of sums.

    fp16 rounds to nearest even and overflows to infinity beyond 65,504; bf16 keeps fp32's range. Nodes of operators
    without an fp32 form, and custom ones, stay as they are.
    """
    copy = model.clone()
    written_out(copy)
    emulator = _Emulator(copy, infer(copy.ir))
    for graph in list(copy.graphs()):
        for node in list(graph):
            emulator.round(node)
    return copy


class _Emulator:
    def __init__(self, model: Model, types: ElementTypes) -> None:
        self.model = model
        self.types = types
        self.cpu = Target.resolve("cpu")
        self.widened: dict[tuple[ir.Value, ir.Graph | None, bool], ir.Value] = {}
        self.count = 0

    def round(self, node: ir.Node) -> None:
        """Let a node compute in fp32 from its half inputs, and round what it makes."""
        halves = [v for v in (*node.inputs, *node.outputs) if v is not None and self.types.get(v) in HALVES]
        if not halves or node.op_type in _CONTROL or node.op_type == "Constant":
            return
        if node.op_type in _UNROUNDED and is_standard(node) and self._runs_in_half(node):
            return
        is_cast = node.op_type == "Cast" and is_standard(node)
        if not is_cast and not self._has_single_form(node):
            return
        named = half_types.typed_by(node)
        if named and named in node.attributes:  # it makes what it says, whatever it reads
            node.attributes.add(ir.AttrInt64(named, ir.DataType.FLOAT))
        for index, value in enumerate(node.inputs):
            if value is not None and self.types.get(value) in HALVES:
                node.replace_input_with(index, self._read(value, node, cast=not is_cast))
        # without half inputs (ConstantOfShape) the type of the result is the node's own, and already rounded
        if not is_cast and (named or any(v not in node.outputs for v in halves)):
            for value in node.outputs:
                # an output that is left out, as an LSTM's first where the last state is read alone, has no name
                if value.name and self.types.get(value) in HALVES:
                    self._write(node, value)

    def _read(self, value: ir.Value, reader: ir.Node, cast: bool) -> ir.Value:
        """The value behind an Identity, in fp32 if `cast`; made once a graph, before its first reader there."""
        graph = reader.graph if isinstance(reader.graph, ir.Graph) else None
        key = (value, graph, cast)
        if key not in self.widened:
            kept = self._insert("Identity", value, reader, self.types.get(value) or "")
            self.widened[key] = self._cast(kept, ir.DataType.FLOAT, reader, "tensor(float)") if cast else kept
        return self.widened[key]

    def _write(self, node: ir.Node, value: ir.Value) -> None:
        """Let the node make the fp32 form of a value, which a Cast rounds to the value all others read."""
        kind = self.types.get(value) or ""
        name, shape = value.name, value.shape
        rounded = ir.Value(name=name, type=ir.TensorType(HALVES[kind]), shape=shape)
        value.name = f"{name}/single"
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.replace_all_uses_with(rounded, replace_graph_outputs=True)
        to = ir.AttrInt64("to", HALVES[kind])
        node.append(ir.Node("", "Cast", [value], [to], outputs=[rounded], name=f"{name}/round"))
        self.types.of[value], self.types.of[rounded] = "tensor(float)", kind

    def _cast(self, value: ir.Value, dtype: ir.DataType, before: ir.Node, kind: str) -> ir.Value:
        made = self._insert("Cast", value, before, kind)
        producer = made.producer()
        assert producer is not None
        producer.attributes.add(ir.AttrInt64("to", dtype))
        return made

    def _insert(self, op_type: str, value: ir.Value, before: ir.Node, kind: str) -> ir.Value:
        self.count += 1
        made = ir.Value(name=f"{value.name}/{op_type.lower()}_{self.count}")
        before.prepend(ir.Node("", op_type, [value], outputs=[made], name=made.name))
        self.types.of[made] = kind
        return made

    def _runs_in_half(self, node: ir.Node) -> bool:
        """Whether the CPU provider has a kernel for the node as it is: Expand has none for bfloat16."""
        inputs, outputs = ([self.types.get(v) for v in values] for values in (node.inputs, node.outputs))
        return self.cpu.supports(node.op_type, "", self.model.opset, inputs, outputs) == "yes"

    def _has_single_form(self, node: ir.Node) -> bool:
        """Whether the operator takes fp32 wherever the node has half values."""
        schema = schemas.find(node.op_type, node.domain, opset(self.model.ir.opset_imports, node.domain))
        if schema is None:
            return False
        for values, formal_at in ((node.inputs, schema.input_formal), (node.outputs, schema.output_formal)):
            for index, value in enumerate(values):
                if value is None or self.types.get(value) not in HALVES:
                    continue
                formal = formal_at(index)
                if formal is None or "tensor(float)" not in schema.allowed.get(formal.type_str, frozenset()):
                    return False
        return True
