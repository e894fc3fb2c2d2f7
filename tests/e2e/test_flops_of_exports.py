"""FLOPs of real exports: shapes as the runtime computes them, operations as the configuration has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.diagnose.placement.shapes.known_shapes import shapes_at
from onnxfix.eval.demo import CHECKPOINT
from onnxfix.flows.repair.repaired import Repaired
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Sizes

EXPORTS = ["legacy", "dynamo", "unoptimized"]


@pytest.mark.parametrize("name", EXPORTS)
def test_shapes_are_those_that_the_runtime_computes(name: str, exports: dict[str, Path]) -> None:
    model = Model.open(exports[name])
    recorded = {v.name: v.shape for n in model.nodes() for v in n.outputs if v.name and v.shape is not None}
    known = shapes_at(model.ir, Sizes(2, 9), recorded)
    products = [v for n in model.nodes() if n.op_type in ("MatMul", "Gemm") for v in n.outputs]
    assert len(products) >= 26 and all(v in known for v in products)
    proto = graphs.proto_of(model)
    computed = {v.name or "": shape for v, shape in known.items() if v.producer() is not None}
    given = {v.name for v in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed if name not in given)
    feed = {name: np.ones((2, 9), np.int64) for name in ("input_ids", "attention_mask")}
    out = graphs.run(graphs.opened(proto), feed)
    assert {name: out[name].shape for name in computed if name in out} == computed


@pytest.mark.parametrize("kind", ["int8", "w8-cpu"])
@pytest.mark.parametrize("name", EXPORTS)
def test_the_share_is_that_of_the_configuration(name: str, kind: str, repaired: Callable[[str, str], Repaired]) -> None:
    """Of one token in one layer: its weights, and its scores and their product with 512 values."""
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    linears = 2 * (hidden * 3 * hidden + hidden * hidden + hidden * 2 * inner + inner * hidden)
    products = 4 * 512 * hidden
    done = repaired(name, kind)
    assert done.before.quantization["flops_share"] == 0.0
    # the two heads see one token of 512, and rotary angles are a product too
    assert done.after.quantization["flops_share"] == pytest.approx(linears / (linears + products), abs=1e-3)
