"""cos and sin of the zoo's rotary models: as torch computes them in fp32, and as a graph does at many positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.sites.attention import rotary
from zoo.architectures import Architecture

Array = np.ndarray[Any, Any]


def torch_tables(architecture: Architecture, length: int) -> list[Array]:
    """What every `Tensor.cos` and `Tensor.sin` gives in one pass over `length` tokens, fp32, repeats left out."""
    module = architecture.module()
    mask = torch.ones(1, length, dtype=torch.int64)
    with torch.inference_mode(), _recorded() as found:
        module(torch.randint(3, 120, (1, length)), mask)
    kept: list[Array] = []
    for array in found:
        if not any(a.shape == array.shape and np.array_equal(a, array) for a in kept):
            kept.append(array)
    return kept


@contextmanager
def _recorded() -> Iterator[list[Array]]:
    real = {"cos": torch.Tensor.cos, "sin": torch.Tensor.sin}
    found: list[Array] = []

    def recording(name: str) -> Any:
        def method(self: torch.Tensor) -> torch.Tensor:
            made = real[name](self)
            found.append(made.float().numpy().copy())
            return made

        return method

    for name in real:
        setattr(torch.Tensor, name, recording(name))
    try:
        yield found
    finally:
        for name, method in real.items():
            setattr(torch.Tensor, name, method)


def graph_tables(model: Model) -> Model:
    """Only what computes cos and sin: its outputs are those of the trig nodes, named `trig/N`, and where a Cast reads
    one, that Cast's, named `edge/N`. Inputs stay."""
    part = model.clone()
    sites = rotary.find(part, infer(part.ir))
    part.graph.outputs.clear()
    for index, value in enumerate(v for site in sites for v in site.outputs):
        casts = [n.outputs[0] for n in value.consumers() if n.op_type == "Cast"]
        _output(part, value, f"trig/{index}")
        for cast in casts[:1]:
            _output(part, cast, f"edge/{index}")
    _keep_ancestors(part.graph)
    return part


def _output(model: Model, value: ir.Value, name: str) -> None:
    """Behind an Identity, so that a value can be an output of its own besides."""
    node = ir.Node("", "Identity", [value], name=name)
    node.outputs[0].name = name
    node.outputs[0].type = value.type
    model.graph.append(node)
    model.graph.outputs.append(node.outputs[0])


def _keep_ancestors(graph: ir.Graph) -> None:
    needed: set[ir.Node] = set()
    pending = [v.producer() for v in graph.outputs]
    while pending:
        node = pending.pop()
        if node is None or node in needed:
            continue
        needed.add(node)
        pending.extend(v.producer() for v in node.inputs if v is not None)
    for node in reversed(list(graph)):
        if node not in needed:
            graph.remove(node)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
