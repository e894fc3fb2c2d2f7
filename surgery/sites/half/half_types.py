"""What an operator's schema and the target's kernels say about a node in half precision."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types import schemas
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import STANDARD, opset
from onnxfix.nouns.weights import weight_data
from onnxfix.surgery.sites.constants import constant_tensor, small_array
from onnxfix.surgery.sites.linear.linears import QUANT_OPS

FLOAT = "tensor(float)"
FP16 = "tensor(float16)"
BF16 = "tensor(bfloat16)"
LARGEST_FP16 = 65504.0
SMALLEST_HALF = 2.0**-25  # half of the smallest subnormal: what is below rounds to zero

# Operators whose small constant guards a division or a logarithm.
GUARDS = frozenset({"Add", "Sub", "Max", "Clip", "Div", "Mul", "Pow"})
_FACTORS = frozenset({"Mul", "Div"})
# A finite constant between fp16's end and this is a scale; beyond, or negative, what is added is a mask.
LARGEST_SCALE = 1e8
# The smallest fp16 number with all its bits.
SMALLEST_NORMAL = 2.0**-14
# Operators of ai.onnx whose attribute names the type of what they make.
TYPED_BY = {
    "RandomNormal": "dtype",
    "RandomUniform": "dtype",
    "RandomNormalLike": "dtype",
    "RandomUniformLike": "dtype",
}
# Packed weights with float scales: all that they compute is in the type of these.
WEIGHT_ONLY = {"MatMulNBits": 2, "GatherBlockQuantized": 2}
_CONTROL = frozenset({"If", "Loop", "Scan"})


def intrinsic(node: ir.Node, model: Model, types: ElementTypes, half: str) -> str:
    """Why a node cannot compute in half at all, whatever the target; empty when it can."""
    touched = [types.get(v) for v in (*node.inputs, *node.outputs)]
    if node.op_type in _CONTROL:
        return "control flow passes fp32 in and out of its bodies"
    if any(t is not None and not t.startswith("tensor(") for t in touched):
        return "tensor sequence"
    if node.op_type in QUANT_OPS and not _is_weight_only(node):
        return "quantized operator"
    schema = schema_of(node, model)
    if schema is None:
        return f"operator {node.domain or 'ai.onnx'}::{node.op_type} is unknown here"
    if node.op_type == "Cast" and types.get(node.inputs[0]) == half:
        return "already a cast from half"
    if node.op_type in ("Cast", "CastLike", "ConstantOfShape"):
        return ""
    if not _schema_permits(node, schema, types, half):
        return f"{node.op_type} has no {half} form in opset version {schema.since}"
    return (_unfit_constant(node) or _unfit_scales(node)) if half == FP16 else ""


def touches_float(node: ir.Node, types: ElementTypes) -> bool:
    """Whether a conversion has anything to decide about a node; constants follow their readers."""
    touched = (types.get(v) for v in (*node.inputs, *node.outputs))
    return node.op_type != "Constant" and any(t is not None and "(float)" in t for t in touched)


def kernel_type(node: ir.Node, model: Model, types: ElementTypes, target: Target, half: str) -> tuple[str, str]:
    """(type to compute in, why it is not `half`) by the target's kernels.

    On a GPU a node without a kernel runs on the host and costs two copies; the CPU provider casts such nodes itself.
    Where bf16 has no kernel fp32 is next, and fp16 only where fp32 has none either, as it has a smaller range.
    """
    if target.provider.is_host or _supported(node, model, types, target, half) != "no":
        return half, ""
    if _supported(node, model, types, target, FLOAT) == "yes":
        return FLOAT, f"{node.op_type} has no {half} kernel on {target.provider}"
    if half == BF16 and _supported(node, model, types, target, FP16) == "yes":
        return FP16, f"{node.op_type} has a float16 kernel only on {target.provider}"
    return FLOAT, f"{node.op_type} has no kernel on {target.provider} in any type"  # a cast around it would be copied


def accepts_half(schema: schemas.Schema, index: int, known: str | None, half: str) -> bool:
    """Whether a float32 input may become half by the operator's schema."""
    formal = schema.input_formal(index)
    return known == FLOAT and formal is not None and half in schema.allowed.get(formal.type_str, frozenset())


def takes_any(node: ir.Node, types: ElementTypes) -> bool:
    """Whether a node reads its float in any type, as no other depends on it: Cast, Shape, IsNaN."""
    floats = [v for v in node.inputs if types.is_float32(v)]
    alone = len(floats) == 1 and not any(types.is_float32(v) for v in node.outputs)
    return alone or node.op_type in ("Cast", "CastLike")


def opset_of(node: ir.Node, model: Model) -> int:
    return opset(model.ir.opset_imports, node.domain)


def schema_of(node: ir.Node, model: Model) -> schemas.Schema | None:
    return schemas.find(node.op_type, node.domain, opset_of(node, model))


def _supported(node: ir.Node, model: Model, types: ElementTypes, target: Target, kind: str) -> str:
    schema = schema_of(node, model)
    if schema is None:
        return "unknown"
    inputs = [kind if accepts_half(schema, i, types.get(v), kind) else types.get(v) for i, v in enumerate(node.inputs)]
    outputs = [kind if types.is_float32(v) else types.get(v) for v in node.outputs]
    return target.supports(node.op_type, node.domain, opset_of(node, model), inputs, outputs)


def vanishing(node: ir.Node) -> float | None:
    """A constant operand that rounds to 0; None where there is none."""
    arrays = (small_array(value, limit=16) for value in node.inputs)
    small = (a[(a != 0) & (abs(a) < SMALLEST_HALF)] for a in arrays if a is not None and a.dtype.kind == "f")
    return next((float(gone.reshape(-1)[0]) for gone in small if gone.size), None)


def _unfit_constant(node: ir.Node) -> str:
    """An epsilon that rounds to 0 turns a guarded division into 0/0, a scale beyond 65,504 becomes another one."""
    if node.op_type in GUARDS and (gone := vanishing(node)) is not None:
        return f"its constant {gone:g} is 0 in half"
    for value in node.inputs if node.op_type in GUARDS else ():
        array = small_array(value, limit=16)
        if array is None or array.dtype.kind != "f":
            continue
        large = np.isfinite(array) & (abs(array) > LARGEST_FP16)
        large &= (array > 0) & (array < LARGEST_SCALE) if node.op_type not in _FACTORS else True
        if large.any() and node.op_type not in ("Max", "Clip"):
            return f"its constant {float(array[large].reshape(-1)[0]):g} is beyond 65,504"
    return ""


def stays_single(node: ir.Node, model: Model, types: ElementTypes) -> set[ir.Value]:
    """Float outputs that stay fp32 when the node computes in half: no float input decides their type. The mean and
    the deviation of a norm are such."""
    schema = schema_of(node, model)
    if schema is None or node.op_type in ("Cast", "CastLike", "ConstantOfShape") or typed_by(node):
        return set()
    bound = _bound(node, schema, types)
    return {
        value
        for index, value in enumerate(node.outputs)
        if types.is_float32(value) and (f := schema.output_formal(index)) is not None and f.type_str not in bound
    }


def typed_by(node: ir.Node) -> str:
    """The attribute that names the type of a node's result; empty for operators whose inputs decide it."""
    return TYPED_BY.get(node.op_type, "") if node.domain in STANDARD else ""


def _schema_permits(node: ir.Node, schema: schemas.Schema, types: ElementTypes, half: str) -> bool:
    """Each float output that is used must follow a type variable that admits half and that a float input binds, or an
    attribute; others that are fp32 in any case do no harm beside one that is so."""
    bound = _bound(node, schema, types)
    floats = [(v, schema.output_formal(i)) for i, v in enumerate(node.outputs) if v.name and types.is_float32(v)]
    follows = False
    for _, formal in floats:
        if formal is None:
            return False
        if formal.type_str in bound or typed_by(node):
            if half not in schema.allowed.get(formal.type_str, ()):
                return False
            follows = True
        elif FLOAT not in schema.allowed.get(formal.type_str, {formal.type_str}):
            return False
    return follows or not floats


def _bound(node: ir.Node, schema: schemas.Schema, types: ElementTypes) -> set[str]:
    """Type variables that float inputs decide."""
    return {
        formal.type_str
        for i, v in enumerate(node.inputs)
        if types.is_float32(v) and (formal := schema.input_formal(i)) is not None and formal.homogeneous
    }


def _is_weight_only(node: ir.Node) -> bool:
    return node.domain == "com.microsoft" and node.op_type in WEIGHT_ONLY


def _unfit_scales(node: ir.Node) -> str:
    """Scales of packed weights that lose bits in half, or overflow: each is a factor of a whole block."""
    if not _is_weight_only(node):
        return ""
    tensor = constant_tensor(node.inputs[WEIGHT_ONLY[node.op_type]])
    array = np.abs(weight_data.array(tensor).astype(np.float32)) if tensor is not None else None
    if array is None:
        return "its scales are made at run time"
    if array.max(initial=0) > LARGEST_FP16 or ((array > 0) & (array < SMALLEST_NORMAL)).any():
        return "its scales are beyond the range of half"
    return ""
