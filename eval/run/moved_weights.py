"""A model whose weights are moved by less than a rounding: a comparison cannot ask for less than its answers move by.

A backward stable computation gives the exact answer of a problem that is as near to the one asked as numbers are to
each other (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 1.5); so sums in another order may
differ by as much as such a problem's answer does.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import graphs

HALF_A_ROUNDING = 2.0**-24
"""Of a number in fp32, at most, relative to it."""


def with_moved_weights(model: Model, seed: int = 0) -> Model:
    """A copy whose fp32 weights of two dimensions and more are each moved by up to half a rounding, at random."""
    moved, rng = model.clone(), np.random.default_rng(seed)
    for graph in graphs(moved.graph):
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) < 2:
                continue
            array = tensor.numpy()
            steps = rng.uniform(-HALF_A_ROUNDING, HALF_A_ROUNDING, array.shape)
            value.const_value = ir.tensor((array * (1 + steps)).astype(np.float32), name=value.name)
    return moved
