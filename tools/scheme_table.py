"""Write the table of docs/quantization.md: what each quantization scheme runs as on each target, by our own forecast.

usage: python tools/scheme_table.py [MODEL.onnx]     default: an export of the bundled model, which needs torch

Run it after a change to the placement forecast, to a quantizing pass, or for a new release of ONNX Runtime. Nothing is
run on a GPU: the forecast reads kernel tables, and the CPU provider that is installed says what it fuses.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from onnxfix.diagnose.run import diagnose
from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime.provider import named, placed_on
from onnxfix.nouns.target import Target
from onnxfix.surgery.passes.fold_constant_transposes import FoldConstantTransposes
from onnxfix.surgery.passes.gemm_to_matmul import GemmToMatMul
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.linear import linears

DOCUMENT = Path(__file__).parents[1] / "docs" / "quantization.md"
START, END = "<!-- tools/scheme_table.py writes from here -->", "<!-- to here -->"
TARGETS = ("cpu", "cuda", "tensorrt")
HOST_WORTHY = ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear")

Scheme = Callable[[Model, Target], Model]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Model.open(sys.argv[1] if len(sys.argv) > 1 else exported(Path(folder)))
        rows = [row(name, scheme, source) for name, scheme in SCHEMES.items()]
    head, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(START)
    lines = [f"| scheme | {' | '.join(TARGETS)} | FLOPs |", "| --- " * (len(TARGETS) + 2) + "|", *rows]
    said = (
        f"ONNX Runtime {onnxruntime.__version__}; FLOPs: the share of a batch of 64 × 512 tokens on quantized numbers."
    )
    DOCUMENT.write_text(
        head + START + "\n" + "\n".join(lines) + f"\n\n{said}\n" + END + rest.partition(END)[2], encoding="utf-8"
    )
    sys.stdout.write("\n".join(lines) + "\n")


def exported(folder: Path) -> Path:
    from onnxfix.eval.demo import CHECKPOINT
    from onnxfix.export.run import export
    from onnxfix.export.spec import ExportSpec

    export(ExportSpec(CHECKPOINT, folder / "model.onnx"))
    return folder / "model.onnx"


def row(name: str, scheme: Scheme, source: Model) -> str:
    reports = [diagnose(scheme(source, target), target) for target in map(Target.resolve, TARGETS)]
    shares = {report.quantization["flops_share"] for report in reports}
    (share,) = shares  # the same model, whoever runs it
    cells = ["; ".join(said(report)) or "float" for report in reports]
    return f"| {name} | {' | '.join(cells)} | {100 * float(str(share)):.0f} % |"


def said(report: Report) -> Iterator[str]:
    """Kernels by provider, what is not fused, pairs and what makes them where they are not fused, and copies."""
    plan = report.plan
    if plan.load_error or plan.failures:
        yield "does not load"
    found: Any = report.quantization["providers"]
    for kernel, count in found.items():
        op_type, _, where = kernel.partition(" on ")
        yield f"{count} × `{op_type}` on {placed_on(where).label}"
    for op_type, count in Counter(x.op_type for x in plan.unfused if x.harm == "slow").items():
        yield f"**{count} × `{op_type}` in float, not fused**"
    pairs = Counter((n.op_type, n.provider) for n in plan.nodes if n.op_type in HOST_WORTHY)
    for (op_type, where), count in pairs.items():
        if op_type == "DynamicQuantizeLinear" or not named(str(report.target["provider"])).fuses_pairs:
            yield f"{count} × `{op_type}` on {placed_on(where).label}"
    if not named(str(report.target["provider"])).is_host:
        yield f"{len(plan.copies)} Memcpy"


def wished(**wish: Any) -> Scheme:
    """What `onnxfix repair` makes; `of`: for which target, where that is not the one it is judged on."""
    of = wish.pop("of", "")

    def made(source: Model, target: Target) -> Model:
        inputs = tuple(feed.arrays for feed in make_feeds(source)) if wish["int8"] == "static" else ()
        asked = Wish(Target.resolve(of) if of else target, "fp32", inputs=inputs, **wish)
        return recipe(asked, source).apply(source)[0]

    return made


def symmetric_activations(source: Model, _: Target) -> Model:
    """QuantizeLinear around zero, MatMulInteger of int8 × int8, Cast, Mul: one fixed scale an activation."""

    def product(node: onnx.NodeProto, weight: str, scales: str) -> Iterator[onnx.NodeProto]:
        name = node.output[0]
        yield onnx.helper.make_node("QuantizeLinear", [node.input[0], "act", "zero"], [f"{name}_q"], f"{name}_q")
        yield onnx.helper.make_node("MatMulInteger", [f"{name}_q", weight], [f"{name}_i"], f"{name}_i")
        yield onnx.helper.make_node("Cast", [f"{name}_i"], [f"{name}_f"], f"{name}_f", to=onnx.TensorProto.FLOAT)
        yield onnx.helper.make_node("Mul", [f"{name}_f", scales], [name], f"{name}_m")

    return rewritten(source, product)


def dequantized_weights(source: Model, _: Target) -> Model:
    """int8 weights behind DequantizeLinear, activations in float."""

    def product(node: onnx.NodeProto, weight: str, scales: str) -> Iterator[onnx.NodeProto]:
        name = node.output[0]
        yield onnx.helper.make_node("DequantizeLinear", [weight, scales], [f"{name}_w"], f"{name}_w", axis=1)
        yield onnx.helper.make_node("MatMul", [node.input[0], f"{name}_w"], [name], node.name)

    return rewritten(source, product)


def rewritten(source: Model, product: Callable[[onnx.NodeProto, str, str], Iterator[onnx.NodeProto]]) -> Model:
    """Every linear with an int8 weight, one scale a column; placement asks for types, so the scales are made up."""
    model = Recipe((FoldConstantTransposes(), GemmToMatMul())).apply(source)[0]
    taken = {x.node.name: x.weight.source.name for x in linears.find(model) if x.node.op_type == "MatMul"}
    proto = ir.to_proto(model.ir)
    sizes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        weight = taken.get(node.name)
        if weight is None:
            nodes.append(node)
            continue
        name = node.output[0]
        arrays = {"w8": np.ones(sizes[weight], np.int8), "ws": np.full(sizes[weight][1], 0.01, np.float32)}
        for kind, array in arrays.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}_{kind}"))
        nodes.extend(product(node, f"{name}_w8", f"{name}_ws"))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    constants = {"act": np.array(0.05, np.float32), "zero": np.array(0, np.int8)}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    return Model(ir.from_proto(proto), source.path)


SCHEMES: dict[str, Scheme] = {
    "fp32": lambda source, target: source,
    "dynamic, u8 activations (`--int8 dynamic`)": wished(of="cpu", int8="dynamic"),
    "static QDQ, u8 activations (`--int8 static --target cpu`)": wished(of="cpu", int8="static"),
    "static QDQ, s8 symmetric (`--int8 static --target tensorrt`)": wished(of="tensorrt", int8="static"),
    "W8A8, s8 symmetric, without pairs (`QuantizeLinear`, `MatMulInteger`, `Cast`, `Mul`)": symmetric_activations,
    "8-bit weights behind `DequantizeLinear`, a scale a column": dequantized_weights,
    "8-bit weights in blocks (`--int8 weight-only`)": wished(int8="weight-only", bits=8),
    "4-bit weights in blocks (`--int8 weight-only --bits 4`)": wished(int8="weight-only", bits=4),
}


if __name__ == "__main__":
    main()
