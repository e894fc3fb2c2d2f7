"""fp32 → fp16 or bf16 by types: every value gets one type, casts stand only where two types meet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import integer
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.half.half_constants import HalfConstants
from onnxfix.surgery.opset import raise_opset
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.half import half_plan, half_types
from onnxfix.surgery.sites.half.half_plan import FLOAT, HalfOptions, HalfPlan
from onnxfix.surgery.sites.half.half_types import touches_float
from onnxfix.surgery.sites.half.movement import MOVEMENT, NAMED

# Operator set in which Cast and arithmetic take bfloat16.
BFLOAT16_SINCE = 13
HALVES = {"fp16": "tensor(float16)", "bf16": "tensor(bfloat16)"}


class NothingHalfError(OnnxfixError):
    """What is to be kept in fp32 is all there is."""


@dataclass(frozen=True)
class ConvertToHalf:
    """Convert a model to half precision, keeping rotary angles, written-out norms and indices in fp32.

    Types are inferred for every value of every graph first; then each node is either half or fp32 (with a reason),
    weights follow their readers, and a `Cast` is inserted exactly where a value of one type meets a reader of the
    other. Inputs and outputs of the model keep their types unless `io_types` says half. `Cast` and `ConstantOfShape`
    inside the graph change their target with their readers, which is what onnxconverter-common leaves out (its issue
    320). Constants beyond 65,504 become ±65,504 and not infinite. bf16 nodes without a kernel on the target stay fp32,
    or fp16 where that is the only one there is.

    Measure: bytes of weights.
    """

    name: ClassVar[str] = "convert-to-half"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    target: Target
    precision: str = "fp16"
    options: HalfOptions = field(default_factory=HalfOptions)

    def apply(self, editor: Editor) -> None:
        if self.precision == "bf16":
            raise_opset(editor, BFLOAT16_SINCE, "bfloat16")
        types = infer(editor.model.ir)
        plan = half_plan.plan(editor.model, types, self.target, HALVES[self.precision], self.options)
        conversion = _Conversion(editor, types, plan)
        conversion.run(self.options.io_types == "half")
        asked = [*plan.caught, *(["what half precision harms"] if self.options.keep_nodes else [])]
        if asked and FLOAT in conversion.now.values() and not _computes(plan, types, editor.model):
            raise NothingHalfError(f"{' and '.join(asked)} keeps every node in fp32", "block less, or use bf16 or fp32")
        if not editor.changes:
            editor.notes.append("nothing was converted: no fp32 value that could be half")
        for entry, caught in plan.caught.items():
            editor.notes.append(f"{entry} caught {plural(caught, 'node')}")
        kept = Counter(reason for node, reason in plan.keep.items() if touches_float(node, types))
        for reason, count in kept.most_common():
            editor.notes.append(f"kept in fp32: {plural(count, 'node')} ({reason})")
        if plan.other:
            editor.notes.append(f"in fp16: {plural(len(plan.other), 'node')} (no bf16 kernel, and none for fp32)")

    def measure(self, model: Model) -> float:
        return float(model.weights_bytes)


def _computes(plan: HalfPlan, types: ElementTypes, model: Model) -> bool:
    """Whether any node is left that computes in half, or reads a weight: data that is moved alone is two casts more."""
    for node in model.nodes():
        if plan.kind(node) == FLOAT or not touches_float(node, types) or node.op_type in NAMED:
            continue
        weights = any(types.is_float32(v) and constant_tensor(v) is not None for v in node.inputs)
        if node.op_type not in MOVEMENT or weights:
            return True
    return False


class _Conversion:
    def __init__(self, editor: Editor, types: ElementTypes, plan: HalfPlan) -> None:
        self.editor = editor
        self.types = types
        self.plan = plan
        self.constants = HalfConstants(editor)
        self.casts: dict[tuple[ir.Value, str], ir.Value] = {}
        self.now: dict[ir.Value, str] = {}
        """Type of each float value after the conversion; constants are left to their readers."""

    def run(self, halve_interface: bool) -> None:
        nodes = [n for n in self.editor.model.nodes() if n.op_type != "Constant"]
        for node in nodes:
            self._decide(node)
        for given in self.editor.model.graph.inputs if halve_interface else ():
            if self.types.is_float32(given) and not given.is_initializer():
                self.now[given] = self.plan.half
        for node in nodes:
            self._retarget(node)
            # all before one is replaced: what an input becomes depends on the others, as they were inferred
            read = [(i, v, self._wanted(node, i)) for i, v in enumerate(node.inputs) if self.types.is_float32(v)]
            for index, value, wanted in read:
                assert value is not None
                self._connect(node, index, value, wanted)
        self.constants.convert()
        for value, kind in self.now.items():
            is_input = value.producer() is None
            if kind != FLOAT and value.type is not None and (is_input or not value.is_graph_output()):
                self.editor.set_type(value, kind)
        for graph in self.editor.model.graphs():
            wanted = self.plan.half if halve_interface and graph is self.editor.model.graph else FLOAT
            for value in list(dict.fromkeys(graph.outputs)):
                self._settle_output(value, wanted)

    def _decide(self, node: ir.Node) -> None:
        kind = self.plan.kind(node)
        single = half_types.stays_single(node, self.editor.model, self.types) if kind != FLOAT else set()
        for value in node.outputs:
            if self.types.is_float32(value):
                self.now[value] = FLOAT if value in single else kind

    def _retarget(self, node: ir.Node) -> None:
        """Let the operators that name their output type name the new one."""
        kind = self.now.get(node.outputs[0]) if node.outputs else None
        if node.op_type == "CastLike" and kind is not None:
            # What it is like may have changed type; the type it shall have is known.
            self.editor.set_operator(node, "Cast", {"to": data_type(kind)}, inputs=1)
        elif kind is None or kind == FLOAT:
            return
        elif node.op_type == "Cast":
            self.editor.set_attribute(node, ir.AttrInt64("to", data_type(kind)))
        elif named := half_types.typed_by(node):
            self.editor.set_attribute(node, ir.AttrInt64(named, data_type(kind)))
        elif node.op_type == "MatMulNBits" and integer(node, "accuracy_level", 0):
            # in integers, which ONNX Runtime 1.31.1 gets wrong for fp16 on a CPU; CUDA does not read it
            self.editor.set_attribute(node, ir.AttrInt64("accuracy_level", 0))
        elif node.op_type == "ConstantOfShape":
            self.editor.set_attribute(node, ir.AttrTensor("value", self.constants.fill_value(node, kind)))

    def _connect(self, node: ir.Node, index: int, value: ir.Value, wanted: str | None) -> None:
        if constant_tensor(value) is not None:
            self.constants.read(node, index, value, wanted or self.plan.half)
            return
        if wanted is not None and self.now.get(value, FLOAT) != wanted:
            self.editor.replace_input(node, index, self._cast(value, wanted, node))

    def _wanted(self, node: ir.Node, index: int) -> str | None:
        """The type a reader needs, None when it takes either and makes no float of it (Shape, Cast, IsNaN)."""
        kind = self.plan.kind(node)
        if kind == FLOAT:
            return FLOAT
        if half_plan.takes_any(node, self.types):
            return None
        schema = half_plan.schema_of(node, self.editor.model)
        if schema is None or not half_plan.accepts_half(schema, index, FLOAT, kind):
            return FLOAT
        return kind

    def _cast(self, value: ir.Value, kind: str, reader: ir.Node) -> ir.Value:
        """The cast of a value, one for all readers: it stands where the value is made, and bodies see it from there. A
        second one in a body would be a second copy for what runs on the host."""
        key = (value, kind)
        if key not in self.casts:
            producer, graph = value.producer(), value.graph
            assert isinstance(graph, ir.Graph)
            node = self.editor.new_node(
                "Cast",
                [value],
                producer if producer is not None else reader,
                attributes={"to": data_type(kind)},
                outputs=[f"{value.name}_{data_type(kind).name.lower()}"],
                types=[kind],
                after=producer,
                graph=graph if producer is None else None,
            )
            node.outputs[0].shape = value.shape
            self.casts[key] = node.outputs[0]
        return self.casts[key]

    def _settle_output(self, value: ir.Value, wanted: str) -> None:
        """A graph output keeps its name: a value of another type is computed under another name and cast to it."""
        producer = value.producer()
        if not self.types.is_float32(value) or producer is None or constant_tensor(value) is not None:
            return
        made = self.now.get(value, FLOAT)
        if made == wanted:
            self.editor.set_type(value, wanted)
            return
        node = self.editor.new_node(
            "Cast",
            [value],
            producer,
            attributes={"to": data_type(wanted)},
            outputs=[f"{value.name}_{'float' if wanted == FLOAT else data_type(wanted).name.lower()}"],
            types=[wanted],
            after=producer,
        )
        self.editor.reroute_output(value, node.outputs[0])
        self.editor.set_type(node.outputs[0], wanted)
        self.editor.set_type(value, made)
