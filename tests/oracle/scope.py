"""A graph in the making: named values by what they hold, and nodes that only take what their schema permits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxfix.nouns.types import schemas

FLOATS = {
    "float": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "double": TensorProto.DOUBLE,
}
"""Kinds of float matrices, named as in type strings."""
IDS, SHAPE, SCALAR, MASK, SEQUENCE, OTHER = "ids", "shape", "scalar", "mask", "sequence", "other"
"""Further kinds: an int64 matrix, an int64 vector of two, an int64 scalar, a bool matrix, a sequence of float matrices,
and what no later node takes."""
MATRIX: tuple[int | None, ...] = (None, None)
DECLARED: dict[str, tuple[int, tuple[int | None, ...]]] = {
    **{kind: (elem, MATRIX) for kind, elem in FLOATS.items()},
    IDS: (TensorProto.INT64, MATRIX),
    MASK: (TensorProto.BOOL, MATRIX),
    SHAPE: (TensorProto.INT64, (2,)),
    SCALAR: (TensorProto.INT64, ()),
}

REFUSED = {
    "bfloat16": "Mean Less Greater LessOrEqual GreaterOrEqual Pad Reciprocal PRelu ReduceMax ReduceL2 ArgMax Tan Asin "
    "Ceil Floor Round Clip Log LogSoftmax Celu Hardmax Selu Elu ThresholdedRelu Shrink HardSigmoid Mish Softplus "
    "Softsign LeakyRelu Sin Cos TopK NonZero Where".split(),
    "double": "Mean Tan Asin Hardmax Celu NonZero Shrink Mish Sinh Cosh".split(),
}
"""Operators that a type has no kernel for anywhere: the runtime refuses such a graph as a whole. Taken 1 time in 20."""


class Scope:
    """One graph or body. A body sees the values of the graphs around it."""

    def __init__(self, rng: random.Random, opset: int, outer: Scope | None = None, prefix: str = "") -> None:
        self.rng = rng
        self.opset = opset
        self.outer = outer
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.computed: list[tuple[str, str]] = []
        self._kinds: dict[str, str] = {}
        self._values: dict[str, list[str]] = {}
        self._count = 0

    @property
    def depth(self) -> int:
        return 0 if self.outer is None else self.outer.depth + 1

    @property
    def root(self) -> Scope:
        return self if self.outer is None else self.outer.root

    def fresh(self, hint: str) -> str:
        self._count += 1
        return f"{self.prefix}{hint}{self._count}"

    def add(self, name: str, kind: str) -> str:
        self._kinds[name] = kind
        self._values.setdefault(kind, []).append(name)
        return name

    def kind_of(self, name: str) -> str:
        if name in self._kinds:
            return self._kinds[name]
        return self.outer.kind_of(name) if self.outer else ""

    def pick(self, kind: str) -> str | None:
        """A value of a kind, mostly a recent one, now and then one of a graph around this; None when there is none."""
        own = self._values.get(kind, [])
        if self.outer is not None and (not own or self.rng.random() < 0.4):
            found = self.outer.pick(kind)
            if found is not None:
                return found
        if not own:
            return None
        return self.rng.choice(own[-6:] if self.rng.random() < 0.6 else own)

    def float_kind(self) -> str | None:
        found = [kind for kind in FLOATS if self.pick(kind)]
        return self.rng.choice(found) if found else None

    def input(self, kind: str) -> str:
        name = self.add(self.fresh("x"), kind)
        self.inputs.append(declare(name, kind))
        return name

    def constant(self, value: Any, elem_type: int, kind: str = OTHER) -> str:
        array = np.asarray(value)
        name = self.add(self.fresh("c"), kind)
        self.initializers.append(helper.make_tensor(name, elem_type, array.shape, array.flatten().tolist()))
        return name

    def integer(self, value: Any) -> str:
        return self.constant(value, TensorProto.INT64)

    def node(self, op_type: str, inputs: Sequence[str], *kinds: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with an output a kind ("" omits one); the first output's name. A node whose schema does not take
        these types is not added, and the first input is returned in its place."""
        if not self._permitted(op_type, inputs, domain):
            return inputs[0]
        outputs = [self.fresh(op_type.lower() + "_") if kind else "" for kind in kinds]
        name = self.fresh("n")
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=name, domain=domain, **attributes))
        for output, kind in zip(outputs, kinds, strict=True):
            if output:
                self.add(output, kind)
                self.computed.append((output, kind))
        return outputs[0]

    def _permitted(self, op_type: str, inputs: Sequence[str], domain: str) -> bool:
        schema = schemas.find(op_type, domain, 1 if domain else self.opset)
        if schema is None:
            return False
        for index, name in enumerate(inputs):
            formal, kind = schema.input_formal(index), self.kind_of(name)
            if formal is None:
                return False
            allowed = schema.allowed.get(formal.type_str)
            if kind in FLOATS and allowed is not None and f"tensor({kind})" not in allowed:
                return False
            if not domain and op_type in REFUSED.get(kind, ()) and self.rng.random() < 0.95:
                return False
        return True


def declare(name: str, kind: str, shaped: bool = True) -> onnx.ValueInfoProto:
    elem_type, shape = DECLARED[kind]
    return helper.make_tensor_value_info(name, elem_type, shape if shaped else None)
