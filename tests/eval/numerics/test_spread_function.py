"""Spread's four figures are those that numpy finds, whatever the entries, the type and the operator set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxfix.eval.inputs.feeds import Feed, make_feeds
from onnxfix.eval.numerics.side_by_side import profile
from onnxfix.eval.numerics.spread_function import declare_spread, spread_node
from onnxfix.eval.run import session
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model

Array = np.ndarray[Any, Any]
LIMIT = 16000.0
RNG = np.random.default_rng(3)
PLAIN = RNG.standard_normal((3, 7)).astype(np.float32)
CASES: dict[str, tuple[Array, Array]] = {
    "plain": (PLAIN, PLAIN + np.float32(1e-3)),
    "equal": (PLAIN, PLAIN),
    "nan in ours": (np.where(PLAIN > 1, np.float32(np.nan), PLAIN), PLAIN * 2),
    "nan in theirs": (PLAIN, np.where(PLAIN > 1, np.float32(np.nan), PLAIN * 2)),
    "infinite in both": (np.where(PLAIN < -1, np.float32(-np.inf), PLAIN), np.where(PLAIN < -1, -np.inf, PLAIN + 1)),
    "beyond the limit": (np.where(PLAIN > 0, np.float32(3e38), PLAIN), np.where(PLAIN > 0, 65000, PLAIN)),
    "theirs alone beyond it": (PLAIN, np.where(PLAIN > 1, 20000, PLAIN)),
    "the mask of half": (np.where(PLAIN < 0, np.finfo(np.float32).min, PLAIN), np.where(PLAIN < 0, -16384, PLAIN)),
    "at the limit": (np.float32([LIMIT, 1]), np.float32([LIMIT, 2])),
    "zeros": (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)),
}
TYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}


def measured(ours: Array, theirs: Array, kind: int, opset: int) -> Array:
    """By the function, in a graph."""
    info = helper.make_tensor_value_info
    shape = list("abcd"[: ours.ndim])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["ours"])],
        "g",
        [info("x", TensorProto.FLOAT, shape), info("theirs", kind, shape)],
        [info("ours", TensorProto.FLOAT, shape)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    model = Model(ir.from_proto(proto), Path("m.onnx"))
    declare_spread(model, LIMIT)
    model.graph.append(spread_node(model.graph.node(0).outputs[0], model.graph.inputs[1]))
    model.graph.outputs[0] = model.graph.node(1).outputs[0]
    with on_disk(model) as path:
        return OrtRunner(path, level="none").run({"x": ours, "theirs": theirs})["ours/figures"]


def by_numpy(ours: Array, theirs: Array) -> list[float]:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite, both = np.isfinite(a), np.isfinite(a) & np.isfinite(b)
    within = [np.clip(array[both], -LIMIT, LIMIT) for array in (a, b)]
    return [
        float(np.sum((within[1] - within[0]) ** 2)),
        float(np.sum(np.clip(a[finite], -LIMIT, LIMIT) ** 2)),
        float(np.sum(finite & ~np.isfinite(b))),
        float(np.max(np.abs(a[finite]), initial=0.0)),
    ]


@pytest.mark.parametrize("opset", [7, 8, 9, 12, 13, 18, 21])
def test_figures_are_numpys_in_every_operator_set(opset: int) -> None:
    for ours, theirs in CASES.values():
        found = measured(ours, theirs.astype(np.float32), TensorProto.FLOAT, opset)
        np.testing.assert_allclose(found, by_numpy(ours, theirs.astype(np.float32)), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_values_are_measured_as_they_are(kind: int) -> None:
    for ours, theirs in CASES.values():
        with np.errstate(over="ignore"):
            rounded = theirs.astype(TYPES[kind])
        np.testing.assert_allclose(measured(ours, rounded, kind, 17), by_numpy(ours, rounded), rtol=1e-5, atol=1e-12)


def chain(path: Path, length: int, scale: float = 1.0) -> Model:
    """So many Adds and Tanhs of one input whose sizes are symbols."""
    names = [f"v{n}" for n in range(length)]
    nodes = [
        helper.make_node("Tanh" if n % 2 else "Add", [names[n - 1] if n else "x"] + ([] if n % 2 else ["w"]), [name])
        for n, name in enumerate(names)
    ]
    weight = onnx.numpy_helper.from_array(np.full(8, 0.3 * scale, np.float32), "w")
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "m", 8]) for name in ("x", names[-1])]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Model.open(path)


def test_a_profile_is_that_of_two_sessions_that_hand_out_everything(tmp_path: Path) -> None:
    first, second = chain(tmp_path / "a.onnx", 9), chain(tmp_path / "b.onnx", 9, 1.01)
    feed = make_feeds(first)[0]
    every = [outputs(model, feed) for model in (first, second)]
    for spread in profile(first, second, feed):
        a, b = (each[spread.site.value].astype(np.float64) for each in every)
        assert spread.rel_l2 == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-4)
        assert spread.largest == pytest.approx(np.max(np.abs(a))) and spread.lost == 0


def outputs(model: Model, feed: Feed) -> dict[str, Array]:
    """Every value of a graph, by onnxruntime alone."""
    import onnxruntime

    proto = onnx.load(model.path)
    names = [name for node in proto.graph.node for name in node.output]
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    opened = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, opened.run(names, dict(feed.arrays)), strict=True))


@pytest.mark.alone
def test_no_time_goes_to_which_dead_buffer_a_value_could_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """330 values of a text detector took 45 s to open, all but 2 of them for that; here it is more than half."""
    model = chain(tmp_path / "m.onnx", 450)
    feed = make_feeds(model)[0]

    def seconds() -> float:
        began = time.process_time()
        assert len(profile(model, model, feed)) == 450
        return time.process_time() - began

    ours, plain = min(seconds() for _ in range(2)), session.options

    def planning(*how: Any) -> Any:
        chosen = plain(*how)
        chosen.enable_mem_reuse = True
        return chosen

    monkeypatch.setattr(session, "options", planning)
    assert ours < 0.75 * min(seconds() for _ in range(2))
