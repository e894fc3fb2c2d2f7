"""Numbers of packed tokens whose distances say who may see whom: near in the same row, and far in any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.editor import Writer
from onnxfix.surgery.sites.attention.masks.mask import Positions
from onnxfix.surgery.sites.tokens.packed.packing import Packing

# Within 32 bits, to which OpenVINO cuts int64 (2026.4): distances of up to 3,500 rows are told apart there.
ROW = 2**20  # between two rows: no row is as long
NOBODY = -(2**30)  # of keys in front of the first and behind the last


def write_numbers(write: Writer, packing: Packing, positions: Positions) -> ir.Value:
    """int64 [count]: row · 2²⁰ + position of each token, counted on the axis or among tokens that are not padding."""
    tokens = packing.tokens
    none = write("Mul", [tokens, write.integers("packing_constant", 0)], "no_tokens")
    every = write("Add", [none, write.integers("packing_constant", 1)], "every_token")
    counted = tokens if positions == "count" else every
    place = write("CumSum", [counted, write.integers("packing_constant", 1)], "places_in_rows")
    row = write("CumSum", [every, write.integers("packing_constant", 0)], "rows")
    numbers = write("Add", [write("Mul", [row, write.integers("packing_constant", ROW)], "rows_apart"), place], "grid")
    flat = write("Reshape", [numbers, write.integers("packing_constant", [-1])], "grid_in_a_row")
    return write("Gather", [flat, packing.taken], "numbers")


def lowest(dtype: str | None) -> np.ndarray[Any, Any] | None:
    """What is added to hide a score, in the type of scores: exp of it is 0 beside any other; None for other types."""
    import ml_dtypes

    numbers: dict[str, np.ndarray[Any, Any]] = {
        "tensor(float)": np.array(-1e30, np.float32),
        "tensor(float16)": np.array(-3e4, np.float16),
        "tensor(bfloat16)": np.array(-1e30, ml_dtypes.bfloat16),
    }
    return numbers.get(dtype or "")
