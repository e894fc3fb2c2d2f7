"""Where the tokens of a packed stream lie in their batch: the nodes that say it, written once for a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.tokens.padding import Padding

# Whose Equal and Greater ONNX Runtime has on a CPU, and TensorRT.
COMPARED = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.FLOAT)


class Places:
    """Where tokens lie: `taken`, the place of each real token in a batch that is one row; `back`, [batch, length], the
    place of each token in the row of real ones; `real`, where there is one."""

    def __init__(self, editor: Editor, hides: Padding, like: ir.Node) -> None:
        self.editor, self.like = editor, like
        self.mask = self.of_all_rows(hides)
        self.real = self._shown(hides)
        ones = self.node("Cast", [self.real], "tokens", attributes={"to": ir.DataType.INT64})
        flat = self.node("Reshape", [ones, self.integers([-1])], "tokens_in_a_row")
        shown = self.node("NonZero", [flat], "places_shown")
        # a row of no token is no row: where all is padding, the batch's first token stands in it
        found, one = self.node("Shape", [shown], "tokens_shown", attributes={"start": 1}), self.integers([1])
        lacking = self.node("Sub", [one, self.node("Min", [found, one], "any_token")], "lacking")
        first = self.node("Slice", [flat, self.integers([0]), lacking], "first_token")
        none = self.node("Mul", [first, self.integers([[0]])], "first_place")
        more = self.node("Concat", [shown, none], "places_or_one", attributes={"axis": 1})
        self.taken = self.node("Squeeze", [more, self.integers([0])], "places")
        count = self.node("Sub", [self.node("CumSum", [flat, self.integers(0)], "tokens_counted"), self.integers(1)],
                          "places_counted")  # fmt: skip
        within = self.node("Max", [count, self.integers(0)], "places_back_in_a_row")
        shape = self.node("Shape", [self.mask], "batch_and_length")
        # of a batch of 0 rows, or of no tokens, a size of 0 is what it says
        self.back = self.node("Reshape", [within, shape], "places_back", attributes={"allowzero": 1})
        self._ones = ones
        self._position: ir.Value | None = None
        self._numbered: ir.Value | None = None

    def of_all_rows(self, hides: Padding) -> ir.Value:
        """The mask with as many rows as tokens have, where nobody says that it has them."""
        if hides.rows is None:
            return hides.value
        sizes = [
            self.node("Shape", [value], what, attributes={"start": axis, "end": axis + 1})
            for axis, (value, what) in enumerate(((hides.rows, "rows"), (hides.value, "length")))
        ]
        whole = self.node("Concat", sizes, "rows_and_length", attributes={"axis": 0})
        return self.node("Expand", [hides.value, whole], "mask_of_all_rows")

    def _shown(self, hides: Padding) -> ir.Value:
        """Which tokens are real, as the masks of attention have it."""
        kind, mask = hides.value.dtype, self.mask
        if hides.shown == "not 0" or kind is None or kind == ir.DataType.BOOL:
            return self.node("Cast", [mask], "token_is_real", attributes={"to": ir.DataType.BOOL})
        if kind not in COMPARED:
            kind = ir.DataType.INT64 if kind.is_integer() else ir.DataType.FLOAT
            mask = self.node("Cast", [mask], "mask_in_numbers", attributes={"to": kind})
        operator, number = {"1": ("Equal", 1), "above 0": ("Greater", 0)}[hides.shown]
        limit = self.editor.add_initializer("shown", ir.tensor(np.array(number, dtype=kind.numpy())))
        return self.node(operator, [mask, limit], "token_is_real")

    def position(self) -> ir.Value:
        """[tokens]: the place of each real token in its row."""
        if self._position is None:
            one = self.integers(1)
            every = self.node("Add", [self.node("Mul", [self._ones, self.integers(0)], "no_tokens"), one], "ones")
            grid = self.node("Sub", [self.node("CumSum", [every, one], "ones_counted"), one], "positions")
            in_a_row = self.node("Reshape", [grid, self.integers([-1])], "positions_in_a_row")
            self._position = self.node("Gather", [in_a_row, self.taken], "positions_taken")
        return self._position

    def numbered(self) -> ir.Value:
        """[1, tokens]: 0, 1, 2 and so on."""
        if self._numbered is None:
            count = self.node("Squeeze", [self.node("Shape", [self.taken], "count"), self.integers([0])], "all_tokens")
            row = self.node("Range", [self.integers(0), count, self.integers(1)], "numbers_of_tokens")
            self._numbered = self.node("Unsqueeze", [row, self.integers([0])], "tokens_numbered")
        return self._numbered

    def node(self, op_type: str, inputs: Sequence[ir.Value | None], what: str, **more: Any) -> ir.Value:
        return self.editor.new_node(op_type, inputs, self.like, outputs=[what], **more).outputs[0]

    def integers(self, numbers: Any) -> ir.Value:
        array = np.array(numbers, dtype=np.int64)
        return self.editor.add_initializer("packing_constant", ir.tensor(array))


class Behind:
    """Nodes one behind the other, the first behind what makes a value, or in front of all where it is an input."""

    def __init__(self, editor: Editor, after: ir.Node | None, first: ir.Node, name: str) -> None:
        self.editor, self.after, self.first, self.name = editor, after, first, name

    def node(self, op_type: str, inputs: Sequence[ir.Value | None], what: str, **more: Any) -> ir.Value:
        like = self.after or self.first
        outputs = [f"{self.name}_{what}"]
        made = self.editor.new_node(op_type, inputs, like, outputs=outputs, after=self.after, **more)
        self.after = made if self.after is not None else None
        return made.outputs[0]
