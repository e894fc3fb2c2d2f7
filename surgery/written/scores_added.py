"""What is added to attention's scores, written in one tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.editor import Writer
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore, sources
from onnxfix.surgery.sites.attention.written_out.score_terms import Term
from onnxfix.surgery.sites.constants import constant_tensor

# Nothing that is added to a score changes it, and exp of it is 0: as -inf, but for a row that holds nothing else, which
# is the mean of all values then and not NaN.
LOWEST = np.float32(-1e30)
UNSEEN = np.float32(-1e31)
"""For -inf in the place of a score, beside which the lowest finite number is seen."""


@dataclass(frozen=True)
class Made:
    """What several attentions share: masks by what is added, in each graph, the rows that see a key by the same, and
    results in the place of others."""

    biases: dict[tuple[ir.Graph | None, tuple[Term, ...]], ir.Value] = field(default_factory=dict)
    seeing: dict[tuple[ir.Graph | None, tuple[Term, ...]], ir.Value] = field(default_factory=dict)
    instead: dict[ir.Value, ir.Value] = field(default_factory=dict)


def bias_of(write: Writer, core: AttentionCore, made: Made, query: ir.Value, key: ir.Value) -> ir.Value:
    """All terms in one tensor, with a row for each query and a column for each key: kernels do not repeat those."""
    shared = write.like.graph, core.terms
    if shared not in made.biases:
        made.biases[shared] = sum_of_terms(write, core.terms, made)
    bias = made.biases[shared]
    if core.covered:
        return bias
    one = write.integers("one", [1])
    lengths = [_length(write, value, what) for value, what in ((query, "query"), (key, "key"))]
    shape = write("Concat", [one, one, *lengths], "scores_shape", attributes={"axis": 0})
    return write("Expand", [bias, shape], "bias")


def sum_of_terms(write: Writer, terms: tuple[Term, ...], made: Made, *, endless: bool = False) -> ir.Value:
    """In finite numbers, which are in the order of those that they stand for; `endless`: with -inf where it hides."""
    bias: ir.Value | None = None
    for term in terms:
        value = made.instead.get(term.value, term.value)
        if term.lead is not None:
            rest = write("Shape", [value], "inner", attributes={"start": -2})
            shape = write("Concat", [write.integers("lead", list(term.lead)), rest], "apart", attributes={"axis": 0})
            value = write("Reshape", [value, shape], "term")
        if term.keeps is not None:
            kept = bias if bias is not None else write.array("nothing", np.float32(0))
            number = LOWEST if np.isfinite(term.factor) else np.float32(-np.inf) if endless else UNSEEN
            chosen = [kept, write.array("lowest", number)]
            bias = write("Where", [value, *(chosen if term.keeps else chosen[::-1])], "masked")
            continue
        if term.factor != 1:
            value = write("Mul", [value, write.array("factor", np.float32(term.factor))], "scaled")
        value = value if endless else _floored(write, value, term is terms[-1])
        bias = value if bias is None else write("Add", [bias, value], "sum")
    assert bias is not None
    return bias


def _floored(write: Writer, value: ir.Value, last: bool) -> ir.Value:
    """An added mask in finite numbers; where it may hold more than one that hides, -inf stays below the others. What
    is computed of activations is scores of another kind, and is floored where nothing is put in its place after it."""
    made = value.producer()
    learned = constant_tensor(value) is None and not all(source.is_graph_input() for source in sources(value))
    if learned and not last:
        return value
    floored = write("Max", [value, write.array("lowest", LOWEST)], "mask")
    if learned or (made and made.op_type == "Where" and all(constant_tensor(v) is not None for v in made.inputs[1:])):
        return floored
    unseen = write("Equal", [value, write.array("hidden", np.float32(-np.inf))], "unseen")
    return write("Where", [unseen, write.array("never", UNSEEN), floored], "mask_of_all")


def _length(write: Writer, value: ir.Value, what: str) -> ir.Value:
    return write("Shape", [value], f"{what}_length", attributes={"start": 1, "end": 2})
