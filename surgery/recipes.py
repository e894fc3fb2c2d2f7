"""Which passes a repair runs, and in which order, from what the user asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onnxfix.errors import OnnxfixError
from onnxfix.model import Model
from onnxfix.plan import Plan
from onnxfix.site import label
from onnxfix.target import Target

from .calibration import Inputs, Method
from .graph_pass import Pass
from .passes.cast_like_to_cast import CastLikeToCast
from .passes.clamp_mask_constants import ClampMaskConstants
from .passes.convert_to_half import HALVES, ConvertToHalf
from .passes.convert_with_library import ConvertWithLibrary
from .passes.drop_idle_casts import DropIdleCasts
from .passes.drop_initializer_value_info import DropInitializerValueInfo
from .passes.fold_constant_casts import FoldConstantCasts
from .passes.fold_constant_transposes import FoldConstantTransposes
from .passes.fuse_attention import FuseAttention
from .passes.fuse_rotary_embedding import FuseRotaryEmbedding
from .passes.gemm_to_matmul import GemmToMatMul
from .passes.inline_functions import InlineFunctions
from .passes.make_shape_values_on_device import MakeShapeValuesOnDevice
from .passes.migrate_outliers import MigrateOutliers
from .passes.quantize_dynamic import QuantizeDynamic
from .passes.quantize_static import QuantizeStatic
from .passes.quantize_weights import QuantizeWeights
from .passes.raise_opset import RaiseOpset
from .passes.split_sequence_to_split import SplitSequenceToSplit
from .quantizer import Selection
from .recipe import Recipe
from .sites.block_list import BlockList
from .sites.half_plan import HalfOptions

# Scales cost 3 % of the weights' bytes at 8 bits in blocks of 128, and 25 % at 4 bits in blocks of 32, which need them:
# a linear errs by 9e-3 and by 9e-2.
BLOCK_SIZES = {8: 128, 4: 32}


@dataclass(frozen=True)
class Wish:
    """What a user asks of a repair.

    `int8` is empty, `dynamic`, `static` (with ranges measured on `inputs` by `method`) or `weight-only` (`bits` in
    blocks of `block_size`, 0: 128 for 8 bits, 32 for 4). `precision` is one of fp32, fp16, bf16; `converter` who
    rounds: onnxfix, or a library by its name, which then gets a graph that it converts right.
    """

    target: Target
    precision: str = "fp16"
    int8: str = ""
    converter: str = "onnxfix"
    half: HalfOptions = field(default_factory=HalfOptions)
    bits: int = 8
    block_size: int = 0
    inputs: tuple[Inputs, ...] = field(default=(), repr=False, compare=False)
    method: Method = "minmax"
    migrate: bool = True
    """Move outliers of activations into weights, by what `inputs` show."""
    reduce_range: bool = False
    """7-bit weights, for CPUs without VNNI."""
    heads: bool = False
    """Quantize the last small linears, which decide the classes, as well."""
    fuse: bool = False
    """Rotary products and attention in one operator each: what most of the time goes to once linears are int8."""
    prepare: bool = True
    """False: run ONNX Runtime's quantizer on the graph as it is, to see what it does alone."""

    @property
    def kind(self) -> str:
        """What the result is called by: fp32, fp16, bf16, int8 or int4."""
        return f"int{self.bits}" if self.int8 else self.precision

    @property
    def blocked(self) -> BlockList:
        return self.half.blocked


def recipe(wish: Wish, model: Model, plan: Callable[[Model], Plan] | None = None) -> Recipe:
    """The passes for a wish, in order. Raises OnnxfixError for combinations that cannot work.

    `plan` tells what the target will do with a model; without it copies of shape values are left alone.
    """
    _refuse(wish)
    if not wish.prepare:
        return Recipe((QuantizeDynamic(alone=True),))
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
    if wish.int8:
        steps.extend(_quantization(wish, model))
    return Recipe((*steps, *(planned(wish, plan).passes if plan is not None else ())))


def _quantization(wish: Wish, model: Model) -> list[Pass]:
    selection = Selection(_blocked(wish, model), wish.heads)
    # a DequantizeLinear with a scale a column needs operator set 13
    steps: list[Pass] = [*([RaiseOpset()] if wish.int8 == "static" else []), FoldConstantTransposes()]
    if wish.fuse:
        steps.extend((DropIdleCasts(), FuseRotaryEmbedding(), FuseAttention()))
    if wish.int8 == "weight-only":
        size = wish.block_size or BLOCK_SIZES[wish.bits]
        return [*steps, GemmToMatMul(selection), QuantizeWeights(wish.target, wish.bits, size, selection)]
    symmetric = wish.target.provider == "tensorrt"
    if wish.migrate and wish.inputs:
        steps.append(MigrateOutliers(wish.inputs, symmetric, wish.int8 == "dynamic", selection))
    if wish.int8 == "dynamic":
        return [*steps, QuantizeDynamic(selection, reduce_range=wish.reduce_range)]
    return [*steps, QuantizeStatic(wish.inputs, wish.method, symmetric, selection, wish.reduce_range)]


def planned(wish: Wish, plan: Callable[[Model], Plan]) -> Recipe:
    """The passes that come last, since they ask for the plan of the graph as it will be."""
    return Recipe((MakeShapeValuesOnDevice(plan, wish.target.table),) if wish.target.provider == "cuda" else ())


def _refuse(wish: Wish) -> None:
    if wish.int8 == "static" and wish.target.provider == "cuda":
        raise OnnxfixError(
            "--int8 static does not run in integers on cuda: ONNX Runtime's CUDA provider fuses no product with its "
            "QuantizeLinear and DequantizeLinear, so every linear would be dequantized first",
            "use --target cpu or tensorrt, or --int8 weight-only for the GPU",
        )
    if wish.int8 == "static" and not wish.inputs:
        raise OnnxfixError("--int8 static needs inputs to measure ranges on", "name a file with --calibrate")
    if wish.reduce_range and wish.int8 not in ("dynamic", "static"):
        raise OnnxfixError("--reduce-range needs --int8 dynamic or static", "leave it out")
    if wish.fuse and (not wish.int8 or wish.precision != "fp32" or wish.target.provider != "cpu"):
        raise OnnxfixError("--fuse-attention needs --int8, --target cpu and --precision fp32", "leave it out")
    if wish.heads and not wish.int8:
        raise OnnxfixError("--quantize-heads needs --int8", "leave it out")
    if not wish.prepare and (wish.int8 != "dynamic" or wish.blocked):
        raise OnnxfixError("--no-prepare needs --int8 dynamic, and takes no --block option", "leave it out")
    if wish.int8 != "weight-only" and (wish.bits != 8 or wish.block_size):
        raise OnnxfixError("--bits and --block-size need --int8 weight-only", "leave them out")
    if wish.int8 == "weight-only" and wish.precision == "bf16":
        raise OnnxfixError("--int8 weight-only with --precision bf16 is not available", "use --precision fp16 or fp32")
    if wish.int8 == "dynamic" and wish.target.provider != "cpu":
        raise OnnxfixError(
            f"--int8 dynamic does not run on {wish.target.provider}: DynamicQuantizeLinear has no CUDA kernel and "
            "MatMulInteger none for uint8 activations, so every linear would run on the CPU",
            "use --target cpu, or --int8 weight-only for the GPU",
        )
    if wish.int8 in ("dynamic", "static") and wish.precision != "fp32":
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
    """Labels of nodes that a user or a search keeps in float."""
    nodes = wish.blocked.caught(model).values()
    names = [label(node) for found in nodes for node in found]
    return tuple(dict.fromkeys([*names, *(name for name, _ in wish.half.keep_nodes)]))
