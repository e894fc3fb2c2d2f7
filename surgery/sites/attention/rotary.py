"""Position angles: position × inverse frequency → sin/cos, found by structure and never by name.

Every rotary embedding (Su et al., RoFormer, 2021), half-rotated or interleaved, with or without scaled frequencies,
ends in a Sin or Cos whose argument is computed from integers and constants only. Nothing else in a transformer has
that shape except sinusoidal position and time embeddings, for which the same precision argument holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import is_standard
from onnxfix.nouns.types.type_strings import elem_string
from onnxfix.surgery.sites.constants import constant_tensor, small_array

FLOATS = frozenset({"tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)"})
# Arithmetic and data movement that angle computations are made of. Anything else on the way (a normalisation, a
# Softmax, a Gemm) means that the argument depends on learned activations: not an angle of positions.
ANGLE_OPS = frozenset(
    "Mul Div Add Sub Neg Cast CastLike MatMul Einsum Concat Unsqueeze Squeeze Reshape Transpose Expand Tile Slice "
    "Identity Where Pow Reciprocal Split Range Gather Flatten Floor Ceil Round Clip Min Max Log Exp Sqrt Abs "
    "CumSum ConstantOfShape Constant If SplitToSequence SequenceAt GatherND".split()
)


@dataclass(frozen=True)
class RotarySite:
    """The nodes of one angle: float nodes up to Sin/Cos (`angle_nodes`), the `trig` nodes, and the scalings behind
    them (`tail`, attention scaling of YaRN and LongRoPE). `constants` are the float constants read, `inv_freq` among
    them; `outputs` are the values at which cos and sin leave the island."""

    trig: tuple[ir.Node, ...]
    angle_nodes: tuple[ir.Node, ...]
    tail: tuple[ir.Node, ...]
    constants: tuple[ir.Value, ...]

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        return (*self.angle_nodes, *self.trig, *self.tail)

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        last = set(self.tail)
        ends = [n for n in (*self.trig, *self.tail) if not last & set(n.outputs[0].consumers())]
        return tuple(n.outputs[0] for n in ends)


def find(model: Model, types: ElementTypes | None = None) -> list[RotarySite]:
    """All position-angle sites in graph order; Sin and Cos of one argument form one site."""
    known = types or infer(model.ir)
    by_argument: dict[ir.Value, list[ir.Node]] = {}
    for node in model.nodes():
        if node.op_type in ("Sin", "Cos") and is_standard(node) and node.inputs[0] is not None:
            by_argument.setdefault(node.inputs[0], []).append(node)
    sites = []
    for argument, trig in by_argument.items():
        cone = _cone(argument, known)
        if cone is None:
            continue
        nodes, constants = cone
        sites.append(RotarySite(tuple(trig), tuple(nodes), _tails(trig), tuple(constants)))
    return sites


def _cone(argument: ir.Value, types: ElementTypes) -> tuple[list[ir.Node], list[ir.Value]] | None:
    """Float nodes and float constants that an argument is computed from; None with learned activations among them."""
    nodes: dict[ir.Node, None] = {}
    constants: dict[ir.Value, None] = {}
    pending = [argument]
    seen: set[ir.Value] = set()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if constant_tensor(value) is not None:
            if _float(value, types):
                constants[value] = None
            continue
        if not _float(value, types):
            continue
        node = value.producer()
        if node is None:
            continue  # a graph input: positions or frequencies handed in by the caller
        if not _is_angle_arithmetic(node):
            return None
        nodes[node] = None
        pending.extend(v for v in node.inputs if v is not None)
    return list(reversed(nodes)), list(constants)


def _float(value: ir.Value, types: ElementTypes) -> bool:
    known = types.get(value)
    if known is None:
        tensor = constant_tensor(value)
        known = elem_string(tensor.dtype) if tensor is not None else None
    return known in FLOATS


def _is_angle_arithmetic(node: ir.Node) -> bool:
    if node.op_type not in ANGLE_OPS or not is_standard(node):
        return False
    if node.op_type in ("Gather", "GatherND"):
        # A table of rows looked up by integers is an embedding; a vector of frequencies or positions is not.
        table = constant_tensor(node.inputs[0])
        return table is None or len(table.shape) < 2 or 1 in tuple(table.shape)
    if node.op_type in ("MatMul", "Einsum"):
        # inv_freq (…, D/2, 1) @ position (…, 1, S): the constant side has one long axis, a weight matrix has two.
        tensors = [constant_tensor(v) for v in node.inputs]
        return all(t is None or sum(d != 1 for d in t.shape.numpy()) <= 1 for t in tensors)
    return True


def _tails(trig: list[ir.Node]) -> tuple[ir.Node, ...]:
    """Multiplications of cos and sin by one number, each the only reader of what it scales."""
    tail: list[ir.Node] = []
    for node in trig:
        current = node
        while (scaled := _scaling(current)) is not None:
            tail.append(scaled)
            current = scaled
    return tuple(tail)


def _scaling(node: ir.Node) -> ir.Node | None:
    readers = node.outputs[0].consumers()
    if len(readers) != 1 or readers[0].op_type not in ("Mul", "Div") or node.outputs[0].is_graph_output():
        return None
    reader = readers[0]
    if reader.graph is not node.graph:
        return None
    others = [v for v in reader.inputs if v is not node.outputs[0]]
    array = small_array(others[0], limit=1) if len(others) == 1 else None
    return reader if array is not None and array.size == 1 else None
