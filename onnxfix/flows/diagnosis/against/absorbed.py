"""Activations that a quantizer took away, because the integers behind them cannot hold what a Relu or Clip removes.

ONNX Runtime's static quantizer gives the name of such a Relu to the layer in front of it, whose result is not clipped
yet: it is compared with the Relu's behind the clip (microsoft/onnxruntime#26143).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.layer_noise import NOTHING_DB, LayerNoise, NoiseCause
from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.linear import quantized_weights

CLIPS = frozenset({"Relu", "Clip"})

Ranges = dict[str, tuple[float, float]]
"""Value → the numbers that its readers' integers stand for: the least and the largest."""


def ranges(reference: Model, quantized: Model) -> Ranges:
    """Of each value that a Relu or Clip makes in the one model, and another operator in front of QuantizeLinear alone
    in the other."""
    made = {str(v.name): v for node in quantized.graph for v in node.outputs if v.name}
    found = {}
    for node in reference.graph:
        value = made.get(str(node.outputs[0].name)) if node.op_type in CLIPS else None
        if value is not None and (bounds := _bounds(value, node.op_type)) is not None:
            found[str(value.name)] = bounds
    return found


def cause(layer: LayerNoise, maker: str) -> NoiseCause | None:
    """What to say of a noisy value that an absorbed activation made in the float model. `maker`: the operator that
    makes it in the other."""
    if layer.site.op_type not in CLIPS or maker in ("", layer.site.op_type) or layer.snr <= NOTHING_DB:
        return None
    return NoiseCause("", f"{layer.site.op_type} is part of the {maker} in front of it")


def _bounds(value: ir.Value, op_type: str) -> tuple[float, float] | None:
    maker, readers = value.producer(), value.consumers()
    if maker is None or maker.op_type == op_type or value.is_graph_output() or not readers:
        return None
    if any(node.op_type != "QuantizeLinear" for node in readers):
        return None
    found = {quantized_weights.represented(node) for node in readers}
    return found.pop() if len(found) == 1 else None
