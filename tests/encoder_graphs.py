"""Small encoders with a padding mask, as exporters write them, and whether a repaired one agrees with it."""

from __future__ import annotations

import re

import graphs
import numpy as np

from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)
WIDTH, HEADS, INNER, WORDS = 24, 3, 40, 50
WEIGHTS = {
    "table": RNG.normal(0, 1, (WORDS, WIDTH)),
    "places": RNG.normal(0, 1, (600, WIDTH)),
    **{name: RNG.normal(0, 0.2, (WIDTH, WIDTH)) for name in ("wq", "wk", "wv", "wo")},
    "up": RNG.normal(0, 0.2, (WIDTH, INNER)),
    "down": RNG.normal(0, 0.2, (INNER, WIDTH)),
    "scale": np.ones(WIDTH),
    "wk1": RNG.normal(0, 0.2, (WIDTH, WIDTH // HEADS)),
    "wv1": RNG.normal(0, 0.2, (WIDTH, WIDTH // HEADS)),
    "distances": RNG.normal(0, 0.2, (WIDTH // HEADS, 6)),
    "buckets": RNG.normal(0, 0.2, (6, 600)),
    "lowest": np.array(-1e9),
    "zero": np.array(0.0),
}
SHAPES = {
    "apart": np.array([0, 0, 1, 1, WIDTH // HEADS]),
    "thrice": np.array([1, 1, 1, HEADS, 1]),
    "split": np.array([0, 0, HEADS, WIDTH // HEADS]),
    "joined": np.array([0, 0, WIDTH]),
    "last": np.array([-1]),
}
HEAD = """g (int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask) => (float[batch,sequence,24] y) {
    ends = Constant<value_ints = [1]>()
    begin = Constant<value_ints = [0]>()
    size = Shape<start = 1, end = 2>(input_ids)
    here = Slice(places, begin, size, begin)
    e0 = Gather(table, input_ids)
    e = Add(e0, here)
    n = LayerNormalization<axis = -1>(e, scale)
    q0 = MatMul(n, wq) k0 = MatMul(n, wk) v0 = MatMul(n, wv)
    qh = Reshape(q0, split) kh = Reshape(k0, split) vh = Reshape(v0, split)
    q = Transpose<perm = [0, 2, 1, 3]>(qh)
    k = Transpose<perm = [0, 2, 3, 1]>(kh)
    v = Transpose<perm = [0, 2, 1, 3]>(vh)
    around = Constant<value_ints = [1, 2]>()
    seen = Cast<to = 9>(attention_mask)
    wide = Unsqueeze(seen, around)
    mask = Where(wide, zero, lowest)
    s0 = MatMul(q, k)
    s = Add(s0, mask)
    p = Softmax<axis = -1>(s)
    c = MatMul(p, v)
    ct = Transpose<perm = [0, 2, 1, 3]>(c)
    cj = Reshape(ct, joined)
    o = MatMul(cj, wo)
    r = Add(e, o)
"""
MLP = """
    m = LayerNormalization<axis = -1>(r, scale)
    h = MatMul(m, up) a = Relu(h) d = MatMul(a, down)
    y = Add(r, d)
}"""


def encoder(rest: str = MLP, head: str = HEAD, **more: np.ndarray) -> Model:
    arrays = {name: array.astype(np.float32) for name, array in (WEIGHTS | more).items()}
    return graphs.model(head + rest, arrays | SHAPES)


def masks(batch: int, length: int) -> dict[str, np.ndarray]:
    right = (np.arange(length)[None] < np.linspace(length, 1, batch).astype(int)[:, None]).astype(np.int64)
    holes = (RNG.random((batch, length)) < 0.5).astype(np.int64)
    holes[:, length // 2] = 1
    empty = right.copy()
    empty[-1] = 0
    every = {"full": np.ones_like(right), "right": right, "left": right[:, ::-1], "holes": holes, "empty row": empty}
    return {name: np.ascontiguousarray(mask) for name, mask in every.items()}


def feeds(batch: int, length: int) -> list[dict[str, np.ndarray]]:
    ids = RNG.integers(0, WORDS, (batch, length))
    return [{"input_ids": ids, "attention_mask": mask} for mask in masks(batch, length).values()]


def agree(before: Model, after: Model, batch: int, length: int) -> None:
    for feed in feeds(batch, length):
        wanted, found = graphs.run(before, feed)["y"], graphs.run(after, feed)["y"]
        real = feed["attention_mask"] > 0
        assert found.shape == wanted.shape
        assert np.allclose(wanted[real], found[real], atol=2e-5), feed["attention_mask"]
        assert not found[~real].any(), "what is padding is zero"


# Who sees whom besides padding: `near` is bool, [batch or 1, 1, sequence, sequence].
PLACES = """
    start = Constant<value_int = 0>() one = Constant<value_int = 1>() inner = Squeeze(size)
    place = Range(start, inner, one) down0 = Unsqueeze(place, ends)
    distance = Sub(down0, place)
"""
COUNTED = """
    one = Constant<value_int = 1>() count = CumSum(attention_mask, one)
    middle = Constant<value_ints = [1, 3]>() down0 = Unsqueeze(count, middle) across = Unsqueeze(count, around)
    distance = Sub(down0, across)
"""
SEES = {
    "a band": PLACES + "far = Abs(distance) near = LessOrEqual(far, window)",
    "a band of one side": PLACES + "left = LessOrEqual(distance, window) ahead = Less(distance, start2) "
    "behind = Not(ahead) near = And(left, behind)",
    "a band of counted tokens": COUNTED + "far = Abs(distance) near = LessOrEqual(far, window)",
    "those before": PLACES + "ahead = Less(distance, start2) near = Not(ahead)",
}


def seeing(kind: str, window: int = 2, rest: str = MLP, head: str = HEAD, **more: np.ndarray) -> Model:
    """An encoder of two layers: the second sees as `kind` says, and the first all that is no padding."""
    text = head + MLP.replace("y = Add(r, d)\n}", "x2 = Add(r, d)\n")
    again = HEAD[HEAD.index("    n = LayerNormalization") : HEAD.index("    around")].replace(
        "(e, scale)", "(x2, scale)"
    )
    after = (
        HEAD[HEAD.index("    s0 = MatMul") :].replace("Add(e, o)", "Add(x2, o)").replace("(s0, mask)", "(s0, mask2)")
    )
    names = "n q0 k0 v0 qh kh vh q k v s0 s p c ct cj o r m h a d".split()
    second = again + SEES[kind] + " both = And(wide, near) mask2 = Where(both, zero, lowest)\n" + after + rest
    renamed = re.sub(r"\b(" + "|".join(names) + r")\b(?!uery)", lambda found: f"{found[1]}_2", second)
    numbers = {"window": np.array(window), "start2": np.array(0)}
    arrays = {name: array.astype(np.float32) for name, array in (WEIGHTS | more).items()}
    return graphs.model(text + renamed, {**arrays, **SHAPES, **numbers})


# Scores of relative positions beside those of keys, as DeBERTa adds them: a part of what is added is of the tokens.
RELATIVE = HEAD.replace(
    "s = Add(s0, mask)",
    """bucket = Slice(buckets, begin, size, ends)
    near0 = MatMul(q, distances) near1 = MatMul(near0, bucket) s1 = Add(s0, near1) s = Add(s1, mask)""",
)
# A mask of the sizes of what is made of tokens, as the older exporter writes them.
SIZED = HEAD.replace(
    "wide = Unsqueeze(seen, around)",
    """wide0 = Unsqueeze(seen, around)
    rows1 = Shape<start = 0, end = 1>(e0) tokens1 = Shape<start = 1, end = 2>(e0) every1 = Shape(e0)
    second = Constant<value_ints = [2]>() tokens2 = Slice(every1, ends, second)
    four = Concat<axis = 0>(rows1, ends, tokens1, tokens2) wide = Expand(wide0, four)""",
)
# One head of keys and values for all three of queries, repeated between the linears and attention.
GROUPED = HEAD.replace("k0 = MatMul(n, wk) v0 = MatMul(n, wv)", "k0 = MatMul(n, wk1) v0 = MatMul(n, wv1)").replace(
    "kh = Reshape(k0, split) vh = Reshape(v0, split)", """k4 = Reshape(k0, apart) v4 = Reshape(v0, apart)
    k5 = Expand(k4, thrice) v5 = Expand(v4, thrice) kh = Reshape(k5, split) vh = Reshape(v5, split)""")  # fmt: skip
