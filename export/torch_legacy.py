"""The TorchScript based exporter (`torch.onnx.export(dynamo=False)`): traces one example, so verification matters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.export.models.torch_model import TorchModel, named_tensors
from onnxfix.nouns.errors import arg

from .quiet import quiet
from .spec import ExportFailure
from .torch_dynamo import root_cause

if TYPE_CHECKING:
    import torch

NAME = "legacy"
NEWEST_OPSET = 20  # torch.onnx.utils refuses more (torch 2.13)
SUM = " + "
"""Between the names of dimensions that an axis is as long as together, in alphabetical order."""


def export_legacy(model: TorchModel, path: Path, opset: int) -> tuple[str, list[str]]:
    """Write `path`; torch puts weights above 2 GB beside it, one file each. Returns the exporter's name and notes.

    Raises ExportFailure with the root cause on one line.
    """
    import torch

    if opset > NEWEST_OPSET:
        raise ExportFailure(f"the legacy exporter knows no opset {opset}", f"use {arg('opset', NEWEST_OPSET)} or lower")
    try:
        with quiet(), torch.no_grad():
            torch.onnx.export(
                model.flat(),
                tuple(model.example.values()),
                path,
                input_names=model.input_names,
                output_names=model.output_names,
                dynamic_axes={**_named_axes(model), **_output_axes(model)},
                opset_version=opset,
                dynamo=False,
            )
    except Exception as error:
        raise ExportFailure(
            f"the legacy exporter failed: {root_cause(error)}", f"try {arg('exporter', 'dynamo')}"
        ) from error
    return NAME, []


def _named_axes(model: TorchModel) -> dict[str, dict[int, str]]:
    return {name: dict(axes) for name, axes in model.dynamic.items() if axes}


def _output_axes(model: TorchModel) -> dict[str, dict[int, str]]:
    """Names for output axes that follow an input axis: those whose size changes when that axis grows.

    An axis that grows with several, as a cache does, is called their sum.
    Without names the tracer calls them after the node (`Gemmlogits_dim_0`). Each dimension is grown by one in turn,
    by repeating its last entry, and the module run on it; a module that refuses leaves its outputs unnamed.
    """
    import torch

    def shapes(example: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
        with torch.inference_mode():
            outputs = named_tensors(model.module(**example), model.output_names)
        return {name: tuple(outputs[name].shape) for name in model.output_names}

    names = {part for axes in model.dynamic.values() for dimension in axes.values() for part in _parts(dimension)}
    found: dict[str, dict[int, list[str]]] = {name: {} for name in model.output_names}
    try:
        before = shapes(model.example)
        for dimension in sorted(names):
            after = shapes({name: _grown(tensor, model, name, dimension) for name, tensor in model.example.items()})
            for output, shape in before.items():
                grown = after[output]
                for axis in range(len(shape)) if len(grown) == len(shape) else ():
                    if grown[axis] == shape[axis] + 1:
                        found[output].setdefault(axis, []).append(dimension)
    except (RuntimeError, ValueError, IndexError, KeyError):
        return {}
    return {output: {i: SUM.join(names) for i, names in axes.items()} for output, axes in found.items() if axes}


def _parts(dimension: str) -> list[str]:
    return dimension.split(SUM)


def _grown(tensor: torch.Tensor, model: TorchModel, name: str, dimension: str) -> torch.Tensor:
    import torch

    for axis, axis_name in model.dynamic.get(name, {}).items():
        if dimension in _parts(axis_name):
            tensor = torch.cat([tensor, tensor.narrow(axis, tensor.shape[axis] - 1, 1)], axis)
    return tensor
