"""Memory that verification may take, and what a run of a model on a feed is going to take, from shapes alone."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import bodies
from onnxfix.nouns.types.type_strings import data_type

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed

GB = 1_000_000_000
# No more than this without being asked, and a third of what there is: other sessions, their weights and we live beside.
MOST = 2 * GB
SHARE = 3
# What an emulated half graph holds of a value besides its fp32 form: rounded, kept from being dropped, and wide again.
# Additive attention over 512 tokens took 1.5 times what its values in fp32 do, with all else; a search more.
EMULATED = 2.2
PLAIN = 1.3
# Bytes that a comparison takes an entry of an output: both in float64, their difference, and masks.
COMPARED = 48
# onnx's inference gets a copy of the weights; with more of them what the walk knows must do.
COPIED = 200_000_000
# They hand on a buffer or write into one that nobody reads any more.
_IN_PLACE = frozenset(
    "Reshape Squeeze Unsqueeze Flatten Identity Add Sub Mul Div Tanh Relu Sigmoid Exp Sqrt Neg Abs Erf Clip Softmax "
    "Dropout LeakyRelu Elu Gelu FastGelu Where Pow Log".split()
)

Shape = tuple[int, ...]


def default_bytes() -> int:
    """What verification may take on this machine unless told otherwise."""
    return min(MOST, available_bytes() // SHARE)


def available_bytes() -> int:
    """Memory that this process can still get: what the machine has, less where a container or a limit says so."""
    return max(min(_machine(), _container(), _limit()), 0)


def _machine() -> int:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    return 8 * GB  # another system, which does not say


def _container() -> int:
    room = 1 << 62
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            root = Path("/sys/fs/cgroup")
            room = min(room, int((root / most).read_text()) - int((root / used).read_text()))
    return room


def _limit() -> int:
    """What `ulimit -v` leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            return most - int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    return 1 << 62


def needed_bytes(model: Model, feed: Feed, half: bool) -> int:
    """About what a run on a feed holds at once beside the weights; what no shape is known of counts for nothing.

    `half`: the run is an emulation of half precision, beside which the same values stand in fp32.
    """
    from onnxfix.diagnose.placement.shapes.known_shapes import shapes_fed

    fed = {name: tuple(array.shape) for name, array in feed.arrays.items()}
    shapes = shapes_fed(model.ir, fed, complete=model.weights_bytes < COPIED)
    types = infer(model.ir)
    outputs = sum(math.prod(shapes.get(value, ())) for value in model.graph.outputs)
    return int(_peak(model.graph, shapes, types) * (EMULATED if half else PLAIN)) + COMPARED * outputs


def _peak(graph: ir.Graph, shapes: Mapping[ir.Value, Shape], types: ElementTypes) -> int:
    """Bytes of the values that live at once, at most, in the order of the nodes."""
    last: dict[ir.Value, ir.Node] = {}
    for node in graph:
        last.update((value, node) for value in node.inputs if value is not None)
    held = set(graph.outputs)
    live = most = 0
    for node in graph:
        read = max((_bytes(v, shapes, types) for v in node.inputs if v is not None), default=0)
        # of what is not known: as much as the largest of what it is made of
        made = sum(_bytes(value, shapes, types) if value in shapes else read for value in node.outputs)
        gone = {v for v in node.inputs if v is not None and last[v] is node and _is_made_in(graph, v) and v not in held}
        gone = {v for v in gone if all(user.graph is graph for user in v.consumers())}  # a body may read it later
        freed = sum(_bytes(value, shapes, types) for value in gone)
        inner = max((_peak(body, shapes, types) for body in bodies(node)), default=0)
        at_once = max(made, freed) if node.op_type in _IN_PLACE else made + freed
        most = max(most, live - freed + at_once + inner)
        live += made - freed
    return most


def _is_made_in(graph: ir.Graph, value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.graph is graph


def _bytes(value: ir.Value, shapes: Mapping[ir.Value, Shape], types: ElementTypes) -> int:
    shape, kind = shapes.get(value), types.get(value)
    if shape is None:
        return 0
    try:
        size = data_type(kind or "tensor(float)").itemsize
    except (ValueError, KeyError, TypeError):
        size = 4
    return math.prod(shape) * int(max(size, 1))
