"""Rotations of one operator are written out, and read again by what puts them in front of the heads."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_rotary_embedding import FuseRotaryEmbedding
from onnxfix.surgery.passes.spread_rotary_caches import SpreadRotaryCaches
from onnxfix.surgery.passes.write_out_rotary_embedding import WriteOutRotaryEmbedding

PASS = WriteOutRotaryEmbedding()
APART = """g (float[batch,2,sequence,12] x, float[ROWS,sequence,WIDTH] cos, float[ROWS,sequence,WIDTH] sin) =>
    (float[batch,2,sequence,12] y) { y = RotaryEmbedding<SAYS>(x, cos, sin) }"""
FLAT = """g (float[batch,sequence,24] x, float[ROWS,sequence,WIDTH] cos, float[ROWS,sequence,WIDTH] sin) =>
    (float[batch,sequence,24] y) { y = RotaryEmbedding<num_heads = 2, SAYS>(x, cos, sin) }"""
LOOKED_UP = """g (float[batch,2,sequence,12] x, float[32,WIDTH] cos, float[32,WIDTH] sin, int64[batch,sequence] ids) =>
    (float[batch,2,sequence,12] y) { y = RotaryEmbedding<SAYS>(x, cos, sin, ids) }"""
FORMS = {"heads apart": APART, "heads joined": FLAT, "looked up": LOOKED_UP}


def rotated(text: str = APART, *, width: int = 6, interleaved: int = 0, rows: str = "batch") -> Model:
    says = f"interleaved = {interleaved}, rotary_embedding_dim = {2 * width if width < 6 else 0}"
    text = text.replace("ROWS", rows).replace("WIDTH", str(width)).replace("SAYS", says)
    return graphs.model(text, opset=23)


def BAD() -> Model:
    return rotated()


def SOUND() -> Model:
    """In half, in which cosines are not to be computed with."""
    return graphs.model(
        APART.replace("float[", "float16[").replace("ROWS", "batch").replace("WIDTH", "6").replace("<SAYS>", ""),
        opset=23,
    )  # fmt: skip


def feed(model: Model, batch: int = 2, sequence: int = 5) -> dict[str, np.ndarray]:
    random, sizes = np.random.default_rng(5), {"batch": batch, "sequence": sequence}
    shapes = {v.name: [n if isinstance(n, int) else sizes[str(n)] for n in v.shape or ()] for v in model.graph.inputs}
    made = {str(name): random.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    return {**made, "ids": random.integers(0, 32, shapes["ids"])} if "ids" in made else made


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("width", [6, 2])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_in_products(form: str, width: int, interleaved: int) -> None:
    source = rotated(FORMS[form], width=width, interleaved=interleaved)
    result = source.clone()
    graph_pass.run(PASS, result)
    assert "RotaryEmbedding" not in graphs.op_types(result)
    for batch, sequence in ((2, 5), (1, 1), (3, 4)):
        given = feed(source, batch, sequence)
        np.testing.assert_allclose(graphs.run(result, given)["y"], graphs.run(source, given)["y"], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("width", [6, 2])
@pytest.mark.parametrize("form", ["heads apart", "heads joined"])
def test_what_is_written_out_is_read_again(form: str, width: int, interleaved: int) -> None:
    source = rotated(FORMS[form], width=width, interleaved=interleaved)
    result = source.clone()
    for step in (PASS, FuseRotaryEmbedding()):
        graph_pass.run(step, result)
    assert [node.domain for node in result.nodes() if node.op_type == "RotaryEmbedding"] == ["com.microsoft"]
    given = feed(source)
    np.testing.assert_allclose(graphs.run(result, given)["y"], graphs.run(source, given)["y"], rtol=2e-5, atol=1e-6)


def test_tables_of_one_row_stay_of_one() -> None:
    """Products repeat them over the batch by themselves, which the operator does not."""
    result = rotated(rows="1")
    for step in (SpreadRotaryCaches(), PASS):
        graph_pass.run(step, result)
    assert "Expand" not in graphs.op_types(result)
    given = feed(result)
    spread = {**given, **{name: np.repeat(given[name], 2, axis=0) for name in ("cos", "sin")}}
    expected = graphs.run(rotated(), spread)["y"]
    np.testing.assert_allclose(graphs.run(result, given)["y"], expected, rtol=2e-5, atol=1e-6)


def test_one_behind_another() -> None:
    """What the second reads is no more what it was, once written out and once put together."""
    twice = "a = RotaryEmbedding<SAYS>(x, cos, sin) y = RotaryEmbedding<SAYS>(a, cos, sin)"
    source = rotated(APART.replace("y = RotaryEmbedding<SAYS>(x, cos, sin)", twice))
    result = source.clone()
    for step in (PASS, FuseRotaryEmbedding()):
        graph_pass.run(step, result)
        given = feed(source)
        np.testing.assert_allclose(graphs.run(result, given)["y"], graphs.run(source, given)["y"], rtol=2e-5, atol=1e-6)
    assert graphs.op_types(result).count("RotaryEmbedding") == 2
