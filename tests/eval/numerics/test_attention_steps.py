"""Attention in half is emulated as flash and memory-efficient kernels round it: within once, and the result."""

from __future__ import annotations

import graphs
import ml_dtypes
import numpy as np
import pytest

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model

TYPES = {"float16": (np.float16, 10), "bfloat16": (ml_dtypes.bfloat16, 16)}
BATCH, QUERIES, HEADS, SIZE = 2, 24, 4, 8
RNG = np.random.default_rng(3)
SCALE = 0.35


def rounded(array: np.ndarray, kind: str) -> np.ndarray:
    return array.astype(TYPES[kind][0]).astype(np.float32)


def attention(kind: str, key_heads: int = HEADS, more: str = "", inputs: str = "", given: str = "") -> Model:
    """Of fp32 inputs, each rounded; what it makes is fp32 again."""
    wide, narrow = HEADS * SIZE, key_heads * SIZE
    to = TYPES[kind][1]
    return graphs.model(
        f"""g (float[b,s,{wide}] q, float[b,s,{narrow}] k, float[b,s,{narrow}] v{inputs}) => (float[b,s,{wide}] y) {{
        qh = Cast<to = {to}>(q) kh = Cast<to = {to}>(k) vh = Cast<to = {to}>(v) {given}
        z = Attention<q_num_heads = {HEADS}, kv_num_heads = {key_heads}, scale = {SCALE}{more}
        y = Cast<to = 1>(z) }}""", opset=24,
    )  # fmt: skip


def feed(key_heads: int = HEADS) -> dict[str, np.ndarray]:
    sizes = {"q": HEADS, "k": key_heads, "v": key_heads}
    return {n: RNG.normal(0, 1, (BATCH, QUERIES, heads * SIZE)).astype(np.float32) for n, heads in sizes.items()}


def run(model: Model, given: dict[str, np.ndarray]) -> np.ndarray:
    with on_disk(model) as path:
        return np.asarray(OrtRunner(path, level="none", threads=1).run(given)["y"], np.float32)


def wanted(
    given: dict[str, np.ndarray], kind: str, seen: np.ndarray | None = None, within: bool = True, heads: int = HEADS
) -> np.ndarray:
    """By numpy. `seen`: [batch, queries, keys]; `within`: whether powers are rounded before they meet the values."""
    shape = (BATCH, QUERIES, -1, SIZE)
    q, k, v = (rounded(given[n], kind).reshape(shape).transpose(0, 2, 1, 3) for n in "qkv")
    k, v = (np.repeat(each, HEADS // heads, 1) for each in (k, v))
    scores = q @ k.transpose(0, 1, 3, 2) * np.float32(SCALE)
    if seen is not None:
        scores = np.where(seen[:, None], scores, np.float32(-1e30))
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (rounded(powers, kind) if within else powers) @ v / powers.sum(-1, keepdims=True)
    return rounded(mixed.transpose(0, 2, 1, 3).reshape(BATCH, QUERIES, -1), kind)


@pytest.mark.parametrize("kind", TYPES)
def test_powers_are_rounded_where_they_meet_the_values(kind: str) -> None:
    given = feed()
    found = run(emulated(attention(kind, more=">(qh, kh, vh)")), given)
    right, unrounded = wanted(given, kind), wanted(given, kind, within=False)
    # sums in another order round the other way now and then
    assert np.mean(found == right) > 0.98 > np.mean(found == unrounded)
    assert graphs.rel_l2(right, found) < (2e-4 if kind == "float16" else 2e-3)


def test_what_attention_sees() -> None:
    """Lengths, what lies behind a query, both; and keys that several queries share."""
    rows, lengths = np.arange(QUERIES), np.array([5, QUERIES], np.int64)
    short = np.broadcast_to(rows < lengths[:, None, None], (BATCH, QUERIES, QUERIES))
    behind = np.broadcast_to(rows <= rows[:, None], short.shape)
    by_length = {"inputs": ", int64[b] n", "more": ">(qh, kh, vh, , , , n)"}
    for how, seen, heads in (
        (by_length, short, HEADS),
        ({"more": ", is_causal = 1>(qh, kh, vh)"}, behind, HEADS),
        ({"more": ", is_causal = 1>(qh, kh, vh)"}, behind, 2),
    ):
        given = feed(heads)
        model = emulated(attention("float16", heads, **how))
        found = run(model, {**given, "n": lengths} if "inputs" in how else given)
        assert graphs.rel_l2(wanted(given, "float16", seen, heads=heads), found) < 2e-4
        assert "Attention" not in graphs.op_types(model)


def test_a_mask_is_added_in_fp32() -> None:
    """-65,504 beside a score of -100 would be infinite in half, and both hide a key."""
    seen = np.broadcast_to(np.arange(QUERIES) % 3 > 0, (BATCH, QUERIES, QUERIES))
    given = {**feed(), "m": np.where(seen, 0, -65504).astype(np.float32)[:, None]}
    how = {"inputs": ", float[b,1,s,s] m", "given": "mh = Cast<to = 10>(m)", "more": ">(qh, kh, vh, mh)"}
    assert graphs.rel_l2(wanted(given, "float16", seen), run(emulated(attention("float16", **how)), given)) < 2e-4


def test_other_forms_are_rounded_at_both_ends_alone() -> None:
    given = feed()
    model = emulated(attention("float16", more=", softcap = 50.0>(qh, kh, vh)"))
    assert "Attention" in graphs.op_types(model) and np.isfinite(run(model, given)).all()
