"""What a repair did not quantize, and what arrived quantized."""

from __future__ import annotations

from collections.abc import Sequence

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.passes.convert_to_half import HALVES
from onnxfix.surgery.recipes import Wish

# Products of integers, whose activations are quantized as well.
INTEGER_SUMS = frozenset({"MatMulInteger", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})


def still_int8(wish: Wish, model: Model) -> tuple[str, ...]:
    """A note when half precision is asked of linears that compute in integers."""
    from onnxfix.surgery.sites.linear import linears

    found = [x for x in linears.find(model) if x.quantized] if wish.precision in HALVES and not wish.int8 else []
    count = sum(
        x.node.op_type in INTEGER_SUMS or (not x.reason and x.node.op_type in ("MatMul", "Gemm")) for x in found
    )
    if not count:
        return ()
    said = f"{plural(count, 'linear')} {'computes' if count == 1 else 'compute'} in int8 and will stay so"
    return (f"{said}: for {wish.precision} start from the float file that it was quantized from",)


def require_quantized(result: Model, source: Model, notes: Sequence[str], scheme: str) -> None:
    """A quantization of a scheme that did nothing is not a result. Raises OnnxfixError with the first reason."""
    from onnxfix.surgery.sites.linear import embeddings, linears

    found, tables = linears.find(result), list(embeddings.find(result))
    done = sum(x.quantized for x in found) + sum(x.quantized for x in tables)
    before = [x.quantized for x in linears.find(source)] + [x.quantized for x in embeddings.find(source)]
    if done > sum(before):
        return
    skipped = [x for x in found if not x.quantized]
    if before and not skipped and found:
        said = f"nothing was quantized: all {plural(len(found), 'linear')} are quantized already"
        raise OnnxfixError(said, "nothing was written; to quantize it otherwise, start from the float file")
    why = skipped[0].reason if skipped else "no MatMul or Gemm has a constant weight"
    left = next((note.partition(": ")[2] for note in notes if "stays in float: " in note), "")
    where = f"{plural(len(skipped), 'linear')} skipped, the first because " if skipped else ""
    others = [other for other in ("weight-only", "dynamic") if other != scheme]
    advice = f"{arg('int8', *others)} may reach it" if left else "int8 needs float weights"
    raise OnnxfixError(f"nothing was quantized: {where}{left or why}", f"nothing was written; {advice}")
