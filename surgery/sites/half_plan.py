"""Which nodes a conversion to half precision leaves in fp32, each with its reason. Decided once, read by all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix import schemas
from onnxfix.element_types import ElementTypes
from onnxfix.model import Model
from onnxfix.target import Target

from . import block_list, norms, rotary
from .constants import small_array
from .linears import QUANT_OPS
from .rotary import ANGLE_OPS

FLOAT = "tensor(float)"
# Shape-only operators: in whatever type their input is, so that they never need a cast of their own.
MOVEMENT = frozenset(
    "Reshape Transpose Unsqueeze Squeeze Expand Tile Slice Concat Split Gather Identity Flatten GatherElements "
    "GatherND DepthToSpace SpaceToDepth Pad".split()
)
# Sums over a dynamic axis of activations: 2,048 values of 32 already pass 65,504, the largest fp16 number.
SUMS = frozenset({"ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "CumSum", "ReduceProd", "ReduceLogSumExp"})
# Operators whose small constant guards a division or a logarithm.
GUARDS = frozenset({"Add", "Sub", "Max", "Clip", "Div", "Mul", "Pow"})
SMALLEST_HALF = 2.0**-25  # half of the smallest subnormal: what is below rounds to zero
_CONTROL = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True)
class HalfOptions:
    """What a user can say about a conversion. Patterns that catch nothing are errors, not silence."""

    keep_rotary_fp32: bool = True
    block_ops: tuple[str, ...] = ()
    block_nodes: tuple[str, ...] = ()


@dataclass
class HalfPlan:
    """`keep` maps each fp32 node to its reason; `half` is the type string of everything else that was float."""

    half: str
    keep: dict[ir.Node, str] = field(default_factory=dict)
    caught: dict[str, int] = field(default_factory=dict)
    """How many nodes each block list entry caught."""

    def add(self, nodes: Iterable[ir.Node], reason: str) -> int:
        count = 0
        for node in nodes:
            count += 1
            self.keep.setdefault(node, reason)
        return count


def plan(model: Model, types: ElementTypes, target: Target, half: str, options: HalfOptions) -> HalfPlan:
    """Decide for every node. `half` is `tensor(float16)` or `tensor(bfloat16)`.

    Raises OnnxfixError when a block list entry catches no node.
    """
    made = HalfPlan(half)
    for entry, nodes in block_list.caught(model, options.block_ops, options.block_nodes).items():
        made.caught[entry] = made.add(nodes, entry)
    if options.keep_rotary_fp32:
        for site in rotary.find(model, types):
            made.add(site.nodes, "rotary")
    for norm in norms.find(model):
        made.add(norm.nodes, "norm")
    made.add(_index_cones(model, types), "float that becomes an index")
    for node in model.nodes():
        reason = _intrinsic(node, model, types, target, half)
        if reason:
            made.add([node], reason)
    _close_movement(model, types, made)
    return made


def _index_cones(model: Model, types: ElementTypes) -> list[ir.Node]:
    """Float arithmetic whose result is cast to an integer: a position bucket off by one is another embedding row."""
    cone: dict[ir.Node, None] = {}
    pending = [
        node.inputs[0]
        for node in model.nodes()
        if node.op_type == "Cast" and types.is_float32(node.inputs[0]) and _is_integer(types.get(node.outputs[0]))
    ]
    while pending:
        value = pending.pop()
        node = value.producer() if value is not None else None
        if node is None or node in cone or node.op_type not in ANGLE_OPS or node.op_type in ("MatMul", "Einsum"):
            continue
        cone[node] = None
        pending.extend(v for v in node.inputs if v is not None and types.is_float32(v))
    return list(cone)


def _is_integer(type_string: str | None) -> bool:
    return type_string is not None and type_string.startswith(("tensor(int", "tensor(uint"))


def _intrinsic(node: ir.Node, model: Model, types: ElementTypes, target: Target, half: str) -> str:
    """Why a node cannot compute in half at all, empty when it can."""
    touched = [types.get(v) for v in (*node.inputs, *node.outputs)]
    if not any(t is not None and "(float)" in t for t in touched) or node.op_type == "Constant":
        return ""
    if node.op_type in _CONTROL:
        return "control flow passes fp32 in and out of its bodies"
    if any(t is not None and not t.startswith("tensor(") for t in touched):
        return "tensor sequence"
    if node.op_type in QUANT_OPS:
        return "quantized operator"
    if node.op_type in SUMS:
        return "sum that can pass 65,504"
    schema = schema_of(node, model)
    if schema is None:
        return f"operator {node.domain or 'ai.onnx'}::{node.op_type} is unknown here"
    if node.op_type == "Cast" and types.get(node.inputs[0]) == half:
        return "already a cast from half"
    if node.op_type in ("Cast", "CastLike", "ConstantOfShape"):
        return ""
    if not _schema_permits(node, schema, types, half):
        return f"{node.op_type} has no {half} form in opset version {schema.since}"
    return _vanishing_constant(node, half) or _no_kernel(node, model, types, target, half)


def _vanishing_constant(node: ir.Node, half: str) -> str:
    """An epsilon that rounds to 0 turns a guarded division into 0/0; fp16 ends at 6e-8, bf16 has fp32's range."""
    if half != "tensor(float16)" or node.op_type not in GUARDS:
        return ""
    for value in node.inputs:
        array = small_array(value, limit=16)
        if array is None or array.dtype.kind != "f":
            continue
        gone = (array != 0) & (abs(array) < SMALLEST_HALF)
        if gone.any():
            return f"its constant {float(array[gone].reshape(-1)[0]):g} is 0 in half"
    return ""


def _schema_permits(node: ir.Node, schema: schemas.Schema, types: ElementTypes, half: str) -> bool:
    """Every float output must follow a type variable that admits half and that a float input binds."""
    bound = {
        formal.type_str
        for i, v in enumerate(node.inputs)
        if types.is_float32(v) and (formal := schema.input_formal(i)) is not None and formal.homogeneous
    }
    for index, value in enumerate(node.outputs):
        formal = schema.output_formal(index)
        if not types.is_float32(value):
            continue
        if formal is None or formal.type_str not in bound or half not in schema.allowed.get(formal.type_str, ()):
            return False
    return True


def _no_kernel(node: ir.Node, model: Model, types: ElementTypes, target: Target, half: str) -> str:
    """On a GPU a node without a half kernel would run on the host; the CPU provider casts such nodes itself."""
    if target.provider == "cpu":
        return ""
    opset = opset_of(node, model)
    schema = schema_of(node, model)
    assert schema is not None
    inputs = [half if accepts_half(schema, i, types.get(v), half) else types.get(v) for i, v in enumerate(node.inputs)]
    outputs = [half if types.is_float32(v) else types.get(v) for v in node.outputs]
    originals = [types.get(v) for v in node.inputs], [types.get(v) for v in node.outputs]
    if target.supports(node.op_type, node.domain, opset, inputs, outputs) != "no":
        return ""
    if target.supports(node.op_type, node.domain, opset, *originals) != "yes":
        return f"{node.op_type} has no kernel on {target.provider} in any type"  # a cast around it would be copied
    return f"{node.op_type} has no {half} kernel on {target.provider}"


def accepts_half(schema: schemas.Schema, index: int, known: str | None, half: str) -> bool:
    """Whether a float32 input may become half by the operator's schema."""
    formal = schema.input_formal(index)
    return known == FLOAT and formal is not None and half in schema.allowed.get(formal.type_str, frozenset())


def opset_of(node: ir.Node, model: Model) -> int:
    imports = model.ir.opset_imports
    return model.opset if node.domain in ("", "ai.onnx") else imports.get(node.domain, 1)


def schema_of(node: ir.Node, model: Model) -> schemas.Schema | None:
    return schemas.find(node.op_type, node.domain, opset_of(node, model))


def _close_movement(model: Model, types: ElementTypes, made: HalfPlan) -> None:
    """Data movement between fp32 nodes only stays fp32: no cast to half and back around a Reshape."""
    pending = [n for n in model.nodes() if n.op_type in MOVEMENT]
    while pending:
        node = pending.pop()
        if node in made.keep:
            continue
        producers = [v.producer() for v in node.inputs if v is not None and types.is_float32(v)]
        readers = [c for v in node.outputs for c in v.consumers()]
        if not producers or not readers or not all(n in made.keep for n in (*producers, *readers) if n is not None):
            continue
        made.keep[node] = "between two fp32 nodes"
        pending.extend(n for n in (*producers, *readers) if n is not None and n.op_type in MOVEMENT)
