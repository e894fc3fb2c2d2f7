"""`repair --int8 … --fuse-attention` on the bundled model: fewer operators, and the same answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import graphs
import numpy as np
import pytest
from terminal import onnxfix

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.nouns.model import Model


@pytest.mark.parametrize("name", ["dynamo", "legacy"])
def test_attention_and_rotary_products_become_one_operator_each(
    exports: dict[str, Path], tmp_path: Path, name: str
) -> None:
    found = {}
    for flags in ((), ("--fuse-attention",)):
        result = tmp_path / f"{len(flags)}.onnx"
        done = onnxfix("repair", exports[name], "--int8", "dynamic", *flags, "-o", result)
        assert done.returncode == 0, done.stderr
        found[flags] = result
    plain, fused = (Counter(graphs.op_types(Model.open(path))) for path in found.values())
    assert (plain["Softmax"], fused["Softmax"]) == (4, 0)
    assert fused["RotaryEmbedding"] == 8 and fused["MultiHeadAttention"] + fused["Attention"] == 4
    # queries, keys and values of their own, and the gate: 7 a layer; the legacy exporter computes where to cut
    assert (plain["MatMulInteger"], fused["MatMulInteger"]) == (16, {"dynamo": 28, "legacy": 16}[name])
    runners = [OrtRunner(path) for path in found.values()]
    for feed in make_feeds(Model.open(exports[name])):
        one, other = (runner.run(feed.arrays) for runner in runners)
        for head, logits in one.items():
            assert float(np.abs(other[head] - logits).max()) <= 0.1 * float(np.abs(logits).max())


@pytest.mark.parametrize("flags", [("--precision", "fp32"), ("--int8", "weight-only")])
def test_it_is_for_int8_on_a_cpu(exports: dict[str, Path], tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = onnxfix("repair", exports["dynamo"], *flags, "--fuse-attention", "-o", tmp_path / "x.onnx")
    assert done.returncode == 2 and "--fuse-attention needs" in done.stderr
