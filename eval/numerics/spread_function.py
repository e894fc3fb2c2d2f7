"""How far two values in one graph are apart, as a function of that graph, of which only four numbers leave it."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model

DOMAIN = "onnxfix.eval"

# What a mask holds (finfo.min, in fp16 -16,384) means "never" to a softmax: beyond 16,000 all values are equal.
OF_HALF = 16000.0

# Entries that are NaN, infinite or beyond the limit need seven more passes with a mask in each, and most values have
# none: 70 values of a T5 on 1,500 tokens take 1.7 s plainly and 5.4 s with them. `bound` is at least the largest entry
# of both, and no number where one of either is none.
_SPREAD = """<opset_import: ["" : %(opset)d], domain: "onnxfix.eval">
Spread (reference, candidate) => (figures) {
    all = Constant <value = int64[1] {-1}> ()
    limit = Constant <value = float[1] {%(limit)r}> ()
    ours32 = Cast <to = 1> (reference)
    theirs32 = Cast <to = 1> (candidate)
    ours = Reshape (ours32, all)
    theirs = Reshape (theirs32, all)
    difference = Sub (theirs, ours)
    squares = ReduceSumSquare <keepdims = 1> (difference)
    apart = Sqrt (squares)
    magnitude = Abs (ours)
    reach = ReduceMax <keepdims = 1> (magnitude)
    bound = Add (reach, apart)
    is_plain = Less (bound, limit)
    figures = If (is_plain) <
        then_branch = plainly () => (float[4] plain_figures) {
            none = Constant <value = float[1] {0.0}> ()
            squares_of_ours = ReduceSumSquare <keepdims = 1> (ours)
            plain_figures = Concat <axis = 0> (squares, squares_of_ours, none, reach)
        },
        else_branch = within () => (float[4] figures_within) {
            zero = Constant <value = float {0.0}> ()
            %(high)s
            low = Neg (high)
            infinity = Constant <value = float {inf}> ()
            their_magnitude = Abs (theirs)
            finite = Less (magnitude, infinity)
            kept = Less (their_magnitude, infinity)
            both = And (finite, kept)
            lost = Xor (finite, both)
            lost_each = Cast <to = 1> (lost)
            ours_below = Min (ours, high)
            ours_within = Max (ours_below, low)
            theirs_below = Min (theirs, high)
            theirs_within = Max (theirs_below, low)
            difference_within = Sub (theirs_within, ours_within)
            %(error)s
            %(known)s
            %(size)s
            squared = ReduceSumSquare <keepdims = 1> (error)
            norm = ReduceSumSquare <keepdims = 1> (known)
            count = ReduceL1 <keepdims = 1> (lost_each)
            largest = ReduceMax <keepdims = 1> (size)
            figures_within = Concat <axis = 0> (squared, norm, count, largest)
        }>
}"""


_KEPT = {"error": ("both", "difference_within"), "known": ("finite", "ours_within"), "size": ("finite", "magnitude")}
"""Each of a condition and a value: the value where that holds, else 0."""
# Of the operators that the function is of, the last to come: Where; Min and Max broadcast since 8. Older graphs have
# Pow, by which anything to the power of 0 is 1, NaN and infinity, too.
WHERE_SINCE = 9


def _function(opset: int, limit: float) -> str:
    """Its text for a graph of an operator set."""
    # the runtime checks a function by its own operator set (Constants of integers came with 9), and its nodes, once
    # they are unfolded, by the graph's
    values = {"opset": max(opset, 13), "limit": limit}
    if opset >= WHERE_SINCE:
        kept = {name: f"{name} = Where ({condition}, {value}, zero)" for name, (condition, value) in _KEPT.items()}
        return _SPREAD % {"high": "high = Identity (limit)", **values, **kept}
    kept = {name: _kept_by_power(name, *of) for name, of in _KEPT.items()}
    return _SPREAD % {"high": "ones = Pow (ours, zero)\n            high = Mul (ones, limit)", **values, **kept}


def _kept_by_power(name: str, condition: str, value: str) -> str:
    return f"""{name}_held = Cast <to = 1> ({condition})
            {name}_gone = Not ({condition})
            {name}_ones = Cast <to = 1> ({name}_gone)
            {name}_or_one = Pow ({value}, {name}_held)
            {name} = Sub ({name}_or_one, {name}_ones)"""


def declare_spread(model: Model, limit: float = OF_HALF) -> None:
    """Give a model the function `Spread`: (reference, candidate) → float32[4].

    Sum of the squared error and of the reference's squares, both within the limit and over entries finite in both;
    entries NaN or infinite in the candidate only; the largest absolute finite entry of the reference.
    """
    import onnx

    function = ir.from_proto(onnx.parser.parse_function(_function(model.opset, limit)))
    model.ir.functions[function.identifier()] = function
    model.ir.opset_imports[DOMAIN] = 1


def spread_node(reference: ir.Value, candidate: ir.Value) -> ir.Node:
    """A node whose one output `NAME/figures` is Spread's vector of four floats."""
    node = ir.Node(DOMAIN, "Spread", [reference, candidate], name=f"{reference.name}/figures")
    figures = node.outputs[0]
    figures.name, figures.type, figures.shape = node.name, ir.TensorType(ir.DataType.FLOAT), ir.Shape([4])
    return node
