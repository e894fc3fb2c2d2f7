"""Which nodes a conversion to half precision leaves in fp32, each with its reason. Decided once, read by all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.sites.attention import attention_scores, rotary
from onnxfix.surgery.sites.attention.rotary import ANGLE_OPS
from onnxfix.surgery.sites.constants import constant_tensor, small_array

from . import formulas, integer_floats, large_sums, norms
from .block_list import BlockList
from .half_types import FLOAT, FP16, accepts_half, intrinsic, kernel_type, schema_of, takes_any, touches_float
from .movement import NAMED, close_casts, close_movement
from .upstream import arithmetic_before

__all__ = ["FLOAT", "LIKES", "HalfOptions", "HalfPlan", "accepts_half", "plan", "schema_of", "takes_any"]

SMALL_CONSTANT = 4096
"""Elements of a constant that may stay in fp32 with what is computed from it."""
LIKES = ("rotary", "norms", "softmax", "mask")
"""What `keep_fp32_like` can name."""


@dataclass(frozen=True)
class HalfOptions:
    """What a user can say about a conversion. Patterns that catch nothing are errors, not silence.

    `keep_like`: kinds of places out of `LIKES`. `io_types`: `keep` leaves inputs and outputs of the model fp32, `half`
    converts them. `keep_nodes`: labels of nodes with the reason to report, as calibration and search find them.
    """

    keep_rotary_fp32: bool = True
    blocked: BlockList = field(default_factory=BlockList)
    keep_like: tuple[str, ...] = ()
    io_types: str = "keep"
    keep_nodes: tuple[tuple[str, str], ...] = ()

    @property
    def keeps_masks(self) -> bool:
        """Whether masks of attention, and scores from there on, stay in fp32."""
        return "mask" in self.keep_like


@dataclass
class HalfPlan:
    """`keep`: each fp32 node with its reason; `other`: nodes that compute in another half type; `half`: the type of
    everything else that was float."""

    half: str
    keep: dict[ir.Node, str] = field(default_factory=dict)
    other: dict[ir.Node, str] = field(default_factory=dict)
    caught: dict[str, int] = field(default_factory=dict)
    """How many nodes each block list entry caught."""

    def add(self, nodes: Iterable[ir.Node], reason: str) -> int:
        count = 0
        for node in nodes:
            count += 1
            self.keep.setdefault(node, reason)
        return count

    def kind(self, node: ir.Node) -> str:
        """The type a node computes its floats in."""
        return FLOAT if node in self.keep else self.other.get(node, self.half)


def plan(model: Model, types: ElementTypes, target: Target, half: str, options: HalfOptions) -> HalfPlan:
    """Decide for every node. `half` is `tensor(float16)` or `tensor(bfloat16)`.

    Raises OnnxfixError when a block list entry, or a kind of place, catches no node.
    """
    made = HalfPlan(half)
    for entry, nodes in options.blocked.caught(model).items():
        made.caught[entry] = made.add(nodes, entry)
    _keep_named(model, options, made)
    _keep_like(model, types, options, made)
    made.add(_index_cones(model, types), "float that becomes an index")
    chosen = [node for node in model.nodes() if node.op_type == "NonMaxSuppression"]
    made.add(arithmetic_before(chosen, types), "boxes and scores that are chosen by")
    numbers = integer_floats.find(model, types)
    angles = {n for site in rotary.find(model, types) for n in site.nodes} if not options.keep_rotary_fp32 else set()
    made.add((node for node in numbers.arithmetic if node not in angles), integer_floats.REASON)
    made.add(numbers.scaled, integer_floats.SCALED)
    _keep_sums(model, types, made)
    if half == FP16:
        for node, reason in formulas.find(model.nodes(), types).items():
            made.add([node], reason)
    made.add(_folded(model, types), "constant arithmetic, which is folded in fp32")
    for node in model.nodes():
        if not touches_float(node, types) or node in made.keep:
            continue
        reason = intrinsic(node, model, types, half)
        kind, lacking = (half, "") if reason or node.op_type in NAMED else kernel_type(node, model, types, target, half)
        if reason or kind == FLOAT:
            made.add([node], reason or lacking)
        elif kind != half:
            made.other[node] = kind
    _keep_comparisons(model, types, made, options)
    casts = set(numbers.casts)

    def needs(node: ir.Node, index: int) -> bool:
        schema = schema_of(node, model)
        return schema is not None and not takes_any(node, types) and not accepts_half(schema, index, FLOAT, half)

    close_casts(model, types, made, casts, integer_floats.REASON, needs)
    close_movement(model, types, made, needs)
    close_casts(model, types, made, casts, integer_floats.REASON, needs)
    return made


def _keep_named(model: Model, options: HalfOptions, made: HalfPlan) -> None:
    wanted = dict(options.keep_nodes)
    for node in model.nodes() if wanted else ():
        if label(node) in wanted:
            made.add([node], wanted[label(node)])


def _keep_like(model: Model, types: ElementTypes, options: HalfOptions, made: HalfPlan) -> None:
    """Places by their kind: rotary angles and written-out norms always, the others when asked for."""
    found: dict[str, list[ir.Node]] = {"rotary": [], "norms": [], "softmax": [], "mask": []}
    if options.keep_rotary_fp32 or "rotary" in options.keep_like:
        found["rotary"] = [node for site in rotary.find(model, types) for node in site.nodes]
    found["norms"] = [node for norm in norms.find(model) for node in norm.nodes]
    if "norms" in options.keep_like:
        found["norms"] += norms.operators(model)
    for site in attention_scores.find(model, types) if {"softmax", "mask"} & set(options.keep_like) else ():
        found["softmax"] += site.nodes
        found["mask"] += site.masked_nodes
    for like in options.keep_like:
        entry = arg("keep_fp32_like", like)
        if not found[like]:
            raise OnnxfixError(f"{entry} catches no node of {model.path.name}", "leave it out")
        made.caught[entry] = len(dict.fromkeys(found[like]))
    for like, reason in (("rotary", "rotary"), ("norms", "norm"), ("softmax", "softmax"), ("mask", "mask")):
        if like in ("rotary", "norms") or like in options.keep_like:
            made.add(found[like], reason)


def _folded(model: Model, types: ElementTypes) -> Iterator[ir.Node]:
    """What ONNX Runtime computes from constants when it loads a model: on the CPU, which has few half kernels, so that
    in half it would be computed at every run. Large results are left: in fp32 they would be stored twice as large."""
    known: set[ir.Value] = set()
    for node in model.nodes():
        if not node.inputs or not all(v is None or v in known or _is_small(v) for v in node.inputs):
            continue
        known.update(node.outputs)
        if node.op_type not in NAMED and any(types.is_float32(v) for v in node.inputs):
            yield node


def _is_small(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.size <= SMALL_CONSTANT


def _keep_sums(model: Model, types: ElementTypes, made: HalfPlan) -> None:
    found = [site for site in large_sums.find(model, types) if types.is_float32(site.node.inputs[0])]
    for site in found:
        made.add([site.node], site.reason)
    made.add(large_sums.divisions(model, [site.node for site in found]), "division of a sum that half does not hold")


def _keep_comparisons(model: Model, types: ElementTypes, made: HalfPlan, options: HalfOptions) -> None:
    """A comparison with what is fp32 anyway, or with a number that half does not hold, answers as before in fp32."""
    for node in model.nodes():
        if node.op_type in integer_floats.COMPARISONS and not all(
            _is_half(v, types, made, options) for v in node.inputs if types.is_float32(v)
        ):
            made.add([node], "comparison of fp32 values")


def _is_half(value: ir.Value | None, types: ElementTypes, made: HalfPlan, options: HalfOptions) -> bool:
    """Whether a value is what half says of it: made by a half node, or a constant that half holds exactly."""
    assert value is not None
    array = small_array(value, limit=16)
    if array is not None:
        with np.errstate(over="ignore"):  # finfo.min, which is compared with
            return bool((array.astype(data_type(made.half).numpy()).astype(array.dtype) == array).all())
    node = value.producer()
    if node is None:
        return options.io_types == "half" and value.graph is not None
    return node not in made.keep


def _index_cones(model: Model, types: ElementTypes) -> list[ir.Node]:
    """Float arithmetic whose result is cast to an integer: a position bucket off by one is another embedding row."""
    cone: dict[ir.Node, None] = {}
    pending = [
        node.inputs[0]
        for node in model.nodes()
        if node.op_type == "Cast"
        and is_standard(node)
        and types.is_float32(node.inputs[0])
        and _is_integer(types.get(node.outputs[0]))
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
