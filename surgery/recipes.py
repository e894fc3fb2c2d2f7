"""Which passes a repair runs, and in which order, from what the user asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onnxfix.errors import OnnxfixError
from onnxfix.model import Model
from onnxfix.plan import Plan
from onnxfix.target import Target

from .graph_pass import Pass
from .passes.cast_like_to_cast import CastLikeToCast
from .passes.clamp_mask_constants import ClampMaskConstants
from .passes.convert_to_half import HALVES, ConvertToHalf
from .passes.convert_with_library import ConvertWithLibrary
from .passes.drop_idle_casts import DropIdleCasts
from .passes.drop_initializer_value_info import DropInitializerValueInfo
from .passes.fold_constant_casts import FoldConstantCasts
from .passes.fold_constant_transposes import FoldConstantTransposes
from .passes.inline_functions import InlineFunctions
from .passes.make_shape_values_on_device import MakeShapeValuesOnDevice
from .passes.quantize_dynamic import QuantizeDynamic
from .passes.split_sequence_to_split import SplitSequenceToSplit
from .recipe import Recipe
from .sites.block_list import BlockList
from .sites.half_plan import HalfOptions


@dataclass(frozen=True)
class Wish:
    """What a user asks of a repair. `int8` is empty or `dynamic`; `precision` one of fp32, fp16, bf16; `converter` who
    rounds: onnxfix, or a library by its name, which then gets a graph that it converts right."""

    target: Target
    precision: str = "fp16"
    int8: str = ""
    converter: str = "onnxfix"
    half: HalfOptions = field(default_factory=HalfOptions)

    @property
    def blocked(self) -> BlockList:
        return self.half.blocked


def recipe(wish: Wish, model: Model, plan: Callable[[Model], Plan] | None = None) -> Recipe:
    """The passes for a wish, in order. Raises OnnxfixError for combinations that cannot work.

    `plan` tells what the target will do with a model; without it copies of shape values are left alone.
    """
    _refuse(wish)
    # Structure first: later passes then see one form of each thing. None of these changes an output bit.
    steps: list[Pass] = [InlineFunctions(), SplitSequenceToSplit(), FoldConstantCasts(), CastLikeToCast()]
    steps.append(DropInitializerValueInfo())
    if wish.precision != "fp32":
        # Folded weights are half the size on disk; a Transpose left in front of them would be folded at every load.
        steps.append(FoldConstantTransposes())
        steps.append(ClampMaskConstants())
        if wish.converter == "onnxfix":
            steps.append(ConvertToHalf(wish.target, wish.precision, wish.half))
        else:
            steps.append(ConvertWithLibrary(wish.converter, wish.target, wish.half))
        steps.append(DropIdleCasts())
    if wish.int8 == "dynamic":
        steps.append(FoldConstantTransposes())
        steps.append(QuantizeDynamic(blocked=_blocked(wish, model)))
    return Recipe((*steps, *(planned(wish, plan).passes if plan is not None else ())))


def planned(wish: Wish, plan: Callable[[Model], Plan]) -> Recipe:
    """The passes that come last, since they ask for the plan of the graph as it will be."""
    return Recipe((MakeShapeValuesOnDevice(plan, wish.target.table),) if wish.target.provider == "cuda" else ())


def _refuse(wish: Wish) -> None:
    if wish.int8 in ("static", "weight-only"):
        raise OnnxfixError(
            f"--int8 {wish.int8} is not available yet", "use --int8 dynamic for CPU, or --precision fp16"
        )
    if wish.int8 == "dynamic" and wish.target.provider != "cpu":
        raise OnnxfixError(
            f"--int8 dynamic does not run on {wish.target.provider}: DynamicQuantizeLinear has no CUDA kernel and "
            "MatMulInteger none for uint8 activations, so every linear would run on the CPU",
            "use --target cpu, or --precision fp16 for the GPU",
        )
    if wish.int8 and wish.precision != "fp32":
        raise OnnxfixError(
            f"--int8 {wish.int8} with --precision {wish.precision}: ONNX Runtime's quantizer skips half weights",
            "leave --precision out",
        )
    if wish.precision == "fp32" and not wish.int8 and wish.blocked:
        raise OnnxfixError("--block-op, --block-node and --block-scope need a conversion", "leave them out")
    if wish.converter != "onnxfix" and wish.precision != "fp16":
        raise OnnxfixError(f"{wish.converter} converts to fp16 only", "leave --converter out")
    if wish.precision not in HALVES and (wish.half.keep_like or wish.half.io_types != "keep"):
        raise OnnxfixError("--keep-fp32-like and --io-types half need --precision fp16 or bf16", "leave them out")


def _blocked(wish: Wish, model: Model) -> tuple[str, ...]:
    """Names of nodes a user keeps in float."""
    nodes = wish.blocked.caught(model).values()
    return tuple(dict.fromkeys(node.name for found in nodes for node in found if node.name))
