"""Which nodes half precision harms, each by itself: its inputs rounded and its result rounded, against its fp32 result.

One graph holds the fp32 model and, beside each node, a twin that reads the same inputs rounded to half; only numbers
leave it. A twin shows what a rounding costs there: the cosine of a rounded angle, the softmax of rounded scores, an
overflow, an epsilon that is gone. What adds up over many nodes is not seen here but by running the converted model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.progress import Advance
from onnxfix.nouns.site import label
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import data_type

from .spread_function import declare_spread, spread_node

FLOAT = "tensor(float)"
LARGEST_FP16 = 65504.0
# Nodes that hand values on, or make them without reading a float: rounding costs nothing there.
_PLAIN = frozenset(
    "Reshape Transpose Unsqueeze Squeeze Expand Slice Concat Split Gather GatherND Identity Flatten Cast Constant "
    "ConstantOfShape Range Tile Pad CastLike RandomNormalLike RandomUniformLike Bernoulli".split()
)
_CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})


@dataclass(frozen=True)
class Harm:
    """`loss`: relative L2 error of the node's result; `lost`: entries that become NaN or infinite; `largest`: the
    largest absolute entry of its fp32 result."""

    node: str
    loss: float
    lost: int
    largest: float

    def reason(self, budget: float) -> str:
        """Why the node should stay fp32, in words that like nodes share; empty when it need not."""
        if self.lost:
            return "overflows in half" if self.largest > LARGEST_FP16 else "its result is NaN or infinite in half"
        return f"loses more than {budget:g} of its result in half" if self.loss > budget else ""


def harms(
    model: Model,
    half: str,
    feeds: Sequence[Feed],
    progress: Advance = lambda step: None,
    limit_s: float = math.inf,
) -> list[Harm]:
    """The worst over all feeds for every node of the main graph that computes with floats. `half`: a type string.

    `model` computes in fp32. No further feed is begun after `limit_s` seconds. Raises what a runner raises.
    """
    probe, watched = _probe(model, half)
    if not watched:
        return []
    worst: dict[str, Harm] = {}
    begun = time.monotonic()
    with on_disk(probe) as path:
        runner = OrtRunner(path, level="none", custom_op_libraries=model.custom_op_libraries)
        for done, feed in enumerate(feeds):
            if done and time.monotonic() - begun > limit_s:
                break
            progress(f"find what half precision harms: feed {done + 1} of {len(feeds)}")
            found = runner.run(feed.arrays)
            for node, value in watched:
                squared, norm, lost, largest = found[f"{value.name}/figures"].tolist()
                harm = Harm(label(node), float(np.sqrt(squared / (norm or 1.0))), int(lost), largest)
                known = worst.get(harm.node)
                worst[harm.node] = harm if known is None else _worse(known, harm)
        runner.close()
    return list(worst.values())


def beyond(model: Model, found: Iterable[Harm], feeds: Iterable[Feed]) -> list[ir.Value]:
    """Values of the main graph with entries beyond 65,504 on these feeds: inputs, and results by their harms."""
    large = {harm.node for harm in found if harm.largest > LARGEST_FP16}
    values = [value for node in model.graph if label(node) in large for value in node.outputs[:1]]
    fed = {name for feed in feeds for name, array in feed.arrays.items() if _reaches(array) > LARGEST_FP16}
    return [*values, *(value for value in model.graph.inputs if value.name in fed)]


def _reaches(array: np.ndarray[Any, Any]) -> float:
    if array.dtype.kind != "f" or not array.size:
        return 0.0
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def _worse(a: Harm, b: Harm) -> Harm:
    return Harm(a.node, max(a.loss, b.loss), max(a.lost, b.lost), max(a.largest, b.largest))


def _probe(model: Model, half: str) -> tuple[Model, list[tuple[ir.Node, ir.Value]]]:
    """The graph of both, and the nodes that it measures, each with the output that stands for it."""
    probe = model.clone()
    types = infer(probe.ir)
    declare_spread(probe)
    twins = _Twins(probe, types, half)
    watched = [(node, value) for node in list(probe.graph) if (value := _watched(node, types)) is not None]
    probe.graph.outputs.clear()
    for node, value in watched:
        probe.graph.outputs.append(twins.add(node, value))
    return probe, watched


def _watched(node: ir.Node, types: ElementTypes) -> ir.Value | None:
    """The first float that a node makes, where it computes with floats; an LSTM's first output may be left out."""
    if node.op_type in _PLAIN or node.op_type in _CONTROL or not any(types.is_float32(v) for v in node.inputs):
        return None
    return next((v for v in node.outputs if v.name and types.is_float32(v)), None)


class _Twins:
    def __init__(self, probe: Model, types: ElementTypes, half: str) -> None:
        self.graph = probe.graph
        self.types = types
        self.dtype = data_type(half)
        self.rounded: dict[ir.Value, ir.Value] = {}

    def add(self, node: ir.Node, value: ir.Value) -> ir.Value:
        """A twin behind the node; the figures of one output."""
        inputs = [self._input(v, node) if self.types.is_float32(v) else v for v in node.inputs]
        twin = ir.Node(
            node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs),
            overload=node.overload, version=node.version, name=f"{value.name}/twin",
        )  # fmt: skip
        for original, copied in zip(node.outputs, twin.outputs, strict=True):
            copied.name = f"{original.name}/twin" if original.name else ""
        made = self._round(twin.outputs[node.outputs.index(value)], f"{value.name}/twin")
        figures = spread_node(value, made[-1].outputs[0])
        node.append([twin, *made, figures])
        return figures.outputs[0]

    def _input(self, value: ir.Value | None, reader: ir.Node) -> ir.Value | None:
        if value is None or (value.is_initializer() and not value.is_graph_input()):
            return value  # a weight's own rounding is what half precision is; it is not this node's harm
        if value not in self.rounded:
            made = self._round(value, str(value.name))
            producer = value.producer()
            if producer is not None and producer.graph is self.graph:
                producer.append(made)
            else:
                self.graph.insert_before(self.graph[0], made)
            self.rounded[value] = made[-1].outputs[0]
        return self.rounded[value]

    def _round(self, value: ir.Value, name: str) -> list[ir.Node]:
        """To half and back, with an Identity between, which keeps the runtime from dropping the casts."""
        narrow = ir.Node("", "Cast", [value], [ir.AttrInt64("to", self.dtype)], name=f"{name}/narrow")
        kept = ir.Node("", "Identity", [narrow.outputs[0]], name=f"{name}/kept")
        wide = ir.Node("", "Cast", [kept.outputs[0]], [ir.AttrInt64("to", ir.DataType.FLOAT)], name=f"{name}/wide")
        for node in (narrow, kept, wide):
            node.outputs[0].name = node.name
        return [narrow, kept, wide]


def names(found: Sequence[Harm], budget: float) -> dict[str, str]:
    """Label of a node → reason, of those that lose more than the budget or overflow."""
    return {harm.node: reason for harm in found if (reason := harm.reason(budget))}


def in_words(found: Sequence[Harm], budget: float) -> str:
    """The first node that overflows, or the one that loses most, with its number; empty when none is harmed."""
    over = next((harm for harm in found if harm.lost), None)
    if over is not None:
        return f"{over.node} is the first to overflow: its result reaches {over.largest:.3g}"
    worst = max(found, key=lambda harm: harm.loss, default=None)
    return f"{worst.node} loses most: {worst.loss:.1e} of its result" if worst and worst.loss > budget else ""
