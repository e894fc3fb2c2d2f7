"""A loop over the rows of a batch: attention of the tokens of one row after the other, without any mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.sites.tokens.packed_attention import PackedAttention, Packing


@dataclass(frozen=True)
class Rows:
    """`ends`: [rows + 1], where each row begins in the stream and where the last one ends; `count`: rows."""

    ends: ir.Value
    count: ir.Value


@dataclass(frozen=True)
class Operator:
    """An operator over query, key and value, [1, tokens, heads * size] each."""

    op_type: str
    domain: str
    attributes: Mapping[str, Any]


def write_rows(write: Writer, packing: Packing) -> Rows:
    """Nodes that say which tokens of the stream are of which row."""
    axis, zero = write.integers("packing_constant", [1]), write.integers("packing_constant", [0])
    lengths = write("ReduceSum", [packing.tokens, axis], "lengths", attributes={"keepdims": 0})
    behind = write("CumSum", [lengths, write.integers("packing_constant", 0)], "ends_of_rows")
    ends = write("Concat", [zero, behind], "ends", attributes={"axis": 0})
    rows = write("Shape", [packing.mask], "rows_in_a_row", attributes={"start": 0, "end": 1})
    return Rows(ends, write("Squeeze", [rows], "rows"))


@dataclass
class Body:
    """Nodes of a loop's body."""

    editor: Editor
    name: str
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)

    def __call__(self, op_type: str, inputs: Sequence[ir.Value | None], what: str, **more: Any) -> ir.Value:
        attributes, domain = more.get("attributes", {}), more.get("domain", "")
        made = ir.Value(name=self.editor.unique(f"{self.name}_{what}"))
        node = ir.Node(
            domain, op_type, inputs, ir.convenience.convert_attributes(dict(attributes)), outputs=[made],
            name=self.editor.unique(f"{self.name}_{op_type}"),
        )  # fmt: skip
        self.nodes.append(node)
        return made

    def constant(self, numbers: Any) -> ir.Value:
        """An int64 initializer of the body: a loop's own, so that no outer name is read by mistake."""
        array = np.array(numbers, dtype=np.int64)
        tensor = ir.tensor(array)
        value = ir.Value(name=self.editor.unique(f"{self.name}_constant"), const_value=tensor)
        value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
        self.constants.append(value)
        return value

    def given(self, what: str, kind: ir.DataType, shape: Sequence[int]) -> ir.Value:
        """An input of the body."""
        name = self.editor.unique(f"{self.name}_{what}")
        return ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shape))


def write_loop(write: Writer, site: PackedAttention, rows: Rows, kind: str, attention: Operator) -> ir.Value:
    """[tokens, heads * size]: of `attention`, which reads query, key and value alone, a row of the batch at a time.

    A row without a token reads the one behind it, and gives nothing: kernels need one. The token at the end of the
    stream, which is none, keeps its query.
    """
    body = Body(write.editor, write.name)
    number = body.given("row", ir.DataType.INT64, [])
    going = body.given("going", ir.DataType.BOOL, [])
    sequence = ir.SequenceType(ir.TensorType(ir.DataType(data_type(kind))))
    before = ir.Value(name=write.editor.unique(f"{write.name}_before"), type=sequence)
    zero, one = body.constant([0]), body.constant([1])
    at = body("Unsqueeze", [number, zero], "at")
    start = body("Gather", [rows.ends, at], "start")
    end = body("Gather", [rows.ends, body("Add", [at, one], "next")], "end")
    least = body("Max", [end, body("Add", [start, one], "one_token")], "end_or_one")
    parts = [
        body("Unsqueeze", [body("Slice", [value, start, least, zero], f"{what}_of_row"), zero], what)
        for value, what in ((site.query, "query"), (site.key, "key"), (site.value, "value"))
    ]
    mixed = body(attention.op_type, parts, "attention", attributes=attention.attributes, domain=attention.domain)
    row = body("Squeeze", [mixed, zero], "row_made")
    kept = body("Slice", [row, zero, body("Sub", [end, start], "length"), zero], "tokens_of_row")
    after = body("SequenceInsert", [before, kept], "after")
    after.type = sequence
    still = body("Identity", [going], "still")
    still.type, still.shape = ir.TensorType(ir.DataType.BOOL), ir.Shape([])
    graph = ir.Graph(
        [number, going, before], [still, after], nodes=body.nodes, initializers=body.constants, name=f"{write.name}_row"
    )
    empty = write("SequenceEmpty", [], "no_rows", attributes={"dtype": ir.DataType(data_type(kind))})
    every = write("Loop", [rows.count, None, empty], "rows_made", attributes={"body": graph})
    ends = [write.integers("packing_constant", [number]) for number in (-1, 2**40, 0)]
    tail = write("Slice", [site.query, *ends], "token_behind")
    return write("ConcatFromSequence", [write("SequenceInsert", [every, tail], "all_rows")], "tokens",
                 attributes={"axis": 0})  # fmt: skip
