"""Outliers of activations → weights, so that 256 levels are enough for the other channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.types.operators import integer
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8 import tied_tables
from onnxfix.surgery.int8.calibration import Inputs
from onnxfix.surgery.int8.channel_ranges import channel_ranges
from onnxfix.surgery.int8.outliers import Migration, best_migration
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import channel_sources
from onnxfix.surgery.sites.linear.channel_sources import Route, Source

# A bit of the activation. Less does not show, and is not worth a Mul: channels made equal all reach as far as the
# calibration saw, so that ranges fixed then cut more off later (the bundled model in static int8: 1.4e-2 of error, and
# 1.8e-2 with everything migrated that gains 1 dB).
WORTH_IT_DB = 6.0


@dataclass(frozen=True)
class MigrateOutliers:
    """Divide channels of activations that reach far, and multiply the weights that read them, before int8.

    One scale stands for a whole activation: a channel 64 times as large as the others leaves them 2 bits of 8. The
    division goes where the channel gets its size: into the scale and bias of a norm, the columns of the linear in
    front, through gates, splits and ReLU; elsewhere into a Mul. Factors are powers of two, so that
    the float32 model answers with the same bits; which, is decided by the noise that int8 would add (SmoothQuant, Xiao
    et al. 2022, with the amount found for each layer).
    """

    name: ClassVar[str] = "migrate-outliers"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    inputs: tuple[Inputs, ...] = field(default=(), repr=False, compare=False)
    symmetric: bool = False
    """Whether activations will be int8 around zero."""
    at_run_time: bool = False
    """Whether ranges are taken from each batch as it comes (dynamic int8), so that every gain counts."""
    selection: Selection = ALL

    def apply(self, editor: Editor) -> None:
        groups = self._groups(editor)
        if not groups or not self.inputs:
            return
        widths = {str(value.name): len(weights(readers)) for value, readers in groups.items()}
        found = channel_ranges(editor.model, widths, self.inputs)
        for value, readers in groups.items():
            migration = best_migration(found[str(value.name)], weights(readers), self.symmetric)
            route = channel_sources.find(value, widths[str(value.name)], readers)
            least = 0.0 if self.at_run_time and route is not None else WORTH_IT_DB
            if migration is None or migration.gain < least:
                continue
            _divide(editor, value, readers, route, migration)
            for node in readers:
                _scale(editor, Source(node, 1, _channel_axis(node), 0), migration.factors)
            editor.notes.append(_in_words(readers[0], migration))

    def _groups(self, editor: Editor) -> dict[ir.Value, list[ir.Node]]:
        """Each activation of the main graph, with the linears that read it and whose weights nobody else reads, an
        embedding's lookup of the same table included."""
        groups: dict[ir.Value, list[ir.Node]] = {}
        found = self.selection.in_float32(editor.model)
        tied = {one.weight for one in tied_tables.find(editor, found)}
        for linear in found:
            value, node = linear.node.inputs[0], linear.node
            if linear.weight.source.name in tied:
                continue
            if value is None or constant_tensor(value) is not None:  # learned queries: nothing to measure
                continue
            if node.graph is editor.model.graph and _is_plain(node, linear.weight.source):
                groups.setdefault(value, []).append(node)
        return {
            value: nodes
            for value, nodes in groups.items()
            if all(set(n.inputs[1].consumers()) <= set(nodes) for n in nodes if n.inputs[1] is not None)
        }


def weights(readers: Sequence[ir.Node]) -> Array:
    """The weights of linears side by side: [channels, all columns]."""
    found = []
    for node in readers:
        tensor = constant_tensor(node.inputs[1])
        assert tensor is not None
        found.append(weight_data.array(tensor) if _channel_axis(node) == 0 else weight_data.array(tensor).T)
    return np.concatenate(found, axis=1)


def _is_plain(node: ir.Node, weight: ir.Value) -> bool:
    tensor = constant_tensor(weight)
    turned = integer(node, "transA", 0) == 1
    return (
        node.inputs[1] is weight and weight.is_initializer() and not turned and len(tensor.shape if tensor else ()) == 2
    )


def _channel_axis(node: ir.Node) -> int:
    return integer(node, "transB", 0)


def _divide(
    editor: Editor, value: ir.Value, readers: Sequence[ir.Node], route: Route | None, migration: Migration
) -> None:
    divisors = (1 / migration.factors).astype(np.float32)
    if route is not None:
        for source in route.sources:
            _scale(editor, source, divisors)
        for changed in route.values:  # what is no longer the same activation shall not be taken for it
            editor.rename(changed, f"{changed.name}_migrated")
        return
    vector = editor.add_initializer(f"{value.name}_divisors", ir.Tensor(divisors))
    made = editor.new_node("Mul", [value, vector], readers[0], outputs=[f"{value.name}_migrated"])
    made.outputs[0].type, made.outputs[0].shape = value.type, value.shape
    for node in readers:
        editor.replace_input(node, 0, made.outputs[0])


def _scale(editor: Editor, source: Source, by: Array) -> None:
    """Multiply a stretch of a constant that only this node shall see changed."""
    old = source.node.inputs[source.index]
    tensor = constant_tensor(old)
    assert old is not None and tensor is not None
    array = weight_data.array(tensor).copy()
    view = np.moveaxis(array, source.axis, -1)
    view[..., source.start : source.start + len(by)] *= by.astype(array.dtype)
    if old.is_initializer() and len(old.uses()) == 1 and not old.is_graph_output():
        editor.replace_tensor(old, ir.Tensor(array, name=old.name), "outliers migrated")
        return
    editor.replace_input(source.node, source.index, editor.add_initializer(f"{old.name}_migrated", ir.Tensor(array)))
    editor.remove_dead(old.producer())


def _in_words(node: ir.Node, migration: Migration) -> str:
    most = migration.moved[:4]
    named = ", ".join(f"{k} (÷{migration.factors[k]:g})" for k in most)
    value = node.inputs[0]
    assert value is not None
    where = f"{node.name}'s input" if node.name else value.name
    return f"outliers of {where} migrated: channels {named}; {migration.gain:.1f} dB less noise predicted"
