"""Nodes that draw random numbers: on purpose, as speech and diffusion decoders do, or in training mode."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor

DRAWING = frozenset("RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial".split())


def drawing(model: Model) -> list[ir.Node]:
    """Nodes that draw by what they are, those of function bodies included."""
    return [node for node in _everywhere(model) if is_standard(node) and node.op_type in DRAWING]


def training(model: Model) -> list[ir.Node]:
    """Dropout that drops and BatchNormalization that learns, those of function bodies included."""
    return [node for node in _everywhere(model) if is_standard(node) and trains(node)]


def trains(node: ir.Node) -> bool:
    """Whether a Dropout or BatchNormalization behaves as in training."""
    if node.op_type == "BatchNormalization":
        return integer(node, "training_mode", 0) == 1
    if node.op_type != "Dropout" or len(node.inputs) < 3:
        return False
    ratio, mode = constant_tensor(node.inputs[1]), constant_tensor(node.inputs[2])
    drops = ratio is None or bool((ratio.numpy() > 0).all())
    return mode is not None and bool(mode.numpy().all()) and drops


def _everywhere(model: Model) -> Iterator[ir.Node]:
    yield from model.nodes()
    for function in model.ir.functions.values():
        yield from function.all_nodes()
