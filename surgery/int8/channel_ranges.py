"""What each channel of an activation reaches on real inputs: minimum, maximum and energy, by running the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.process import deadline
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.runtime.onnx_runtime import runtime
from onnxfix.nouns.weights.weight_data import Array

from .calibration import Inputs

# From here on the axes of a reduction are an input (ReduceSumSquare's too).
AXES_AS_INPUT = 18
FIGURES = ("low", "high", "square", "rows")


@dataclass(frozen=True)
class Channels:
    """`low`, `high`: smallest and largest number; `square`: mean square. Each an array [channels] of float64."""

    low: Array
    high: Array
    square: Array

    @property
    def reach(self) -> Array:
        """The largest absolute number of each channel."""
        found: Array = np.maximum(np.abs(self.low), np.abs(self.high))
        return found

    def scaled(self, by: Array) -> Channels:
        """Each channel times a positive number."""
        return Channels(self.low * by, self.high * by, self.square * by * by)


def channel_ranges(model: Model, widths: Mapping[str, int], inputs: Sequence[Inputs]) -> dict[str, Channels]:
    """Value name → its channels (the last axis) over all inputs. `widths`: how many channels each value has.

    One run an input, on the CPU without optimisation. Raises OnnxfixError when the model does not take the inputs.
    """
    onnxruntime = runtime()

    probe = model.clone()
    prefixes = _watch(probe, widths)
    with Scratch() as folder:
        # a model without a source, so that it may be saved anywhere
        path = Model(probe.ir, Path("probe.onnx"), model.external_files).write(folder / "probe.onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            for library in model.custom_op_libraries:
                options.register_custom_ops_library(str(library.resolve() if library.exists() else library))
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            how = onnxruntime.RunOptions()
            how.log_severity_level = 4
            with deadline.stopping("a run on inputs of the calibration", lambda: setattr(how, "terminate", True)):
                runs = [dict(zip(names, session.run(names, dict(each), how), strict=True)) for each in inputs]
        except OnnxfixError:
            raise
        except Exception as error:  # the runtime's own types, all direct subclasses of Exception
            raise OnnxfixError(f"calibration failed: {one_line(error)}", "give inputs that the model takes") from error
    return {name: _merged(prefix, runs) for name, prefix in prefixes.items()}


def _merged(prefix: str, runs: Sequence[Mapping[str, Array]]) -> Channels:
    low, high, square, rows = ([run[f"{prefix}/{what}"] for run in runs] for what in FIGURES)
    count = max(1, int(np.sum(rows)))
    total = np.sum([s.astype(np.float64) for s in square], axis=0) / count
    return Channels(np.min(low, axis=0).astype(np.float64), np.max(high, axis=0).astype(np.float64), total)


def _watch(probe: Model, widths: Mapping[str, int]) -> dict[str, str]:
    """Give the model nothing but figures of these values as outputs; value name → what their names begin with."""
    graph = probe.graph
    values = {v.name: v for v in (*graph.inputs, *(v for node in graph for v in node.outputs))}
    taken = [str(name) for node in probe.nodes() for name in (node.name, *(v.name for v in node.outputs))]
    taken += [str(name) for name in (*(v.name for v in graph.inputs), *graph.initializers)]
    free = "channels"
    while any(name.startswith(free) for name in taken):
        free += "_"
    graph.outputs.clear()
    prefixes = {name: f"{free}/{index}" for index, name in enumerate(widths)}
    for name, width in widths.items():
        made = _figures(values[name], prefixes[name], width, probe.opset)
        graph.extend(made)
        wanted = {f"{prefixes[name]}/{what}" for what in FIGURES}
        graph.outputs.extend(node.outputs[0] for node in made if node.outputs[0].name in wanted)
    return prefixes


def _figures(value: ir.Value, prefix: str, width: int, opset: int) -> list[ir.Node]:
    """Nodes that give PREFIX/low, /high, /square (the sum of squares), each [width], and /rows, one number."""
    made: list[ir.Node] = []

    def add(op_type: str, inputs: Sequence[ir.Value], output: str = "", **attributes: Any) -> ir.Value:
        name = f"{prefix}/{output or len(made)}"
        node = ir.node(op_type, inputs, attributes, name=name)
        node.outputs[0].name = name
        made.append(node)
        return node.outputs[0]

    flat = add("Reshape", [value, add("Constant", [], value_ints=[-1, width])])
    first = add("Constant", [], value_ints=[0])
    for op_type, output in (("ReduceMin", "low"), ("ReduceMax", "high"), ("ReduceSumSquare", "square")):
        if opset >= AXES_AS_INPUT:
            add(op_type, [flat, first], output, keepdims=0)
        else:
            add(op_type, [flat], output, axes=[0], keepdims=0)
    add("Gather", [add("Shape", [flat]), first], "rows")
    return made
