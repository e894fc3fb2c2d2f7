"""What masks mean, however they are written: padding, causal, a band, a bias by position."""

import re

import graphs
import mask_graphs
import numpy as np
import onnx_ir as ir
import pytest
from mask_graphs import ADDED, CAUSAL, CHOSEN, DISTANCE, INPUTS, KEPT, LOWEST, meaning

from onnxfix.surgery.sites.attention.masks import reading, softmax_masks
from onnxfix.surgery.sites.attention.masks.mask import Bias, Mask
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks

NUMBER = "limit = Constant<value_int = {}>()\n"
BAND = DISTANCE + NUMBER + "far = Abs(distance)\n near = LessOrEqual(far, limit)\n"
COUNTED = """
    along = Constant<value_int = 1>()
    counts = CumSum(attention_mask, along)
    minus1 = Constant<value_ints = [2]>()
    onto1 = Constant<value_ints = [1]>()
    of_queries = Unsqueeze(counts, minus1)
    of_keys = Unsqueeze(counts, onto1)
    steps = Sub(of_queries, of_keys)
    stepped = Unsqueeze(steps, onto1)
"""


def test_no_mask() -> None:
    found = meaning("masked = Identity(scores)")
    assert found.is_empty and str(found) == "none" and found.hidden is None and found.sources == ()
    assert [v.name for v in found.scores] == ["scores"]


@pytest.mark.parametrize("way", [ADDED, CHOSEN], ids=["added", "chosen"])
def test_padding(way: str) -> None:
    found = meaning(KEPT + "seen = Identity(kept)\n" + way)
    assert found.padding is not None and found.padding.name == "attention_mask" and not found.inverted
    assert not found.causal and found.band is None and found.bias is None
    assert found.hidden == float(np.finfo(np.float32).min) and found.empty_row == "mean"
    assert found.padded_rows == "as others" and found.longest == 1200
    assert str(found) == "padding of attention_mask"


def test_padding_that_hides_with_a_small_number_leaves_scores_to_an_empty_row() -> None:
    text = """
        around = Constant<value_ints = [1, 2]>()
        floats = Cast<to = 1>(attention_mask)
        wide = Unsqueeze(floats, around)
        top = Constant<value_float = 1.0>()
        other = Sub(top, wide)
        much = Constant<value_float = -10000.0>()
        mask = Mul(other, much)
        masked = Add(scores, mask)
    """
    found = meaning(text)
    assert str(found) == "padding of attention_mask" and found.hidden == -10000.0 and found.empty_row == "scores"


SHOWN = {
    "not 0": (KEPT + "seen = Identity(kept)\n", "not 0"),
    "above 0": ("nil = Constant<value_int = 0>() above = Greater(attention_mask, nil)\n"
                + KEPT.replace("Cast<to = 9>(attention_mask)", "Identity(above)") + "seen = Identity(kept)\n",
                "above 0"),
    "1 alone": ("one = Constant<value_int = 1>() ones = Equal(attention_mask, one)\n"
                + KEPT.replace("Cast<to = 9>(attention_mask)", "Identity(ones)") + "seen = Identity(kept)\n", "1"),
    "the rest from 1": ("""around = Constant<value_ints = [1, 2]>() floats = Cast<to = 1>(attention_mask)
        top = Constant<value_float = 1.0>() rest = Sub(top, floats) gone0 = Cast<to = 9>(rest)
        gone = Unsqueeze(gone0, around) seen = Not(gone)\n""", "1"),
    "1 alone, of queries as well": (
        """one = Constant<value_int = 1>() two = Constant<value_ints = [2]>() onto = Constant<value_ints = [1]>()
        ones = Equal(attention_mask, one) of_keys = Unsqueeze(ones, onto) of_queries = Unsqueeze(ones, two)
        both = And(of_keys, of_queries) seen = Unsqueeze(both, onto)\n""", "1"),
}  # fmt: skip


@pytest.mark.parametrize("way", SHOWN)
def test_which_numbers_are_padding(way: str) -> None:
    """Of 1 - mask as a bool, what is not 1 is hidden, as 0 is."""
    text, shown = SHOWN[way]
    found = meaning(text + ADDED)
    assert str(found) == "padding of attention_mask" and found.shown == shown
    both = meaning(CAUSAL.replace("one = C", "one9 = C").replace("one)", "one9)") + text.replace("seen =", "shown =")
                   + "seen = And(before, shown)\n" + ADDED)  # fmt: skip
    assert str(both) == "padding of attention_mask, causal" and both.shown == shown


def test_a_logarithm_of_the_mask() -> None:
    """Of numbers below 0 there is none."""
    text = """around = Constant<value_ints = [1, 2]>() little = Constant<value_float = 1e-9>()
        thousand = Constant<value_float = 1000.0>() more = Add(attention_mask, little) log = Log(more)
        far = Mul(log, thousand) mask = Unsqueeze(far, around) masked = Add(scores, mask)"""
    found = meaning(
        text, INPUTS.replace("int64[batch,sequence] attention_mask", "float[batch,sequence] attention_mask")
    )
    assert str(found) == "padding of attention_mask" and found.shown == "1"


@pytest.mark.parametrize("kind", ["int64", "float"])
@pytest.mark.parametrize("product", [False, True], ids=["of keys", "of queries and keys"])
def test_arithmetic_in_which_other_numbers_mean_nothing(product: bool, kind: str) -> None:
    """1e9 is added to a key of number 2, and takes back what hides it from queries before it."""
    text = CAUSAL + LOWEST.replace("-3.4028234663852886e38", "-1e9") + """
        around = Constant<value_ints = [1, 2]>() columns = Constant<value_ints = [1, 3]>()
        floats = Cast<to = 1>(attention_mask)
        of_queries = Unsqueeze(floats, columns) of_keys = Unsqueeze(floats, around) real = Mul(of_keys, of_queries)
        top = Constant<value_float = 1.0>() rest = Sub(top, real) padding = Mul(rest, lowest)
        later = Where(before, nothing, lowest) mask = Add(later, padding) masked = Add(scores, mask)
    """  # fmt: skip
    text = text if product else text.replace("real = Mul(of_keys, of_queries)", "real = Identity(of_keys)")
    found = meaning(
        text, INPUTS.replace("int64[batch,sequence] attention_mask", f"{kind}[batch,sequence] attention_mask")
    )
    assert str(found) == "padding of attention_mask, causal"
    assert found.shown == ("1" if kind == "float" else "not 0" if product else "above 0"), "half and -1 are hidden"


@pytest.mark.parametrize(("operation", "rows"), [("And", "nothing"), ("Or", "everything")])
def test_what_padding_sees_is_said_and_changes_no_meaning(operation: str, rows: str) -> None:
    text = """
        columns = Constant<value_ints = [1, 3]>()
        of_queries = Unsqueeze(bools, columns)
        padding = Not(of_queries)
    """
    choice = "seen = And(kept, of_queries)\n" if operation == "And" else "seen = Or(kept, padding)\n"
    found = meaning(KEPT + text + choice + ADDED)
    assert str(found) == "padding of attention_mask" and found.padded_rows == rows
    assert (found.empty_row is None) == (rows == "everything")


def test_infinity_makes_empty_rows_nan() -> None:
    found = meaning(KEPT + "seen = Identity(kept)\n" + ADDED.replace("-3.4028234663852886e38", "-inf"))
    assert found.hidden == -np.inf and found.empty_row == "nan"


def test_causal_and_padding() -> None:
    found = meaning(KEPT + CAUSAL + "seen = And(kept, before)\n" + CHOSEN)
    assert str(found) == "padding of attention_mask, causal" and found.band is None and found.positions == "index"


def test_a_triangle_that_is_computed() -> None:
    text = DISTANCE + LOWEST + """
        both = Concat<axis = 0>(length1, length1)
        full = ConstantOfShape<value = float[1] {-inf}>(both)
        above = Trilu<upper = 1>(full, one)
        masked = Add(scores, above)
    """.replace("both =", "length1 = Unsqueeze(length, first)\n both =")  # fmt: skip
    found = meaning(text)
    assert str(found) == "causal" and found.padding is None and found.sources == ()


def test_a_triangle_that_is_stored_is_tried_as_far_as_it_goes() -> None:
    triangle = np.tril(np.ones((1, 1, 200, 200), bool))
    text = DISTANCE + """
        ends = Unsqueeze(length, first)
        starts = Constant<value_ints = [0]>()
        lines = Constant<value_ints = [2]>()
        columns = Constant<value_ints = [3]>()
        some = Slice(triangle, starts, ends, lines)
        seen = Slice(some, starts, ends, columns)
    """  # fmt: skip
    found = meaning(text + CHOSEN, triangle=triangle)
    assert str(found) == "causal" and found.longest == 200 and found.untried is None


def test_a_layer_behind_a_stored_triangle() -> None:
    """Beyond it no shape is known, of its own scores least of all."""
    text = DISTANCE + LOWEST + """
        ends = Unsqueeze(length, first)
        starts = Constant<value_ints = [0]>()
        both = Constant<value_ints = [2, 3]>()
        twice = Concat<axis = 0>(ends, ends)
        origin = Concat<axis = 0>(starts, starts)
        seen = Slice(triangle, origin, twice, both)
        before = Where(seen, scores, lowest)
        p = Softmax<axis = -1>(before)
        o = MatMul(p, query)
        scores2 = MatMul(o, key)
        masked = Where(seen, scores2, lowest)
    """  # fmt: skip
    subject = mask_graphs.model(text, triangle=np.tril(np.ones((1, 1, 200, 200), bool)))
    found = [each for _, each in softmax_masks.find(subject)]
    assert [str(each) for each in found] == ["causal"] * 2
    assert [each.longest for each in found if isinstance(each, Mask)] == [200, 200]


def test_scores_that_are_multiplied_by_a_triangle() -> None:
    text = CAUSAL + """
        floats = Cast<to = 1>(before)
        top = Constant<value_float = 1.0>()
        other = Sub(top, floats)
        much = Constant<value_float = 10000.0>()
        less = Mul(other, much)
        some = Mul(scores, floats)
        root = Constant<value_float = 2.0>()
        lowered = Sub(some, less)
        masked = Div(lowered, root)
    """  # fmt: skip
    found = meaning(text)
    assert (str(found) == "causal" and found.hidden == -5000.0) or found.hidden == -10000.0 / 2


@pytest.mark.parametrize("limit", [0, 1, 4, 63, 64, 700])
def test_a_band_is_read_to_the_key(limit: int) -> None:
    found = meaning(KEPT + BAND.format(limit) + "seen = And(kept, near)\n" + ADDED)
    assert found.band == (limit, limit) and found.causal == (limit == 0) and found.positions == "index"
    assert found.longest >= 2 * limit


def test_a_band_wider_than_the_longest_sample_is_found_by_its_number() -> None:
    text = CAUSAL + NUMBER.format(2000) + "near = Less(distance, limit)\n seen = And(near, before)\n"
    found = meaning(text + CHOSEN)
    assert found.causal and found.band == (1999, 0) and found.longest > 4000


def test_a_limit_that_no_sample_reaches_is_said() -> None:
    text = CAUSAL + NUMBER.format(32768) + "near = Less(distance, limit)\n seen = And(near, before)\n"
    found = meaning(text + CHOSEN)
    assert found.causal and found.band is None and found.longest == 1200 and found.untried == 32768
    assert meaning(CAUSAL + "seen = Identity(before)\n" + CHOSEN).untried is None


FLOATS = """far0 = Abs(distance) far = Cast<to = 1>(far0) part = Constant<value_float = 1024.0>()
    some = Constant<value_float = 1.5>() much = Constant<value_float = 2250000.0>()
    high = Constant<value_float = 6000.0>() lots = Constant<value_float = -1e9>()
"""
OUT_OF_REACH = {
    "divided": "share = Div(far, part) near = LessOrEqual(share, some)",
    "squared": "square = Mul(far, far) near = LessOrEqual(square, much)",
    "a logarithm": "more = Add(far, some) log0 = Log(more) log = Div(log0, some) near = Less(log, part)",
    "divided in whole numbers": "one9 = Constant<value_int = 1>() kilo = Constant<value_int = 1024>() "
    "share = Div(far0, kilo) near = LessOrEqual(share, one9)",
    "a float that no length reaches": "near = LessOrEqual(far, high)",
    "a number that is computed": "limit9 = Mul(part, part) near = LessOrEqual(far, limit9)",
    "an array": "near = LessOrEqual(distance, limits)",
}


@pytest.mark.parametrize("way", OUT_OF_REACH)
def test_a_limit_that_no_integer_says_is_untried(way: str) -> None:
    text = KEPT + DISTANCE + FLOATS + OUT_OF_REACH[way] + "\n seen = And(kept, near)\n" + ADDED
    limits = {"limits": np.full((1, 2, 1, 1), 5000)} if way == "an array" else {}
    found = meaning(text, **limits)
    assert str(found) == "padding of attention_mask" and found.untried == found.longest + 1 == 1201


def test_scores_that_are_lowered_far_out() -> None:
    """No comparison, and a limit all the same."""
    text = DISTANCE + FLOATS + """beyond0 = Sub(far, high) beyond = Relu(beyond0) lower = Mul(beyond, lots)
        masked = Add(scores, lower)"""  # fmt: skip
    assert meaning(text).untried == 1201


WITHIN_REACH = {
    "in floats": ("near = LessOrEqual(far, some)", (1, 1)),
    "divided": ("share = Div(far, some) near = LessOrEqual(share, some)", (2, 2)),
    "places in floats": ("fq = Cast<to = 1>(queries) fk = Cast<to = 1>(keys) near = GreaterOrEqual(fq, fk)", None),
    "a triangle in floats": (
        "all0 = Less(distance, zero) ahead = Cast<to = 1>(all0) nil = CastLike(zero, ahead) near = Equal(ahead, nil)",
        None,
    ),
    "turned round": ("back = Constant<value_int = -1>() other = Mul(distance, back) near = LessOrEqual(other, zero)",
                     None),
}  # fmt: skip


@pytest.mark.parametrize("way", WITHIN_REACH)
def test_a_limit_that_was_seen_is_tried(way: str) -> None:
    near, band = WITHIN_REACH[way]
    found = meaning(KEPT + DISTANCE + FLOATS + near + "\n seen = And(kept, near)\n" + ADDED)
    assert found.untried is None and found.band == band and found.causal == (band is None)


def test_a_band_with_two_sides() -> None:
    text = DISTANCE + NUMBER.format(7) + """
        three = Constant<value_int = -3>()
        not_far = LessOrEqual(distance, limit)
        not_late = GreaterOrEqual(distance, three)
        seen = And(not_far, not_late)
    """  # fmt: skip
    found = meaning(text + ADDED)
    assert found.band == (7, 3) and not found.causal and str(found) == "band of 7 and 3"


def test_a_band_over_tokens_that_are_no_padding_is_counted() -> None:
    near = NUMBER.format(3) + "far = Abs(stepped)\n near = LessOrEqual(far, limit)\n"
    found = meaning(KEPT + COUNTED + near + "seen = And(kept, near)\n" + ADDED)
    assert found.band == (3, 3) and found.positions == "count"


def test_a_bias_by_distance_and_head() -> None:
    slopes = np.array([0.5, 0.25], np.float32).reshape(1, 2, 1, 1)
    text = KEPT + BAND.format(9) + """
        away = Cast<to = 1>(far)
        less = Neg(away)
        bias = Mul(less, slopes)
        seen = And(kept, kept)
    """ + ADDED.replace("scores", "biased").replace("mask =", "biased = Add(scores, bias)\n mask =")  # fmt: skip
    found = meaning(text, slopes=slopes)
    assert found.bias is not None and found.bias.heads == 2 and found.bias.relative and found.bias.largest > 500
    assert found.band is None and found.padding is not None


def test_a_bias_by_query_and_key() -> None:
    places = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    text = DISTANCE + """
        rows = Gather(places_table, places)
        bias = Gather<axis = 1>(rows, places)
        masked = Add(bias, scores)
    """  # fmt: skip
    found = meaning(text, places_table=places)
    assert found.bias == Bias(1, False, float(np.abs(places).max())) and found.longest == 64


def test_a_bias_by_counted_keys() -> None:
    """As ALiBi is written where a row of it is added to all queries."""
    text = KEPT + COUNTED + """
        both = Constant<value_ints = [1, 2]>()
        row = Unsqueeze(counts, both)
        slope = Constant<value_float = 0.125>()
        numbers = Cast<to = 1>(row)
        bias = Mul(numbers, slope)
        biased = Add(scores, bias)
        seen = Identity(kept)
    """ + ADDED.replace("scores", "biased")  # fmt: skip
    found = meaning(text)
    assert found.positions == "count" and found.bias is not None and found.bias.heads == 1


def test_a_number_that_all_get_is_no_bias() -> None:
    found = meaning("same = Constant<value_float = 3.5>()\n masked = Add(scores, same)\n")
    assert found.bias is None and found.is_empty


def test_a_padding_input_whose_ones_hide() -> None:
    inputs = INPUTS.replace("int64[batch,sequence] attention_mask", "bool[batch,sequence] key_padding_mask")
    text = """
        around = Constant<value_ints = [1, 2]>()
        hidden = Unsqueeze(key_padding_mask, around)
        seen = Not(hidden)
    """
    found = meaning(text + CHOSEN, inputs)
    assert found.inverted and str(found) == "padding of key_padding_mask (1 is padding)"


def test_positions_that_a_caller_gives() -> None:
    text = """
        minus1 = Constant<value_ints = [2]>()
        onto1 = Constant<value_ints = [1]>()
        of_queries = Unsqueeze(position_ids, minus1)
        of_keys = Unsqueeze(position_ids, onto1)
        steps = Sub(of_queries, of_keys)
        far = Abs(steps)
        two = Constant<value_int = 2>()
        near = LessOrEqual(far, two)
        close = Unsqueeze(near, onto1)
        seen = And(kept, close)
    """
    found = meaning(KEPT + text + ADDED, INPUTS + ", int64[batch,sequence] position_ids")
    assert found.positions == "input" and found.band == (2, 2) and len(found.sources) == 2


@pytest.mark.parametrize("padded", [True, False])
def test_before_by_positions_that_a_caller_gives(padded: bool) -> None:
    """They may begin anew in a row: what rises by one alone would be the index."""
    text = """
        minus1 = Constant<value_ints = [2]>() onto1 = Constant<value_ints = [1]>()
        of_queries = Unsqueeze(position_ids, minus1) of_keys = Unsqueeze(position_ids, onto1)
        behind = LessOrEqual(of_keys, of_queries) close = Unsqueeze(behind, onto1)
        seen = And(kept, close)
    """
    text = KEPT + text if padded else text.replace("And(kept, close)", "Identity(close)")
    inputs = INPUTS + ", int64[batch,sequence] position_ids"
    found = meaning(text + ADDED, inputs)
    assert found.positions == "input" and found.causal and (found.padding is not None) == padded
    assert found.window is None
    twin = DISTANCE + text.replace("LessOrEqual(of_keys, of_queries)", "GreaterOrEqual(order, nought)").replace(
        "behind =", """sum = Sub(of_queries, of_queries) nought = Mul(of_keys, zero) order = Add(distance, sum)
        behind =""")  # fmt: skip
    found = meaning(twin + ADDED, inputs)
    assert found.positions == "index" and found.causal
    assert "position_ids" in [source.name for source in found.sources]


@pytest.mark.parametrize("total", ["total", "past + sequence"])
@pytest.mark.parametrize("limit", [0, 3])
def test_queries_behind_a_cache(total: str, limit: int) -> None:
    inputs = "int64[batch,sequence] input_ids, int64[batch,total] attention_mask, float[batch,2,past,4] old_keys"
    text = KEPT + """
        turned = Transpose<perm = [0, 1, 3, 2]>(old_keys)
        longer = Concat<axis = 3>(turned, key)
        products = MatMul(query, longer)
        old = Shape<start = 2, end = 3>(old_keys)
        new = Shape<start = 1, end = 2>(input_ids)
        every = Add(old, new)
        zero = Constant<value_int = 0>()
        one = Constant<value_int = 1>()
        begin = Squeeze(old)
        stop = Squeeze(every)
        own = Range(begin, stop, one)
        all = Range(zero, stop, one)
        second = Constant<value_ints = [1]>()
        queries = Unsqueeze(own, second)
        distance = Sub(queries, all)
        before = GreaterOrEqual(distance, zero)
        near = LessOrEqual(distance, limit)
        window = And(near, before)
        seen = And(kept, window)
    """ + CHOSEN.replace("scores", "products")  # fmt: skip
    if not limit:
        text = text.replace("near = LessOrEqual(distance, limit)", "").replace("And(near, before)", "Identity(before)")
    made = graphs.proto_of(mask_graphs.model(text, inputs, **({"limit": np.array(limit)} if limit else {})))
    made.graph.input[1].type.tensor_type.shape.dim[1].dim_param = total
    found = mask_graphs.read(graphs.opened(made))
    words = "padding of attention_mask, causal" + (", band of 3 and 0" if limit else "")
    assert str(found) == words and isinstance(found, Mask) and found.positions == "index"


def test_queries_of_another_text() -> None:
    inputs = "int64[batch,sequence] input_ids, int64[batch,keys] other_ids, int64[batch,keys] attention_mask"
    text = KEPT + """
        other = Gather(table, other_ids)
        parts2 = Reshape(other, split)
        key2 = Transpose<perm = [0, 2, 3, 1]>(parts2)
        products = MatMul(query, key2)
        seen = Identity(kept)
    """ + CHOSEN.replace("scores", "products")  # fmt: skip
    assert str(meaning(text, inputs)) == "padding of attention_mask"


@pytest.mark.parametrize(("batch", "sequence"), [("1", "sequence"), ("batch", "24"), ("1", "24")])
def test_axes_that_the_file_fixes(batch: str, sequence: str) -> None:
    inputs = INPUTS.replace("batch", batch).replace("sequence", sequence)
    found = meaning(KEPT + BAND.format(4) + "seen = And(kept, near)\n" + ADDED, inputs)
    assert str(found) == "padding of attention_mask, band of 4 and 4"
    assert (found.longest == 24) == (sequence == "24")


@pytest.mark.parametrize("half", [10, 16], ids=["fp16", "bf16"])
def test_half_precision(half: int) -> None:
    text = f"""
        narrow = Cast<to = {half}>(scores)
        lowest = Constant<value_float = -65504.0>()
        lower = Cast<to = {half}>(lowest)
        nothing = Constant<value_float = 0.0>()
        none = Cast<to = {half}>(nothing)
        mask = Where(kept, none, lower)
        added = Add(narrow, mask)
        masked = Cast<to = 1>(added)
    """
    found = meaning(KEPT + text)
    assert str(found) == "padding of attention_mask" and found.hidden is not None and found.hidden < -65000


def test_a_bias_in_half_precision() -> None:
    """One more than a bias of 9.3 is 10.297 in fp16."""
    table = np.random.default_rng(1).normal(size=(19,)).astype(np.float16) * np.float16(10)
    text = DISTANCE + """
        low = Constant<value_int = -9>()
        high = Constant<value_int = 9>()
        bounded = Clip(distance, low, high)
        place = Add(bounded, high)
        bias = Gather(numbers, place)
        narrow = Cast<to = 10>(scores)
        added = Add(narrow, bias)
        masked = Cast<to = 1>(added)
    """  # fmt: skip
    found = meaning(text, numbers=table)
    assert found.bias == Bias(1, True, float(np.abs(table).max()))


def test_scores_in_eight_bits() -> None:
    text = """
        step = Constant<value_float = 0.1>()
        whole = QuantizeLinear(scores, step)
        rounded = DequantizeLinear(whole, step)
    """
    found = meaning(KEPT + text + "seen = Identity(kept)\n" + ADDED.replace("scores", "rounded"))
    assert str(found) == "padding of attention_mask" and [v.name for v in found.scores] == ["rounded"]


def test_scores_that_are_bounded() -> None:
    text = """
        cap = Constant<value_float = 50.0>()
        part = Div(scores, cap)
        bent = Tanh(part)
        full = Mul(bent, cap)
        capped = Dropout(full)
    """
    found = meaning(KEPT + text + "seen = Identity(kept)\n" + ADDED.replace("scores", "capped"))
    assert str(found) == "padding of attention_mask" and [v.name for v in found.scores] == ["scores"]


def test_a_softmax_over_tokens_that_are_pooled() -> None:
    text = """
        columns = MatMul(x, direction)
        last = Constant<value_ints = [2]>()
        line = Squeeze(columns, last)
        floats = Where(bools, line, lowest)
        pooled = Softmax<axis = -1>(floats)
        masked = Identity(scores)
    """
    subject = mask_graphs.model(KEPT + LOWEST + text, direction=np.ones((8, 1), np.float32))
    found = [str(each) for _, each in softmax_masks.find(subject)]
    assert found == ["padding of attention_mask", "none"]


def test_a_softmax_in_a_branch() -> None:
    text = GUARDED.replace("KEPT", KEPT).replace("LOWEST", LOWEST)
    rng = np.random.default_rng(0)
    subject = graphs.model(text, {"table": rng.normal(size=(16, 8)).astype(np.float32)})
    found = [each for _, each in softmax_masks.find(subject)]
    assert [str(each) for each in found] == ["padding of attention_mask", "none"]


GUARDED = """g (int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask, bool masks) => (y) {
    x = Gather(table, input_ids)
    split = Constant<value_ints = [0, 0, 2, 4]>()
    parts = Reshape(x, split)
    query = Transpose<perm = [0, 2, 1, 3]>(parts)
    key = Transpose<perm = [0, 2, 3, 1]>(parts)
    scores = MatMul(query, key)
    KEPT
    LOWEST
    y = If(masks) <
        then_branch = yes () => (y1) { masked = Where(kept, scores, lowest)
            y1 = Softmax<axis = -1>(masked) },
        else_branch = no () => (y2) { y2 = Softmax<axis = -1>(scores) }
    >
}"""


def test_values_alone() -> None:
    subject = mask_graphs.model(KEPT + CAUSAL + "seen = And(kept, before)\n unseen = Not(seen)\n" + ADDED)
    masks = SoftmaxMasks(subject)
    values: dict[str | None, ir.Value] = {v.name: v for node in subject.graph for v in node.outputs}
    found = [masks.of_value(values["mask"]), masks.of_value(values["seen"]), masks.of_value(values["unseen"], True)]
    assert [str(each) for each in found] == ["padding of attention_mask, causal"] * 3
    assert [each.hidden is None for each in found if isinstance(each, Mask)] == [False, True, True]
    assert [each.empty_row for each in found if isinstance(each, Mask)] == ["mean", None, None]


def test_layers_that_write_the_same_mask_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    whole = reading.read
    monkeypatch.setattr(reading, "read", lambda observer: computed.append(observer) or whole(observer))
    once = KEPT + "seen = Identity(kept)\n" + ADDED
    again = re.sub(r"\b(around|bools|kept|seen|lowest|nothing|mask|masked|scores)\b", r"\g<1>2", once)
    between = "p = Softmax<axis = -1>(masked)\n o = MatMul(p, query)\n scores2 = MatMul(o, key)\n"
    subject = mask_graphs.model(once + between + again)
    values = {v.name: v for node in subject.graph for v in node.outputs}
    subject.graph.node("Softmax_weights").replace_input_with(0, values["masked2"])
    found = [each for _, each in softmax_masks.find(subject)]
    assert [str(each) for each in found] == ["padding of attention_mask"] * 2 and len(computed) == 1
    scores = [each.scores[0].name for each in found if isinstance(each, Mask)]
    assert scores == ["scores", "scores2"]
    again = again.replace("-3.4028234663852886e38", "-1e9")
    subject = mask_graphs.model(once + between + again)
    values = {v.name: v for node in subject.graph for v in node.outputs}
    subject.graph.node("Softmax_weights").replace_input_with(0, values["masked2"])
    hidden = [each.hidden for _, each in softmax_masks.find(subject) if isinstance(each, Mask)]
    assert hidden == [float(np.finfo(np.float32).min), -1e9], "and others are not"


@pytest.mark.parametrize("rows", [64, 512])
def test_a_mask_of_the_sizes_of_what_has_so_many_positions(rows: int) -> None:
    """Longer texts than a model has positions for have no sizes; what the mask means is read from those that it has."""
    text = """g (int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask, float[batch,sequence,8] q)
        => (float[batch,sequence,sequence] y) {
        first = Constant<value_ints = [0]>() second = Constant<value_ints = [1]>()
        length = Shape<start = 1, end = 2>(input_ids)
        here = Slice(places, first, length, first)
        e0 = Gather(table, input_ids) e = Add(e0, here)
        sizes = Shape<start = 0, end = 2>(e) grown = Concat<axis = 0>(sizes, second)
        all = ConstantOfShape<value = bool[1] {1}>(grown) alike = Transpose<perm = [0, 2, 1]>(all)
        seen = Cast<to = 9>(attention_mask) wide = Unsqueeze(seen, second) both = And(wide, alike)
        mask = Where(both, zero, lowest)
        qt = Transpose<perm = [0, 2, 1]>(q) s0 = MatMul(q, qt) s = Add(s0, mask) y = Softmax<axis = -1>(s)
    }"""
    weights = {"table": np.ones((9, 8), np.float32), "places": np.ones((rows, 8), np.float32),
               "zero": np.float32(0), "lowest": np.float32(-1e9)}  # fmt: skip
    ((_, found),) = softmax_masks.find(graphs.model(text, weights))
    assert isinstance(found, Mask) and str(found) == "padding of attention_mask" and found.longest <= rows


def test_ends_of_slices_are_no_numbers_of_tokens(recwarn: pytest.WarningsRecorder) -> None:
    """2^63 - 1 and one more is none of int64."""
    text = (
        """begin = Constant<value_ints = [0]>() end = Constant<value_ints = [9223372036854775807]>()
        cut = Slice(attention_mask, begin, end, begin)
    """
        + KEPT.replace("Cast<to = 9>(attention_mask)", "Cast<to = 9>(cut)")
        + "seen = Identity(kept)\n"
        + ADDED
    )
    found = meaning(text)
    assert str(found) == "padding of attention_mask" and found.shown == "not 0" and not recwarn.list
