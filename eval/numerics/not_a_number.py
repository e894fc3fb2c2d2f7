"""Where a model makes NaN by itself: the first node whose result holds some that none of its inputs does."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.eval.inputs.feeds import Feed
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.inference import infer

# IsNaN takes doubles as well, but no other type in all operator sets.
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_COUNTS = "/not_a_number"


def first(model: Model, feed: Feed) -> Site | None:
    """The node of the main graph that makes the first NaN on a feed; None where none does.

    Raises what a runner raises.
    """
    probe = model.clone()
    types = infer(probe.ir)
    values = [v for node in probe.graph for v in node.outputs if v.name and types.get(v) in _FLOATS]
    probe.graph.outputs.clear()
    probe.graph.outputs.extend(_counted(value) for value in values)
    with on_disk(probe) as path:
        runner = OrtRunner(path, level="none", custom_op_libraries=model.custom_op_libraries)
        found = runner.run(feed.arrays)
        runner.close()
    bad = {value for value in values if found[f"{value.name}{_COUNTS}"] > 0}
    for value in values:
        node = value.producer()
        if value in bad and node is not None and not bad.intersection(v for v in node.inputs if v is not None):
            return Site.of_node(node)
    return None


def _counted(value: ir.Value) -> ir.Value:
    """The number of NaN in a value, a float32 scalar made right behind it."""
    producer = value.producer()
    assert producer is not None
    name = f"{value.name}{_COUNTS}"
    nan = ir.Node("", "IsNaN", [value], name=f"{name}/each")
    ones = ir.Node("", "Cast", nan.outputs, [ir.AttrInt64("to", ir.DataType.FLOAT)], name=f"{name}/ones")
    total = ir.Node("", "ReduceSum", ones.outputs, [ir.AttrInt64("keepdims", 0)], name=name)
    for node in (nan, ones, total):
        node.outputs[0].name = node.name
    producer.append([nan, ones, total])
    total.outputs[0].type, total.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
    return total.outputs[0]
