"""Integer inputs that a model computes with: numbers over their range; flags, masks and indices stay small."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import pytest

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.eval.numerics.emulator import emulated
from onnxfix.flows.repair.repair import repair
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish

W = {"w": np.ones((8, 8), np.float32), "k": np.array([0.5], np.float32), "one": np.array(1, np.float32)}
W |= {"large": np.array(-1e4, np.float32), "q": np.ones((8, 8), np.uint8)}
NUMBERS = {
    "samples that are scaled": ("int16", "c = Cast <to = 1> (x) y = Mul(c, k)", (-32768, 32767)),
    "pixels of a product": ("uint8", "c = Cast <to = 1> (x) y = MatMul(c, w)", (0, 255)),
    "squares": ("int8", "c = Cast <to = 1> (x) y = Mul(c, c)", (-128, 127)),
    "behind a shape": ("uint16", "t = Transpose(x) c = Cast <to = 1> (t) y = Sub(c, k)", (0, 65535)),
    "in bounds": ("uint8", "f = Clip(x) c = Cast <to = 1> (f) y = MatMul(c, w)", (0, 255)),
    "counts": ("int64", "c = Cast <to = 1> (x) y = Div(c, k)", (0, 99)),
    "integers of a product": ("uint8", "m = MatMulInteger(x, q) y = Cast <to = 1> (m)", (0, 255)),
}
OTHERS = {
    "a mask that hides": "c = Cast <to = 1> (x) s = Sub(one, c) y = Mul(s, large)",
    "a mask that is taken down": "c = Cast <to = 1> (x) s = Sub(c, one) y = Mul(s, large)",
    "an index": "i = Cast <to = 7> (x) y = Gather(w, i)",
    "a flag": "b = Cast <to = 9> (x) y = Where(b, one, large)",
    "what it hides": "c = Cast <to = 1> (x) z = RandomNormalLike(c) y = Mul(c, z)",
}


def fed(kind: str, body: str) -> list[np.ndarray]:
    model = graphs.model(f"g ({kind}[n,8] x) => (float[a,b] y) {{ {body} }}", W)
    return [feed.arrays["x"] for feed in [*make_feeds(model), *make_feeds(model, draws=16)]]


@pytest.mark.parametrize("case", NUMBERS)
def test_a_number_is_of_the_whole_range(case: str) -> None:
    kind, body, (least, most) = NUMBERS[case]
    found = np.concatenate([array.ravel() for array in fed(kind, body)]).astype(np.int64)
    assert least <= found.min() <= least + 0.05 * (most - least) and most - 0.05 * (most - least) <= found.max() <= most


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("kind", ["int64", "uint8"])
def test_what_is_no_number_is_small(case: str, kind: str) -> None:
    assert max(int(array.max()) for array in fed(kind, OTHERS[case])) <= 7


@pytest.mark.parametrize("scale", [1.0, 2.0**-15])
def test_squares_of_sound_are_right_where_half_ends(scale: float, tmp_path: Path) -> None:
    """Beyond 65,504; those of numbers up to 1 are within."""
    text = """g (int16[n,64] x) => (float[n,4] y) <int64[1] at = {1}, int64[1] last = {2}> {
        c = Cast <to = 1> (x) u = Unsqueeze(c, at) m = Conv <strides = [8]> (u, v) s = Mul(m, m) e = ReduceMax(s, last)
        z = Squeeze(e, last) p = Add(z, one) l = Log(p) y = MatMul(l, r) }"""
    weights = {"v": np.full((4, 1, 8), scale, np.float32), "r": np.eye(4, dtype=np.float32), "one": W["one"]}
    source = graphs.model(text, weights).save(tmp_path / "m.onnx")
    repair(source, Wish(Target.resolve("cuda"), "fp16"), tmp_path / "out.onnx")
    feed = {"x": np.random.default_rng(0).integers(-15_000, 15_000, (4, 64)).astype(np.int16)}
    wanted, found = graphs.run(Model.open(source), feed), graphs.run(emulated(Model.open(tmp_path / "out.onnx")), feed)
    assert np.allclose(wanted["y"], found["y"], rtol=5e-3, atol=5e-3)


def test_a_window_that_no_shape_says_is_found_for_sound_too(tmp_path: Path) -> None:
    text = """g (int16[n,t] x) => (float[n,c,f] y) <int64[1] at = {1}> {
        c0 = Cast <to = 1> (x) u = Unsqueeze(c0, at) y = Conv <strides = [32]> (u, v) }"""
    weights = {"v": np.ones((4, 1, 64), np.float32) / 64}
    source = graphs.model(text, weights).save(tmp_path / "m.onnx")
    done = repair(source, Wish(Target.resolve("cuda"), "fp32"), tmp_path / "out.onnx")
    assert "identical" in done.verified
    with pytest.raises(OnnxfixError, match=r"as in input='x=3x16000'"):
        from onnxfix.flows.repair.verification.source.made_up import MadeUp

        repair(source, Wish(Target.resolve("cuda"), "fp32"), tmp_path / "b.onnx", made_up=MadeUp(shapes={"x": (3, 17)}))
