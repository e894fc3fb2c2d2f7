"""The masks of a model: of each Softmax, or of one value that is added to scores or tells which are seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import is_standard
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.sites.constants import Array

from . import reading, score_path
from .alike import Alike
from .computed import cone, samples
from .computed.grid import BASE, Grid
from .computed.observing import PRECISIONS, Observer
from .computed.program import Program
from .computed.samples import Sample
from .dependence import Dependence
from .mask import Mask, Refusal, RefusedError

BFLOAT16 = "tensor(bfloat16)"


class SoftmaxMasks:
    """Of one model, which must not change meanwhile; masks that are computed alike are read once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._dependence = Dependence(model.graph)
        self._grid = Grid(model.graph)
        self._alike = Alike(self._grid)
        self._types = infer(model.ir)
        self._read: dict[object, Mask | Refusal] = {}
        self._of_softmax: dict[ir.Node, Mask | Refusal] = {}

    def all(self) -> Iterator[tuple[ir.Node, Mask | Refusal]]:
        """Every Softmax in the order of the nodes, those of bodies included."""
        for node in self._model.nodes():
            if node.op_type == "Softmax" and is_standard(node) and node.inputs[0] is not None:
                yield node, self.of_softmax(node)

    def of_softmax(self, softmax: ir.Node) -> Mask | Refusal:
        """All that is added to the scores that it reads, or chosen in their place, together."""
        if softmax not in self._of_softmax:
            self._of_softmax[softmax] = self._scores(softmax)
        return self._of_softmax[softmax]

    def _scores(self, softmax: ir.Node) -> Mask | Refusal:
        try:
            path = score_path.of(softmax, self._rank(softmax), self._model.opset, self._dependence)
            found = self._of(path.target, path.leaves, path.elementwise, False)
        except RefusedError as error:
            return error.refusal
        return replace(found, node=softmax) if isinstance(found, Refusal) else replace(found, scores=path.leaves)

    def of_value(self, value: ir.Value, hides: bool = False) -> Mask | Refusal:
        """A value that is added to scores, or one of bool that says which are seen (`hides`: which are not)."""
        if self._dependence.is_activation(value):
            return self._dependence.refusal(value)
        try:
            return self._of(value, (), True, hides)
        except RefusedError as error:
            return error.refusal

    def of_added(self, value: ir.Value) -> Mask | Refusal:
        """As of a value, a part of which may be scores itself, as those of relative positions are: they are `scores`
        of the mask, which says nothing of them."""
        if not self._dependence.is_activation(value):
            return self.of_value(value)
        try:
            path = score_path.back(value, self._dependence)
            found = self._of(path.target, path.leaves, path.elementwise, False)
        except RefusedError as error:
            return error.refusal
        return found if isinstance(found, Refusal) else replace(found, scores=path.leaves)

    def sources(self, value: ir.Value) -> frozenset[ir.Value]:
        """All inputs whose numbers a value is computed from."""
        return self._dependence.sources(value)

    def made_by(self, node: ir.Node, added: ir.Value | None = None) -> frozenset[ir.Node]:
        """The nodes that compute the mask of a Softmax, or one that attention in one operator adds, from inputs on, and
        those on its way into the scores; none where it cannot be read."""
        try:
            if added is None:
                path = score_path.of(node, self._rank(node), self._model.opset, self._dependence)
                target, leaves = path.target, path.leaves
            else:
                is_mixed = self._dependence.is_activation(added)
                target, leaves = added, score_path.back(added, self._dependence).leaves if is_mixed else ()
            return frozenset(cone.of(target, leaves, self._dependence).nodes)
        except RefusedError:
            return frozenset()

    def alone(self, value: ir.Value) -> Iterator[tuple[Sample, Array]]:
        """What is computed of padding and positions alone, as it is, for the first samples. Raises RefusedError."""
        if self._dependence.is_activation(value):
            raise RefusedError(value.producer(), "is computed of more")
        observer = self._observer(cone.of(value, (), self._dependence), True, False)
        for sample in samples.first(self._grid, True):
            yield sample, observer.alone(sample)

    def _rank(self, softmax: ir.Node) -> int | None:
        scores = softmax.inputs[0]
        shape = scores.shape if scores is not None else None
        if scores is None or shape is not None:
            return None if shape is None else len(shape)
        walked = self._grid.shape(scores, BASE[0])
        return None if walked is None else len(walked)

    def _of(self, target: ir.Value, leaves: Sequence[ir.Value], elementwise: bool, hides: bool) -> Mask | Refusal:
        part = cone.of(target, leaves, self._dependence)
        key = (self._alike.key(part), elementwise, hides)
        if key not in self._read:
            self._read[key] = self._computed(part, elementwise, hides)
        return self._read[key]

    def _computed(self, part: cone.Cone, elementwise: bool, hides: bool) -> Mask | Refusal:
        try:
            return reading.read(self._observer(part, elementwise, hides))
        except RefusedError as error:
            return error.refusal

    def _observer(self, part: cone.Cone, elementwise: bool, hides: bool) -> Observer:
        types = {value: self._type(value) for value in (*part.sources, *part.leaves)}
        made = {value for node in part.nodes for value in node.outputs}
        narrow = {value for value in made if self._types.get(value) == BFLOAT16}
        program = Program(self._model, part, types, narrow)
        precision = max((PRECISIONS.get(self._types.get(v) or "", 0.0) for v in made), default=0.0)
        return Observer(part, program, self._grid, types, elementwise, hides, False, precision)

    def _type(self, value: ir.Value) -> ir.DataType:
        if value.dtype is not None:
            return value.dtype
        known = self._types.get(value)
        if known is None or not known.startswith("tensor("):
            raise RefusedError(value.producer(), f"is made of {value.name}, whose type is not known")
        return ir.DataType(data_type(known))


def find(model: Model) -> Iterator[tuple[ir.Node, Mask | Refusal]]:
    """What the mask of every Softmax of a model means, or why that cannot be said."""
    yield from SoftmaxMasks(model).all()
