"""The emulation of 16-bit pair sums against numpy, pair by pair, and against the runtime's own fused operators."""

from __future__ import annotations

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from saturation_cases import CASES, Case, corrected, pair_sums

from onnxfix.eval.numerics.saturation import saturated
from onnxfix.nouns.errors import OnnxfixError


def run(case: Case, activation: np.ndarray, level: str, emulated: bool = True) -> np.ndarray:
    model = saturated(case.model()) if emulated else case.model()
    name = model.graph.inputs[0].name or ""
    return graphs.run(model, {name: case.feed(activation)}, level)["y"]


@pytest.mark.parametrize("level", ["none", "all"])
@pytest.mark.parametrize("name", CASES)
def test_is_bit_for_bit_what_pairs_give(name: str, level: str) -> None:
    case = CASES[name]
    activation = case.activation()
    np.testing.assert_array_equal(run(case, activation, level), case.expected(activation), strict=True)


@pytest.mark.parametrize("name", CASES)
def test_is_bit_for_bit_the_runtimes_operator_where_nothing_saturates(name: str) -> None:
    case = CASES[name]
    activation = case.activation(most=127)
    np.testing.assert_array_equal(
        run(case, activation, "none"), run(case, activation, "all", emulated=False), strict=True
    )


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.shape[0]])
def test_something_is_lost_in_columns_with_such_pairs_alone(name: str) -> None:
    case = CASES[name]
    exact = saturated(case.model())
    for value in exact.graph.initializers.values():
        if "/sign_" in (value.name or ""):  # a loss of nothing
            assert value.const_value is not None
            value.const_value = ir.tensor(np.zeros_like(value.const_value.numpy()))
    plain = graphs.run(exact, {exact.graph.inputs[0].name or "": case.feed(case.activation())})["y"]
    found = run(case, case.activation(), "none")
    columns = [column for column in range(21) if not np.array_equal(found[..., column], plain[..., column])]
    assert columns == [column for column in range(21) if column % 2 == 0 or column == 3]


@pytest.mark.parametrize(("depth", "width", "rows"), [(1, 3, 2), (2, 1, 1), (3, 5, 40), (64, 16, 33), (511, 7, 2)])
def test_shapes(depth: int, width: int, rows: int) -> None:
    rng = np.random.default_rng(depth)
    weight = rng.integers(-128, 128, (depth, width)).astype(np.int8)
    model = graphs.model(f"g (uint8[m,{depth}] x) => (int32[m,{width}] y) {{ y = MatMulInteger(x, w) }}", {"w": weight})
    activation = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    found = graphs.run(saturated(model), {"x": activation})["y"]
    np.testing.assert_array_equal(found, corrected(activation, weight=weight), strict=True)


def test_many_pairs_are_computed_a_row_at_a_time() -> None:
    """1.3 million pairs: blocks of one row, and running sums beyond int32."""
    weight = np.full((1024, 2600), 127, np.int8)
    model = graphs.model("g (uint8[m,1024] x) => (int32[m,2600] y) { y = MatMulInteger(x, w) }", {"w": weight})
    found = graphs.run(saturated(model), {"x": np.full((3, 1024), 255, np.uint8)})["y"]
    assert (found == 512 * 32_767).all()


def test_layers_in_a_row_and_outputs_keep_their_names() -> None:
    weight = np.full((4, 4), 127, np.int8)
    text = """g (uint8[m,4] x) => (uint8[m,4] h, uint8[m,4] y) { h = QLinearMatMul(x, s, z, w, s, wz, of, z)
        y = QLinearMatMul(h, s, z, w, s, wz, of, z) }"""
    given = {"w": weight, "s": np.float32(0.1), "z": np.uint8(3), "wz": np.int8(0), "of": np.float32(3)}
    model = graphs.model(text, given)
    source = model.fingerprint()
    emulated = saturated(model)
    assert model.fingerprint() == source
    activation = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
    found = graphs.run(emulated, {"x": activation})

    def layer(a: np.ndarray) -> np.ndarray:
        sums = pair_sums(a, weight) - 3 * 4 * 127
        scale = np.float32(0.1) * np.float32(0.1) / np.float32(3)
        return np.clip(np.rint(sums.astype(np.float32) * scale) + 3, 0, 255).astype(np.uint8)

    assert list(found) == ["h", "y"]
    np.testing.assert_array_equal(found["h"], layer(activation))
    np.testing.assert_array_equal(found["y"], layer(layer(activation)))


def test_inside_a_branch() -> None:
    text = """g (uint8[m,2] x, bool c) => (int32[m,3] y) { y = If(c) <
        then_branch = t () => (int32[m,3] p) { p = MatMulInteger(x, w) },
        else_branch = e () => (int32[m,3] q) { q = MatMulInteger(x, v) }> }"""
    weights = {"w": np.full((2, 3), 127, np.int8), "v": np.full((2, 3), -128, np.int8)}
    emulated = saturated(graphs.model(text, weights))
    for chosen, sums in ((True, 32_767), (False, -32_768)):
        found = graphs.run(emulated, {"x": np.full((4, 2), 255, np.uint8), "c": np.array(chosen)})["y"]
        assert (found == sums).all() and found.shape == (4, 3)


@pytest.mark.parametrize(
    "text",
    [
        "g (uint8[m,4] x) => (int32[m,3] y) { y = MatMulInteger(x, narrow) }",
        "g (uint8[m,4] x) => (int32[m,3] y) { y = MatMulInteger(x, unsigned) }",
        "g (int8[m,4] x) => (int32[m,3] y) { y = MatMulInteger(x, wide) }",
        "g (uint8[m,4] x, int8[4,3] w) => (int32[m,3] y) { y = MatMulInteger(x, w) }",
        "g (float[m,4] x) => (float[m,3] y) { v = DequantizeLinear(wide, s) y = MatMul(x, v) }",
        """g (uint8[m,4] x) => (float[m,3] y) { d = DequantizeLinear(x, s) v = DequantizeLinear(wide, s)
           y = Gemm(d, v, bias) }""",
    ],
    ids=["7 bits", "uint8 weight", "int8 activation", "weight fed", "float activation", "float bias: not fused"],
)
def test_what_does_not_saturate_stays_as_it_is(text: str) -> None:
    weights = {
        "narrow": np.full((4, 3), 64, np.int8),
        "unsigned": np.full((4, 3), 255, np.uint8),
        "wide": np.full((4, 3), 127, np.int8),
        "s": np.float32(0.1),
        "bias": np.ones(3, np.float32),
    }
    used = {name: array for name, array in weights.items() if f" {name}" in text.replace("(", " ").replace(")", " ")}
    model = graphs.model(text, used)
    assert saturated(model).fingerprint() == model.fingerprint()


def test_an_old_operator_set_is_refused() -> None:
    model = graphs.model(
        "g (uint8[m,2] x) => (int32[m,1] y) { y = MatMulInteger(x, w) }", {"w": np.full((2, 1), 127, np.int8)}, opset=10
    )
    with pytest.raises(OnnxfixError, match="operator set 10"):
        saturated(model)
