"""What is nearly a mask that kernels have is refused, with the entry that is not so, or with what it reads."""

import graphs
import mask_graphs
import numpy as np
import onnx_ir as ir
import pytest
from mask_graphs import ADDED, CAUSAL, CHOSEN, DISTANCE, INPUTS, KEPT, LOWEST, meaning, refusal

from onnxfix.surgery.sites.attention.masks.mask import Refusal
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks

BATCH = """
    inner = Constant<value_ints = [2, 3]>()
    last = Constant<value_ints = [1, 2, 3]>()
    batch = Gather(shape, zero)
    lines = Range(zero, batch, one)
    line = Unsqueeze(lines, last)
"""


def test_nearly_causal() -> None:
    """Query 3 sees key 4, and all else is as it should be."""
    text = CAUSAL + """
        q3 = Constant<value_int = 3>()
        k4 = Constant<value_int = 4>()
        is_q = Equal(queries, q3)
        is_k = Equal(keys, k4)
        odd = And(is_q, is_k)
        seen = Or(before, odd)
    """  # fmt: skip
    found = refusal(text + CHOSEN)
    assert "query 3 sees key 4" in found.reason and "query 0 does not see key 1" in found.reason
    assert str(meaning(CAUSAL + "seen = Identity(before)\n" + CHOSEN)) == "causal", "the sound twin"


def test_strictly_before() -> None:
    """The first query sees nothing, though it is no padding."""
    text = DISTANCE + "seen = Greater(distance, zero)\n"
    assert refusal(text + CHOSEN).reason == "hides from queries their own key"


def test_one_entry_far_out() -> None:
    text = CAUSAL + """
        q3 = Constant<value_int = 1101>()
        is_q = Equal(queries, q3)
        is_k = Equal(keys, zero)
        odd = And(is_q, is_k)
        even = Not(odd)
        seen = And(before, even)
    """  # fmt: skip
    found = refusal(text + CHOSEN)
    assert "query 1101 does not see key 0" in found.reason and "at 1141 tokens" in found.reason


@pytest.mark.parametrize("padding", ["", "kept"])
def test_indices_before_positions_that_a_caller_gives(padding: str) -> None:
    """Keys by their place, queries by a number of theirs."""
    text = DISTANCE + """
        onto1 = Constant<value_ints = [1]>() columns = Unsqueeze(position_ids, second2)
        behind = LessOrEqual(places, columns) seen0 = Unsqueeze(behind, onto1)
    """.replace("columns =", "second2 = Constant<value_ints = [2]>() columns =")  # fmt: skip
    text += KEPT + "seen = And(kept, seen0)\n" if padding else "seen = Identity(seen0)\n"
    found = refusal(text + CHOSEN, INPUTS + ", int64[batch,sequence] position_ids")
    assert "query" in found.reason and (padding or "positions that run backwards" in found.reason)


def test_every_second_key() -> None:
    text = DISTANCE + """
        two = Constant<value_int = 2>()
        rest = Mod(distance, two)
        seen = Equal(rest, zero)
    """  # fmt: skip
    assert "does not see key" in refusal(text + CHOSEN).reason


def test_a_window_that_grows_with_the_length() -> None:
    text = DISTANCE + "two = Constant<value_int = 2>()\n half = Div(length, two)\n far = Abs(distance)\n"
    assert "neither" not in refusal(text + "seen = LessOrEqual(far, half)\n" + CHOSEN).reason


def test_a_band_that_differs_from_row_to_row() -> None:
    text = DISTANCE + BATCH + """
        two = Constant<value_int = 2>()
        limit = Add(line, two)
        far = Abs(distance)
        seen = LessOrEqual(far, limit)
    """  # fmt: skip
    assert "query" in refusal(text + CHOSEN).reason


def test_heads_that_see_different_keys() -> None:
    limits = np.array([2, 3]).reshape(1, 2, 1, 1)
    text = DISTANCE + "far = Abs(distance)\n seen = LessOrEqual(far, limits)\n"
    assert "heads different keys" in refusal(text + CHOSEN, limits=limits).reason
    same = np.array([3, 3]).reshape(1, 2, 1, 1)
    assert meaning(text + CHOSEN, limits=same).band == (3, 3)


def test_token_ids() -> None:
    text = """
        three = Constant<value_int = 3>()
        around = Constant<value_ints = [1, 2]>()
        same = Equal(input_ids, three)
        wide = Unsqueeze(same, around)
        seen = Not(wide)
    """
    found = refusal(text + CHOSEN)
    assert "token ids (input_ids)" in found.reason and found.node is not None and found.node.op_type == "Where"
    assert "token ids (input_ids)" in refusal(text + ADDED).reason


def test_token_ids_in_numbers() -> None:
    """No choice between scores and a constant, but arithmetic: as much a mask, and no score."""
    text = """
        three = Constant<value_int = 3>()
        around = Constant<value_ints = [1, 2]>()
        same = Equal(input_ids, three)
        wide = Unsqueeze(same, around)
        ones = Cast<to = 1>(wide)
        much = Constant<value_float = -1e9>()
        mask = Mul(ones, much)
        masked = Add(scores, mask)
    """
    found = refusal(text)
    assert "token ids (input_ids)" in found.reason


def test_ids_whose_input_has_another_name_are_known_by_their_table() -> None:
    text = """
        three = Constant<value_int = 3>()
        around = Constant<value_ints = [1, 2]>()
        same = Equal(input_ids, three)
        wide = Unsqueeze(same, around)
        seen = Not(wide)
    """
    text = mask_graphs.GRAPH.replace("INPUTS", INPUTS).replace("MASK", text + CHOSEN).replace("input_ids", "x0")
    found = mask_graphs.read(graphs.model(text, {"table": np.ones((16, 8), np.float32)}))
    assert isinstance(found, Refusal) and "reads the numbers of an input (x0)" in found.reason


def test_activations_choose() -> None:
    text = "nought = Constant<value_float = 0.0>()\n seen = Greater(scores, nought)\n"
    found = refusal(text + CHOSEN)
    assert "depends on activations: MatMul scores" in found.reason and found.node is not None


def test_a_value_that_depends_on_activations() -> None:
    subject = mask_graphs.model("more = Tanh(scores)\n masked = Add(scores, more)\n")
    values = {v.name: v for node in subject.graph for v in node.outputs}
    found = SoftmaxMasks(subject).of_value(values["more"])
    assert isinstance(found, Refusal) and found.reason == "depends on activations: MatMul scores"
    assert found.node is values["scores"].producer()


def test_activations_that_are_added_are_scores_and_said_to_be() -> None:
    text = """
        weight = Transpose<perm = [0, 1, 3, 2]>(key)
        second = MatMul(weight, key)
        masked = Add(scores, second)
    """
    assert [v.name for v in meaning(text).scores] == ["second", "scores"]


@pytest.mark.parametrize("way", ["added", "chosen", "sliced"])
def test_a_mask_that_the_caller_makes(way: str) -> None:
    kind = "bool" if way == "chosen" else "float"
    inputs = INPUTS.replace("int64[batch,sequence] attention_mask", f"{kind}[batch,1,sequence,sequence] attention_mask")
    text = {
        "added": "masked = Add(scores, attention_mask)\n",
        "chosen": "seen = Identity(attention_mask)\n" + CHOSEN,
        "sliced": """
            zero = Constant<value_ints = [0]>()
            much = Constant<value_ints = [4096]>()
            last = Constant<value_ints = [3]>()
            mask = Slice(attention_mask, zero, much, last)
            masked = Add(scores, mask)
        """,
    }[way]
    assert "a mask that the caller makes for each query" in refusal(text, inputs).reason


def test_segments() -> None:
    text = """
        minus1 = Constant<value_ints = [2]>()
        onto1 = Constant<value_ints = [1]>()
        of_queries = Unsqueeze(attention_mask, minus1)
        of_keys = Unsqueeze(attention_mask, onto1)
        same = Equal(of_queries, of_keys)
        seen = Unsqueeze(same, onto1)
    """
    assert refusal(text + CHOSEN).reason == "separates the texts that attention_mask numbers"
    whole = INPUTS.replace("int64[batch,sequence] attention_mask", "float[batch,sequence] attention_mask")
    assert refusal(text + CHOSEN, whole).reason == "separates the texts that attention_mask numbers"
    found = refusal(text.replace("attention_mask", "token_type_ids") + CHOSEN, INPUTS.replace(
        "attention_mask", "token_type_ids"))  # fmt: skip
    assert "segments (token_type_ids)" in found.reason


PAIRS = """
    minus1 = Constant<value_ints = [2]>()
    onto1 = Constant<value_ints = [1]>()
    numbers = Cast<to = TYPE>(attention_mask)
    of_queries = Unsqueeze(numbers, minus1)
    of_keys = Unsqueeze(numbers, onto1)
    none0 = Constant<value_int = 0>()
    one0 = Constant<value_int = 1>()
    two0 = Constant<value_int = 2>()
    none = CastLike(none0, numbers)
    one1 = CastLike(one0, numbers)
    two = CastLike(two0, numbers)
    real = Greater(of_keys, none)
    SAYS
    chosen = And(real, says)
    seen = Unsqueeze(chosen, onto1)
"""
UNDER_NUMBERS = {
    "not behind": ("says = LessOrEqual(of_keys, of_queries)", "1 and 2"),
    "neighbours": ("away0 = Sub(of_keys, of_queries) away = Abs(away0) says = LessOrEqual(away, one1)", "1 and 3"),
    "pairs of texts": (
        "more = Add(numbers, one1) half = Div(more, two) whole = Cast<to = 7>(half) h1 = Unsqueeze(whole, minus1) "
        "h2 = Unsqueeze(whole, onto1) says = Equal(h1, h2)",
        "1 and 3",
    ),
    "some": ("three0 = Constant<value_int = 3>() three = CastLike(three0, numbers) says = Less(of_keys, three)",
             "1 and 3"),
    "global tokens": (
        "global1 = Equal(of_keys, two) global2 = Equal(of_queries, two) local = Equal(of_queries, one1) "
        "either = Or(global1, global2) says = Or(either, local)",
        "1 and 3",
    ),
    "a first text that all see": (
        "same = Equal(of_keys, of_queries) first1 = Equal(of_keys, one1) first2 = Equal(of_queries, one1) "
        "either = Or(same, first1) says = Or(either, first2)",
        "2 and 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["int64", "float"])
@pytest.mark.parametrize("way", UNDER_NUMBERS)
def test_numbers_that_tell_tokens_apart(way: str, kind: str) -> None:
    says, apart = UNDER_NUMBERS[way]
    inputs = INPUTS.replace("int64[batch,sequence] attention_mask", f"{kind}[batch,sequence] attention_mask")
    text = PAIRS.replace("TYPE", "7" if kind == "int64" else "1").replace("SAYS", says) + ADDED
    assert refusal(text, inputs).reason == f"tells tokens of number {apart} apart (attention_mask)"
    twin = meaning(text.replace("numbers = Cast<to = 7>(attention_mask)", AS_ONES).replace(
        "numbers = Cast<to = 1>(attention_mask)", AS_ONES), inputs)  # fmt: skip
    assert str(twin) == "padding of attention_mask" and twin.shown == "not 0", (
        "the sound twin has no number but 0 and 1"
    )


AS_ONES = "bools0 = Cast<to = 9>(attention_mask) numbers = Cast<to = 7>(bools0)"


def test_texts_with_negative_numbers() -> None:
    says = "product = Mul(of_keys, of_queries) says = Greater(product, none)"
    text = PAIRS.replace("TYPE", "7").replace("SAYS", says).replace("real = Greater(", "gone = Equal(")
    text = text.replace("chosen = And(real, says)", "kept2 = Not(gone) chosen = And(kept2, says)")
    assert refusal(text + ADDED).reason == "tells tokens of number -1 and 1 apart (attention_mask)"


def test_two_paddings() -> None:
    text = (
        KEPT
        + """
        bools2 = Cast<to = 9>(other_mask)
        kept2 = Unsqueeze(bools2, around)
        seen = And(kept, kept2)
    """
    )
    found = refusal(text + CHOSEN, INPUTS + ", int64[batch,sequence] other_mask")
    assert "two inputs, attention_mask and other_mask" in found.reason


def test_random_keys() -> None:
    text = """
        drawn = RandomUniform<shape = [1]>()
        half = Constant<value_float = 0.5>()
        seen = Less(drawn, half)
    """
    assert "draws random numbers" in refusal(text + CHOSEN).reason


def test_a_bias_that_depends_on_the_padding() -> None:
    text = """
        around = Constant<value_ints = [1, 2]>()
        wide = Unsqueeze(attention_mask, around)
        floats = Cast<to = 1>(wide)
        masked = Add(scores, floats)
    """
    assert "query" in refusal(text).reason


def test_a_bias_that_depends_on_the_length() -> None:
    text = DISTANCE + """
        away = Cast<to = 1>(distance)
        all = Cast<to = 1>(length)
        part = Div(away, all)
        masked = Add(scores, part)
    """  # fmt: skip
    assert "query" in refusal(text).reason


def test_scores_that_are_changed_here_and_there() -> None:
    text = CAUSAL + LOWEST + """
        two = Constant<value_float = 2.0>()
        more = Mul(scores, two)
        masked = Where(before, scores, more)
    """  # fmt: skip
    assert refusal(text).reason == "changes some of the scores that are seen, and others not"


def test_a_softmax_along_another_axis() -> None:
    subject = mask_graphs.model("masked = Identity(scores)")
    softmax = subject.graph.node("Softmax_weights")
    softmax.attributes["axis"] = ir.AttrInt64("axis", 1)
    found = mask_graphs.read(subject)
    assert isinstance(found, Refusal) and found.reason == "is a Softmax along axis 1" and found.node is softmax


def test_a_mask_that_a_loop_gives() -> None:
    text = """
        times = Constant<value_int = 2>()
        go = Constant<value_ints = [1]>()
        on = Cast<to = 9>(go)
        yes = Squeeze(on)
        start = Cast<to = 1>(attention_mask)
        around = Constant<value_ints = [1, 2]>()
        begun = Unsqueeze(start, around)
        mask = Loop(times, yes, begun) <body = inside (int64 i, bool c, float[a,b,d,e] before) => (bool more, float[a,b,d,e] after) {
            more = Identity(c)
            after = Neg(before)
        }>
        masked = Add(scores, mask)
    """  # noqa: E501
    assert refusal(text).reason == "is computed by a Loop"


def test_constants_that_a_caller_can_replace() -> None:
    limit = np.array(4)
    text = DISTANCE + "far = Abs(distance)\n seen = LessOrEqual(far, limit)\n"
    found = refusal(text + CHOSEN, INPUTS + ", int64 limit", limit=limit)
    assert "limit, a constant that a caller can replace" in found.reason
    assert meaning(text + CHOSEN, limit=limit).band == (4, 4)


def test_a_column_beside_the_scores() -> None:
    text = (
        KEPT
        + LOWEST
        + """
        seen_scores = Where(kept, scores, lowest)
        lines = Constant<value_ints = [0]>()
        ends = Constant<value_ints = [1]>()
        last = Constant<value_ints = [3]>()
        sink = Slice(scores, lines, ends, last)
        masked = Concat<axis = 3>(sink, seen_scores)
    """
    )
    assert "keys where there are" in refusal(text).reason


def test_scores_that_hide_a_mask() -> None:
    """What is behind the ScatterElements is not looked at, so that nothing is said of it."""
    text = (
        KEPT
        + LOWEST
        + """
        hidden = Where(kept, scores, lowest)
        places = Constant<value_ints = [0]>()
        around = Constant<value_ints = [0, 1, 2]>()
        place = Unsqueeze(places, around0)
        begin = Constant<value_ints = [0, 0, 0, 0]>()
        ends = Constant<value_ints = [1, 1, 1, 1]>()
        one_score = Slice(scores, begin, ends)
        masked = ScatterElements<axis = 3>(hidden, place, one_score)
    """.replace("around =", "around0 =")
    )
    assert refusal(text).reason == "lies behind ScatterElements, which is no product"


NUMBERS = "around = Constant<value_ints = [1, 2]>() wide = Unsqueeze(attention_mask, around)\n"
WEIGHED = {
    "above a half": (
        "float", "half = Constant<value_float = 0.5>() seen = Greater(wide, half)\n" + ADDED,
        "tells tokens of number 0.5 and 1 apart",
    ),
    "by logarithms": (
        "float", "far = Log(wide) mask = Identity(far) masked = Add(scores, mask)", "weighs tokens by their numbers",
    ),
    "a number that is left out": (
        "int64", "none = Constant<value_int = 0>() left = Constant<value_int = 200>() a = Equal(wide, none) "
        "b = Equal(wide, left) c = Or(a, b) seen = Not(c)\n" + ADDED, "tells tokens of number 199 and 200 apart",
    ),
    "a little for each number": (
        "int64", "none = Constant<value_int = 0>() a = Equal(wide, none) kept = Not(a) floats = Cast<to = 1>(wide) "
        "lowest = Constant<value_float = -1e9>() mask = Where(kept, floats, lowest) masked = Add(scores, mask)",
        "weighs tokens by their numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WEIGHED)
def test_numbers_by_which_tokens_count_for_more_or_less(way: str) -> None:
    kind, text, said = WEIGHED[way]
    inputs = INPUTS.replace("int64[batch,sequence] attention_mask", f"{kind}[batch,sequence] attention_mask")
    assert refusal(NUMBERS + text, inputs).reason == f"{said} (attention_mask)"
