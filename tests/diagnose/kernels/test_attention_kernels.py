"""What is read from a node of each operator of attention, and which attentions of a model are told of."""

from __future__ import annotations

from typing import Any

import graphs
import node_of_case
import numpy as np
import pytest
from random_cases import RandomCases
from twins import TWINS, twin

from onnxfix.diagnose.kernels.attentions import attention_kernels
from onnxfix.diagnose.kernels.cases import Case, Layout, Mask
from onnxfix.diagnose.kernels.choice import kernel_choice
from onnxfix.diagnose.kernels.reading.cases_of_operators import read_case
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.attention_kernels import AttentionKernels, Kernel
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.sites.layouts.ground import grounds

F16 = "float16"
MHA = "com.microsoft.MultiHeadAttention <num_heads = 4"


def made(inputs: str, node: str, opset: int = 23, weights: dict[str, Any] | None = None) -> Model:
    """One node that makes y, and whatever else is named in it."""
    return graphs.model(f"g ({inputs}) => ({F16}[d,e,f] y) {{ {node} }}", weights, opset=opset)


def case(inputs: str, node: str, opset: int = 23, weights: dict[str, Any] | None = None) -> Case:
    subject = made(inputs, node, opset, weights)
    last = next(n for n in subject.nodes() if "y" in [v.name for v in n.outputs])
    found = read_case(last, grounds(subject), infer(subject.ir))
    assert found is not None
    return found


QKV = "float16[b,s,128] q, float16[b,t,128] k, float16[b,t,128] v"
SAME = "float16[b,s,128] q, float16[b,s,128] k, float16[b,s,128] v"


def test_queries_keys_and_values_apart() -> None:
    assert case(SAME, f"y = {MHA}> (q, k, v)") == Case(
        "com.microsoft.MultiHeadAttention", "fp16", 4, 4, 32, 32, square=True
    )
    assert case(QKV, f"y = {MHA}> (q, k, v)").square is False
    fixed = "float[2,40,128] q, float[2,40,128] k, float[2,40,64] v"
    assert case(fixed, f"y = {MHA}, unidirectional = 1> (q, k, v)") == Case(
        "com.microsoft.MultiHeadAttention", "fp32", 4, 4, 32, 16, 40, 40, True, causal=True
    )


@pytest.mark.parametrize(
    ("shape", "mask"),
    [
        ("b", Mask.LENGTHS), ("b,s", Mask.KEYS), ("b,s,s", Mask.SCORES), ("n", Mask.OPEN),
    ],
)  # fmt: skip
def test_the_form_of_a_mask_is_its_shape(shape: str, mask: Mask) -> None:
    assert case(f"{SAME}, int32[{shape}] m", f"y = {MHA}> (q, k, v, , m)").mask is mask


def test_lengths_and_offsets_are_told_by_how_their_length_grows_with_the_batch() -> None:
    counted = "n = Shape <start = 0, end = 1> (q) p = Mul(n, three) o = Add(p, two) m = Expand(zero, o) "
    counted += f"y = {MHA}> (q, k, v, , m)"
    weights = {"three": np.array([3]), "two": np.array([2]), "zero": np.array([0], np.int32)}
    assert case(SAME, counted, weights=weights).mask is Mask.OFFSETS
    fixed = "float16[4,s,128] q, float16[4,s,128] k, float16[4,s,128] v"
    assert case(f"{fixed}, int32[14] m", f"y = {MHA}> (q, k, v, , m)").mask is Mask.OFFSETS
    assert case(f"{fixed}, int32[4] m", f"y = {MHA}> (q, k, v, , m)").mask is Mask.LENGTHS


def test_packed_operands_and_those_by_heads() -> None:
    packed = case("float16[b,s,4,3,32] x", f"y = {MHA}> (x)")
    assert (packed.layout, packed.size, packed.value_size, packed.square) == (Layout.PACKED, 32, 32, True)
    keys = case("float16[b,s,128] q, float16[b,t,4,2,32] kv", f"y = {MHA}> (q, kv)")
    assert (keys.layout, keys.size, keys.value_size, keys.square) == (Layout.PACKED_KV, 32, 32, False)
    cross = "float16[b,s,128] q, float16[b,4,77,32] k, float16[b,4,77,32] v"
    by_heads = case(cross, f"y = {MHA}> (q, k, v)")
    assert (by_heads.layout, by_heads.size, by_heads.value_size, by_heads.keys) == (Layout.BY_HEADS, 32, 32, 77)


def test_a_bias_a_cache_and_the_scores_are_seen() -> None:
    cache = f"{SAME}, float16[1,1,s,t] a, float16[b,4,p,32] pk, float16[b,4,p,32] pv, float16[128] w, float16[128] w2"
    found = case(cache, f"y, nk, nv, qk = {MHA}> (q, k, v, , , a, pk, pv)")
    assert (found.bias, found.past, found.present, found.scores, found.square) == (True, True, True, True, False)
    plain = case(SAME, f"y = {MHA}> (q, k, v)")
    assert (plain.bias, plain.past, plain.present, plain.scores) == (False, False, False, False)


def test_attention_with_its_projections() -> None:
    node = "y = com.microsoft.Attention <num_heads = 4> (x, w, c)"
    weights = {"w": np.zeros((96, 384), np.float16), "c": np.zeros(384, np.float16)}
    found = case("float16[b,s,96] x", node, weights=weights)
    assert (found.size, found.value_size, found.layout, found.mask) == (32, 32, Layout.PACKED, Mask.NONE)
    sized = node.replace("= 4", "= 4, qkv_hidden_sizes = [128, 128, 64]").replace("(x, w, c)", "(x, w, c, m)")
    weights = {"w": np.zeros((96, 320), np.float16), "c": np.zeros(320, np.float16)}
    found = case("float16[b,s,96] x, int32[b,s] m", sized, weights=weights)
    assert (found.size, found.value_size, found.mask) == (32, 16, Mask.KEYS)


def test_grouped_queries() -> None:
    ends = "int32[b] l, int32[1] t"
    node = "y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 8, kv_num_heads = 2{}> ({})"
    packed = case(f"float16[b,s,384] q, {ends}", node.format("", "q, , , , , l, t"))
    assert (packed.size, packed.heads, packed.key_heads, packed.layout) == (32, 8, 2, Layout.PACKED)
    assert not (packed.past or packed.window or packed.softcap or packed.sink or packed.bias)
    cache = "bfloat16[b,2,p,32] ok, bfloat16[b,2,p,32] ov"
    apart = f"bfloat16[b,1,256] q, bfloat16[b,1,64] k, bfloat16[b,1,64] v, {cache}, {ends}"
    more = ", local_window_size = 128, softcap = 30.0, smooth_softmax = 1"
    found = case(apart, node.format(more, "q, k, v, ok, ov, l, t"))
    assert (found.element, found.size, found.queries, found.past) == ("bf16", 32, 1, True)
    assert (found.window, found.softcap, found.smooth, found.sink, found.causal) == (True, True, True, False, True)
    both = case(apart, node.format(", causal = 0", "q, k, v, ok, ov, l, t"))
    assert (both.window, both.softcap, both.smooth, both.causal) == (False, False, False, False)


def test_packed_tokens() -> None:
    lengths = "int32[b,512] o, int32[n] l"
    node = "y = com.microsoft.PackedMultiHeadAttention <num_heads = 4> (q, k, v, , o, l)"
    apart = case(f"float16[n,128] q, float16[n,128] k, float16[n,128] v, {lengths}", node)
    assert (apart.size, apart.value_size, apart.queries, apart.layout) == (32, 32, 512, Layout.SEPARATE)
    joined = case(f"float16[n,4,3,32] q, {lengths}", node.replace("(q, k, v, , o, l)", "(q, , , , o, l)"))
    assert (joined.size, joined.value_size, joined.layout) == (32, 32, Layout.PACKED)
    weights = {"w": np.zeros((128, 384), np.float16), "c": np.zeros(384, np.float16)}
    node = "y = com.microsoft.PackedAttention <num_heads = 4> (x, w, c, o, l)"
    assert case(f"float16[n,128] x, {lengths}", node, weights=weights).size == 32


def test_the_standard_operator_by_heads_and_joined() -> None:
    by_heads = "float16[b,8,s,32] q, float16[b,2,s,32] k, float16[b,2,s,32] v"
    found = case(by_heads, "y = Attention <is_causal = 1> (q, k, v)")
    assert (found.operator, found.heads, found.key_heads, found.size) == ("ai.onnx.Attention", 8, 2, 32)
    assert (found.causal, found.square, found.bias, found.lengths) == (True, True, False, False)
    joined = "float16[b,s,256] q, float16[b,s,64] k, float16[b,s,64] v, bool[b,1,s,s] m"
    found = case(joined, "y = Attention <q_num_heads = 8, kv_num_heads = 2> (q, k, v, m)")
    assert (found.heads, found.key_heads, found.size, found.value_size, found.bias) == (8, 2, 32, 32, True)
    lengths = f"{by_heads}, int64[b] l"
    assert case(lengths, "y = Attention (q, k, v, , , , l)", opset=24).lengths


def test_sizes_behind_operators_of_onnx_runtime_are_known() -> None:
    """onnx's own inference stops at SkipLayerNormalization."""
    node = f"h = com.microsoft.SkipLayerNormalization (q, k, g) y = {MHA}> (h, h, h)"
    assert case(SAME, node, weights={"g": np.ones(128, np.float16)}).size == 32


def test_operators_without_a_choice_are_left_out() -> None:
    weights = {"w": np.zeros((128, 384), np.float32), "c": np.zeros(384, np.float32)}
    inputs = "float[b,s,128] x, float[b,s] m, int32[b,s] g"
    node = "y = com.microsoft.LongformerAttention <num_heads = 4, window = 16> (x, w, c, m, w, c, g)"
    assert found(graphs.model(f"g ({inputs}) => (float[d,e,f] y) {{ {node} }}", weights)) == []


def found(subject: Model) -> list[AttentionKernels]:
    return list(attention_kernels(subject, infer(subject.ir)))


HEADS = "float16[b,4,s,32] q, float16[b,4,s,32] k, float16[b,4,s,32] v, float16[b,1,s,s] m"
TURNED = "r = Transpose <perm = [0, 1, 3, 2]> (k) "
WRITTEN = TURNED + "c = MatMul(q, r) z = Mul(c, half) a = Add(z, m) p = Softmax <axis = -1> (a) y = MatMul(p, v)"


def written(body: str = WRITTEN, opset: int = 20) -> Model:
    weights = {"half": np.array(0.5, np.float16)}
    return graphs.model(f"g ({HEADS}) => (float16[b,4,s,32] y) {{ {body} }}", weights, opset=opset)


def test_a_written_out_attention_is_told_with_what_one_operator_would_take() -> None:
    (attention,) = found(written())
    assert {choice.words() for choice in attention.choices.values()} == {"written out"}
    assert (attention.element, attention.site.node, attention.unfused) == ("fp16", "Softmax_p", "")
    assert attention.instead == (
        "as one MultiHeadAttention: memory-efficient if the queries are a multiple of 8, else unfused"
    )
    (newer,) = found(written(opset=23))
    assert newer.instead == "as one Attention: memory-efficient if the keys are a multiple of 4, else unfused"
    (plain,) = found(written(WRITTEN.replace("Add(z, m)", "Identity(z)")))
    assert plain.instead == "as one MultiHeadAttention: flash"


def test_one_that_is_not_read_is_told_with_the_node_that_stands_against_it() -> None:
    (attention,) = found(written(WRITTEN.replace("axis = -1", "axis = 2")))
    assert attention.instead == "" and attention.operator == Kernel.WRITTEN_OUT
    assert attention.choices[80].refused[0].reasons == (
        "Softmax_p does not run over the last axis of scores of known shape",
    )


def test_a_softmax_over_classes_is_no_attention() -> None:
    weights = {"w": np.zeros((32, 8), np.float32)}
    assert found(graphs.model("g (float[b,32] x) => (float[b,8] y) { l = MatMul(x, w) y = Softmax(l) }", weights)) == []


STANDARD = "y = Attention<q_num_heads = 4, kv_num_heads = 4>"


@pytest.mark.parametrize(("rows", "square"), [("places", True), ("other", False)])
def test_tokens_that_are_gathered_from_a_count_of_them(rows: str, square: bool) -> None:
    """What NonZero makes has a length that nothing tells; how many places there are is known all the same."""
    text = f"""real = NonZero(shown) first = Constant<value_int = 0>() taken = Gather(real, first)
        stream = Gather(all, taken) q = Gather(stream, places) k = Gather(stream, {rows}) v = Gather(stream, {rows})
        {STANDARD}(q, k, v)"""
    given = f"{F16}[m,128] all, bool[m] shown, int64[b,s] places, int64[b,t] other"
    assert case(given, text, 24).square is square


@pytest.mark.parametrize(("more", "aligned"), [("multiple", True), ("one", False)])
def test_keys_that_are_a_multiple_of_four_at_every_length(more: str, aligned: bool) -> None:
    """Tried at eight lengths in a row: padded to a multiple of eight, and with one more than there are queries."""
    text = f"""length = Shape<start = 1, end = 2>(q) none = Constant<value_ints = [0]>() less = Sub(none, length)
        eight = Constant<value_ints = [8]>() multiple = Mod(less, eight) one = Constant<value_ints = [1]>()
        batch = Shape<start = 0, end = 1>(q) width = Shape<start = 2>(q) zero = CastLike(none, q)
        shape = Concat<axis = 0>(batch, {more}, width) added = Expand(zero, shape) k = Concat<axis = 1>(q, added)
        keys = Shape<start = 1, end = 2>(k) scores = Concat<axis = 0>(one, one, length, keys)
        mask = Expand(zero, scores) {STANDARD}(q, k, k, mask)"""
    (only,) = found(made(f"{F16}[b,s,128] q", text, 24))
    assert (only.choices[80].kernel is Kernel.MEMORY_EFFICIENT) == aligned
    assert only.choices[80].words() == (
        "memory-efficient" if aligned else "memory-efficient if the keys are a multiple of 4, else unfused"
    )


@pytest.mark.parametrize("name", TWINS)
def test_names_of_nodes_say_nothing(name: str) -> None:
    for subject in (written(), made(SAME, f"y = {MHA}> (q, k, v)")):
        same = [(a.choices, a.instead, a.element) for a in found(twin(subject, TWINS[name]))]
        assert same == [(a.choices, a.instead, a.element) for a in found(subject)] and len(same) == 1


def test_nodes_of_random_cases_are_read_as_the_cases_they_were_made_of() -> None:
    cases = RandomCases(5)
    for _ in range(150):
        case, sm = cases.next()
        proto, _ = node_of_case.node(case)
        subject = graphs.opened(proto)
        (node,) = subject.nodes()
        read = read_case(node, grounds(subject), infer(subject.ir))
        assert read is not None
        assert kernel_choice(read, sm) == kernel_choice(case, sm), (case, read)
