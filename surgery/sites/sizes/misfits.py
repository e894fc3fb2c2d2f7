"""Why a node cannot run on operands of these shapes: what ONNX Runtime refuses, told from shapes alone.

Silent wherever a shape is not known, and about operators that no function here is for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer
from onnxfix.surgery.sites.shapes.product_operations import MATRICES, Shape, turned

from .product_shapes import Numbers, wholes
from .shape_rules import BROADCAST

Shapes = Sequence[Shape | None]
Check = Callable[[ir.Node, Shapes, Sequence[Numbers | None]], str]


def misfit(node: ir.Node, shapes: Shapes, numbers: Sequence[Numbers | None]) -> str:
    """What does not fit, in words; empty where all fits, or is not known. `shapes` and `numbers` are of its inputs."""
    check = _CHECKS.get(node.op_type)
    return check(node, shapes, numbers) if check is not None and node.inputs else ""


def _broadcast(_: ir.Node, shapes: Shapes, __: Sequence[Numbers | None]) -> str:
    known = [s for s in shapes if s is not None]
    for sizes in itertools.zip_longest(*(reversed(s) for s in known), fillvalue=1):
        different = sorted(set(sizes) - {1})
        if len(different) > 1:
            return f"{different[0]} and {different[1]} do not go together"
    return ""


def _matmul(node: ir.Node, shapes: Shapes, _: Sequence[Numbers | None]) -> str:
    a, b = (shapes[i] for i in MATRICES[node.op_type])
    if a is None or b is None or min(len(a), len(b)) < 2:
        return ""
    a, b = turned(a, integer(node, "transA", 0)), turned(b, integer(node, "transB", 0))
    if a[-1] != b[-2]:
        return f"rows of {a[-1]} meet a weight of {b[-2]}"
    return _broadcast(node, (a[:-2], b[:-2]), ())


def _gemm(node: ir.Node, shapes: Shapes, _: Sequence[Numbers | None]) -> str:
    a, b = shapes[:2]
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return ""
    a, b = turned(a, integer(node, "transA", 0)), turned(b, integer(node, "transB", 0))
    if a[1] != b[0]:
        return f"rows of {a[1]} meet a weight of {b[0]}"
    c = shapes[2] if len(shapes) > 2 else None
    return _broadcast(node, ((a[0], b[1]), c), ()) if c is not None else ""


def _reshape(node: ir.Node, shapes: Shapes, numbers: Sequence[Numbers | None]) -> str:
    x, wanted = shapes[0], numbers[1] if len(numbers) > 1 else None
    if x is None or wanted is None:
        return ""
    keep = integer(node, "allowzero", 0)
    sizes = [int(d) for d in wanted.reshape(-1)]
    if any(d == 0 and not keep and i >= len(x) for i, d in enumerate(sizes)):
        return ""
    dims = [d if d or keep else x[i] for i, d in enumerate(sizes)]
    whole, rest = math.prod(x), math.prod(d for d in dims if d != -1)
    fits = rest and whole % rest == 0 if -1 in dims else whole == rest
    return "" if fits else f"{'×'.join(map(str, x))} numbers do not fill {'×'.join(map(str, dims))}"


def _concat(node: ir.Node, shapes: Shapes, _: Sequence[Numbers | None]) -> str:
    known = [s for s in shapes if s is not None]
    if len(known) < 2 or len({len(s) for s in known}) > 1:
        return ""
    axis = integer(node, "axis", 0) % len(known[0])
    for index, sizes in enumerate(zip(*known, strict=True)):
        if index != axis and len(set(sizes)) > 1:
            return f"sizes {min(sizes)} and {max(sizes)} on axis {index} do not go together"
    return ""


def _expand(node: ir.Node, shapes: Shapes, numbers: Sequence[Numbers | None]) -> str:
    wanted = numbers[1] if len(numbers) > 1 else None
    if shapes[0] is None or wanted is None:
        return ""
    return _broadcast(node, (shapes[0], tuple(int(d) for d in wanted.reshape(-1))), ())


def _split(node: ir.Node, shapes: Shapes, numbers: Sequence[Numbers | None]) -> str:
    given = numbers[1] if len(numbers) > 1 else None
    parts = wholes(node, "split") or (None if given is None else tuple(int(d) for d in given.reshape(-1)))
    if shapes[0] is None or parts is None:
        return ""
    size = shapes[0][integer(node, "axis", 0)]
    return "" if sum(parts) == size else f"parts of {sum(parts)} in all for an axis of {size}"


def _squeeze(node: ir.Node, shapes: Shapes, numbers: Sequence[Numbers | None]) -> str:
    given = numbers[1] if len(numbers) > 1 else None
    axes = wholes(node, "axes") or (None if given is None else tuple(int(d) for d in given.reshape(-1)))
    if shapes[0] is None or axes is None:
        return ""
    wide = [shapes[0][axis] for axis in axes if shapes[0][axis] != 1]
    return f"an axis of {wide[0]} cannot be squeezed" if wide else ""


def _conv(node: ir.Node, shapes: Shapes, _: Sequence[Numbers | None]) -> str:
    x, w = shapes[:2]
    if x is None or w is None or len(x) != len(w):
        return ""
    wanted = w[1] * integer(node, "group", 1)
    return "" if x[1] == wanted else f"{x[1]} channels meet filters of {wanted}"


def _gather(node: ir.Node, shapes: Shapes, numbers: Sequence[Numbers | None]) -> str:
    if shapes[0] is None or numbers[1] is None or not numbers[1].size:
        return ""
    size, last = shapes[0][integer(node, "axis", 0)], int(numbers[1].max())
    return "" if -size <= int(numbers[1].min()) and last < size else f"there is no entry {last} on an axis of {size}"


def _recurrent(node: ir.Node, shapes: Shapes, _: Sequence[Numbers | None]) -> str:
    """States at the start, one of each row: (directions, batch, hidden) beside (length, batch, width)."""
    x, batch_first = shapes[0], integer(node, "layout", 0)
    for state in shapes[5:7]:
        if x is None or state is None or len(x) != 3 or len(state) != 3:
            continue
        rows, found = (x[0], state[0]) if batch_first else (x[1], state[1])
        if rows != found:
            return f"states of {found} rows for {rows} rows"
    return ""


_CHECKS: dict[str, Check] = {
    **dict.fromkeys(BROADCAST, _broadcast),
    **dict.fromkeys(MATRICES, _matmul),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "Gemm": _gemm,
    "Reshape": _reshape,
    "Concat": _concat,
    "Expand": _expand,
    "Split": _split,
    "Squeeze": _squeeze,
    "Conv": _conv,
    "Gather": _gather,
}
