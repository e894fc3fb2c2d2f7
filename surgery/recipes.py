"""Which passes a repair runs, and in which order, from what the user asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.site import label
from onnxfix.nouns.target import Target
from onnxfix.surgery.int8.calibration import Inputs, Method
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.passes.band_local_attention import BandLocalAttention
from onnxfix.surgery.passes.bound_mask_infinities import BoundMaskInfinities
from onnxfix.surgery.passes.canonicalize_norms import CanonicalizeNorms
from onnxfix.surgery.passes.cast_like_to_cast import CastLikeToCast
from onnxfix.surgery.passes.clamp_mask_constants import ClampMaskConstants
from onnxfix.surgery.passes.convert_to_half import HALVES, ConvertToHalf
from onnxfix.surgery.passes.convert_with_library import ConvertWithLibrary
from onnxfix.surgery.passes.correct_declared_shapes import CorrectDeclaredShapes
from onnxfix.surgery.passes.drop_idle_casts import DropIdleCasts
from onnxfix.surgery.passes.drop_initializer_value_info import DropInitializerValueInfo
from onnxfix.surgery.passes.drop_trivial_masks import DropTrivialMasks
from onnxfix.surgery.passes.einsum_to_matmul import EinsumToMatMul
from onnxfix.surgery.passes.fold_constant_casts import FoldConstantCasts
from onnxfix.surgery.passes.fold_constant_transposes import FoldConstantTransposes
from onnxfix.surgery.passes.free_baked_batch import FreeBakedBatch
from onnxfix.surgery.passes.fuse_attention import STANDARD, FuseAttention
from onnxfix.surgery.passes.fuse_grouped_query_attention import FuseGroupedQueryAttention
from onnxfix.surgery.passes.fuse_rotary_embedding import FuseRotaryEmbedding
from onnxfix.surgery.passes.gather_nd_to_gather import GatherNdToGather
from onnxfix.surgery.passes.gemm_to_matmul import GemmToMatMul
from onnxfix.surgery.passes.inline_functions import InlineFunctions
from onnxfix.surgery.passes.left_align_rows import OLDEST_OPSET, LeftAlignRows
from onnxfix.surgery.passes.loop_global_attention import LoopGlobalAttention
from onnxfix.surgery.passes.make_shape_values_on_device import MakeShapeValuesOnDevice
from onnxfix.surgery.passes.migrate_outliers import MigrateOutliers
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.passes.pad_masked_keys import PadMaskedKeys
from onnxfix.surgery.passes.quantize_dynamic import QuantizeDynamic
from onnxfix.surgery.passes.quantize_static import QuantizeStatic
from onnxfix.surgery.passes.quantize_weights import QuantizeWeights
from onnxfix.surgery.passes.raise_opset import RaiseOpset, has_attention
from onnxfix.surgery.passes.split_embedding_blocks import SplitEmbeddingBlocks
from onnxfix.surgery.passes.split_packed_products import SplitPackedProducts
from onnxfix.surgery.passes.split_sequence_to_split import SplitSequenceToSplit
from onnxfix.surgery.passes.store_weights_once import StoreWeightsOnce
from onnxfix.surgery.passes.take_packed_tokens import TakePackedTokens
from onnxfix.surgery.passes.take_weights_out_of_inputs import TakeWeightsOutOfInputs
from onnxfix.surgery.passes.write_out_attention import WriteOutAttention
from onnxfix.surgery.passes.write_out_rotary_embedding import WriteOutRotaryEmbedding
from onnxfix.surgery.sites.half.block_list import BlockList
from onnxfix.surgery.sites.half.half_plan import HalfOptions

from .graph_pass import Pass
from .graphsurgeon.script import Script
from .recipe import Recipe

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
    pack: bool = False
    """Compute tokens of padding nowhere but in attention."""
    bands: bool = False
    """With both: attention that sees a band of positions in blocks."""
    either: bool = True
    """With these, on a CPU: in rows wherever a batch costs less so."""
    rows: bool = False
    """With both, on a CPU: attention over whole rows a row at a time, without its padding."""
    wherever: bool = False
    """Do so where it can be done, and say of the rest why not."""
    max_seq: int = 0
    """Tokens of the longest row that the result will get; 0 where that is not known."""
    packed_inputs: bool = False
    """With tokens packed: let them be the model's inputs, and where rows end, in the place of a batch and its mask."""
    free_batch: bool = True
    """Let a graph that takes one batch take any."""
    prepare: bool = True
    """False: run ONNX Runtime's quantizer on the graph as it is, to see what it does alone."""
    scripts: tuple[Script, ...] = ()
    """The user's own functions, run before everything else."""
    scripts_last: tuple[Script, ...] = ()
    """And those run on what the passes made."""

    @property
    def kind(self) -> str:
        """What the result is called by: fp32, fp16, bf16, int8 or int4."""
        return f"int{self.bits}" if self.int8 else self.precision

    @property
    def flash(self) -> bool:
        """Whether attention gets the forms that fast kernels of a GPU take."""
        return self.target.provider.flash and not self.int8

    @property
    def fuse_cached(self) -> bool:
        """Whether attention over a cache gets an operator that the target has."""
        return self.fuse and (self.flash or "cache" in self.target.provider.faster)

    @property
    def apart(self) -> bool:
        """Whether queries, keys and values are products of their own: a copy less, 2 to 3 % of fp32 on a CPU."""
        return self.fuse and "rows" in self.target.provider.faster

    @property
    def blocked(self) -> BlockList:
        return self.half.blocked


def recipe(wish: Wish, model: Model, plan: Callable[[Model], Plan] | None = None) -> Recipe:
    """The passes for a wish, in order. Raises OnnxfixError for combinations that cannot work.

    `plan` tells what the target will do with a model; without it copies of shape values are left alone.
    """
    _refuse(wish)
    if not wish.prepare:
        return Recipe((*wish.scripts, QuantizeDynamic(alone=True), *wish.scripts_last))
    # Structure first: later passes then see one form of each thing. None of these changes an output bit.
    steps: list[Pass] = [TakeWeightsOutOfInputs(), InlineFunctions(), SplitSequenceToSplit(), FoldConstantCasts()]
    steps += [CastLikeToCast(), *([FreeBakedBatch()] if wish.free_batch else []), CorrectDeclaredShapes()]
    steps += [DropInitializerValueInfo(), StoreWeightsOnce()]
    if wish.target.tabled is not None and wish.target.tabled.flat_blocks:
        steps.append(SplitEmbeddingBlocks())
    if (wish.pack or wish.fuse) and not wish.int8:
        steps += [FoldConstantTransposes(), *([SplitPackedProducts()] if wish.apart else []), *_faster(wish)]
    if wish.precision != "fp32":
        # Folded weights are half the size on disk; a Transpose left in front of them would be folded at every load.
        steps.append(FoldConstantTransposes())
        steps.append(ClampMaskConstants(not wish.half.keeps_masks, wish.precision))
        steps += [] if wish.pack or wish.fuse else [CanonicalizeNorms()]
        if wish.converter == "onnxfix":
            steps.append(ConvertToHalf(wish.target, wish.precision, wish.half))
        else:
            steps.append(ConvertWithLibrary(wish.converter, wish.target, wish.half))
        steps.append(DropIdleCasts())
    if wish.int8:
        steps.extend(_quantization(wish, model))
    steps += [TakePackedTokens()] if wish.packed_inputs else []
    last = planned(wish, plan).passes if plan is not None else ()
    return Recipe((*wish.scripts, *steps, *wish.scripts_last, *last))


def _quantization(wish: Wish, model: Model) -> list[Pass]:
    selection = Selection(_blocked(wish, model), wish.heads)
    # a DequantizeLinear with a scale a column needs operator set 13
    steps: list[Pass] = [*([RaiseOpset()] if wish.int8 == "static" else []), EinsumToMatMul(selection)]
    tied = selection if wish.int8 != "weight-only" else None  # those passes read a table behind its Transpose
    # the dynamic quantizer makes a MatMul of each Gemm by itself, and transposes a weight once for each that reads it
    steps.extend([*([GemmToMatMul(selection)] if wish.int8 == "dynamic" else []), FoldConstantTransposes(tied)])
    steps += [SplitPackedProducts(selection)] if wish.fuse and wish.int8 == "dynamic" else []
    steps += _faster(wish)  # before scales are measured: padding has none then
    if wish.int8 == "weight-only":
        size = wish.block_size or BLOCK_SIZES[wish.bits]
        return [*steps, GemmToMatMul(selection), QuantizeWeights(wish.target, wish.bits, size, selection)]
    symmetric = wish.target.provider.symmetric
    if wish.migrate and wish.inputs:
        steps.append(MigrateOutliers(wish.inputs, symmetric, wish.int8 == "dynamic", selection))
    if wish.int8 == "dynamic":
        return [*steps, BoundMaskInfinities(), QuantizeDynamic(selection, reduce_range=wish.reduce_range)]
    return [*steps, QuantizeStatic(wish.inputs, wish.method, symmetric, selection, wish.reduce_range)]


def _faster(wish: Wish) -> list[Pass]:
    """What computes the same numbers faster."""
    steps: list[Pass] = [CanonicalizeNorms(), GatherNdToGather()]
    steps += [WriteOutRotaryEmbedding(), WriteOutAttention()] if wish.fuse else []
    if wish.fuse or wish.pack:
        # ai.onnx's attention is 1.3 times as fast in blocks of 64 x 192 as com.microsoft's (CPU, 1.31.1)
        in_blocks = [RaiseOpset(STANDARD, "attention in blocks", band_local(wish).is_for)]
        steps += in_blocks if wish.apart and wish.pack and wish.bands else []
        # the converter of operator sets writes a value_info for weights, too
        steps += [RaiseOpset(SHAPE_OF_AN_AXIS, "the faster graph", has_attention), DropInitializerValueInfo()]
    steps += [DropIdleCasts(), FuseRotaryEmbedding()] if wish.fuse else []
    if wish.fuse_cached:
        steps.append(FuseGroupedQueryAttention())
    steps += [FuseAttention(wish.pack)] if wish.fuse else []
    steps += [PackTokens(clean_keys=not (wish.fuse and wish.flash))] if wish.pack else []
    if wish.fuse and wish.pack and wish.flash:
        # a band over whole rows is a mask, which no flash kernel takes, and the memory-efficient one only if aligned
        lengths = RaiseOpset(OLDEST_OPSET, "attention by lengths of rows", has_attention)
        return [
            lengths,
            DropInitializerValueInfo(),
            *steps,
            band_local(wish),
            LeftAlignRows(),
            DropTrivialMasks(),
            PadMaskedKeys(),
        ]
    if wish.fuse and wish.pack:
        steps += [band_local(wish)] if wish.bands else []
        steps += [LoopGlobalAttention()] if wish.rows and "rows" in wish.target.provider.faster else []
    return steps


def band_local(wish: Wish) -> BandLocalAttention:
    """The pass that cuts attention into blocks, as a wish has it."""
    return BandLocalAttention(wish.max_seq, either=wish.apart and wish.either)


def planned(wish: Wish, plan: Callable[[Model], Plan]) -> Recipe:
    """The passes that come last, since they ask for the plan of the graph as it will be."""
    return Recipe((MakeShapeValuesOnDevice(plan, wish.target.table),) if wish.target.provider.leaves_shapes else ())


def _refuse(wish: Wish) -> None:
    int8, weight_only = arg("int8", wish.int8), arg("int8", "weight-only")
    if wish.int8 in wish.target.provider.refuses:
        why, instead = wish.target.provider.refuses[wish.int8]
        raise OnnxfixError(f"{int8} does not run {why}", instead)
    if wish.int8 == "static" and not wish.inputs:
        raise OnnxfixError(f"{int8} needs inputs to measure ranges on", f"give them with {arg('calibrate', 'FILE')}")
    if wish.reduce_range and wish.int8 not in ("dynamic", "static"):
        raise OnnxfixError(f"{arg('reduce_range')} needs {arg('int8', 'dynamic', 'static')}", "leave it out")
    fusable = wish.precision == "fp32" and "fuse" in wish.target.provider.faster
    if wish.fuse and not fusable and not (wish.flash and wish.pack):
        said = f"{arg('fuse_attention')} needs {arg('target', 'cpu')} and {arg('precision', 'fp32')}, or {arg('int8')}"
        raise OnnxfixError(said, "leave it out")
    if wish.packed_inputs and not wish.pack:
        said = f"{arg('packed_inputs', True)} needs packed tokens, by {arg('pack_tokens', True)} or {arg('recipe')}"
        raise OnnxfixError(said, "add one, or leave it out")
    if wish.packed_inputs and not (wish.target.provider.is_host or wish.target.provider.array_device):
        said = f"{arg('packed_inputs', True)} needs {arg('target', 'cpu', 'cuda')}"
        raise OnnxfixError(said, "leave it out")
    if wish.pack and not wish.prepare:
        raise OnnxfixError(f"{arg('pack_tokens')} prepares the graph", f"leave out {arg('prepare', False)}")
    if wish.heads and not wish.int8:
        raise OnnxfixError(f"{arg('quantize_heads')} needs {arg('int8')}", "leave it out")
    if not wish.prepare and (wish.int8 != "dynamic" or wish.blocked):
        raise OnnxfixError(
            f"{arg('prepare', False)} needs {arg('int8', 'dynamic')}, and takes no {arg('block_op')} or the like",
            "leave it out",
        )
    if wish.int8 != "weight-only" and (wish.bits != 8 or wish.block_size):
        raise OnnxfixError(f"{arg('bits')} and {arg('block_size')} need {weight_only}", "leave them out")
    if wish.int8 == "weight-only" and wish.precision == "bf16":
        said = f"{int8} with {arg('precision', 'bf16')} is not available"
        raise OnnxfixError(said, f"use {arg('precision', 'fp16', 'fp32')}")
    if wish.int8 in ("dynamic", "static") and wish.precision != "fp32":
        raise OnnxfixError(
            f"{int8} with {arg('precision', wish.precision)}: ONNX Runtime's quantizer skips half weights",
            f"leave {arg('precision')} out",
        )
    if wish.precision == "fp32" and not wish.int8 and wish.blocked:
        raise OnnxfixError(
            f"{arg('block_op')}, {arg('block_node')} and {arg('block_scope')} need a conversion", "leave them out"
        )
    if wish.converter != "onnxfix" and wish.precision != "fp16":
        raise OnnxfixError(f"{wish.converter} converts to fp16 only", f"leave {arg('converter')} out")
    if wish.precision not in HALVES and (wish.half.keep_like or wish.half.io_types != "keep"):
        raise OnnxfixError(
            f"{arg('keep_fp32_like')} and {arg('io_types', 'half')} need {arg('precision', 'fp16', 'bf16')}",
            "leave them out",
        )


def _blocked(wish: Wish, model: Model) -> tuple[str, ...]:
    """Labels of nodes that a user or a search keeps in float."""
    nodes = wish.blocked.caught(model).values()
    names = [label(node) for found in nodes for node in found]
    return tuple(dict.fromkeys([*names, *(name for name, _ in wish.half.keep_nodes)]))
