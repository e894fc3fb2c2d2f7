"""Weights beside a model file: whether they are all there, inside its folder, and where a link leads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir

from .errors import OnnxfixError


def check(tensors: Iterable[ir.TensorProtocol], source: Path) -> frozenset[Path]:
    """The data files of a model file. Raises OnnxfixError for one that is missing, outside, or too short."""
    sizes: dict[Path, int] = {}
    for tensor in tensors:
        if isinstance(tensor, ir.ExternalTensor):
            _check_tensor(tensor, source, sizes)
    return frozenset(sizes)


def _check_tensor(tensor: ir.ExternalTensor, source: Path, sizes: dict[Path, int]) -> None:
    """`sizes`: of the data files seen so far, in bytes."""
    location = os.fspath(tensor.location)
    folder = source.parent
    data = folder / location
    if data not in sizes:
        sizes[data] = _size(data, tensor, source)
    needed = tensor.nbytes
    if needed < 0 or (tensor.length is not None and tensor.length != needed):
        raise OnnxfixError(
            f"{source}: weight '{tensor.name}' of shape {list(tensor.shape.numpy())} needs {needed:,} bytes, "
            f"its entry says {tensor.length or 0:,}",
            "export it again",
        )
    end = (tensor.offset or 0) + needed
    if end > sizes[data]:
        raise OnnxfixError(
            f"{source}: {location} holds {sizes[data]:,} bytes but weight '{tensor.name}' ends at {end:,}",
            "the data file is truncated or of another model: copy it again",
        )


def follow_links(model: ir.Model) -> None:
    """Read weights where a link leads: onnx-ir refuses to leave a folder that download caches link out of."""
    for graph in [model.graph, *(g for g in model.graph.subgraphs() if g is not model.graph)]:
        for value in graph.initializers.values():
            tensor = value.const_value
            if not isinstance(tensor, ir.ExternalTensor):
                continue
            real = (Path(tensor.base_dir) / tensor.location).resolve()
            if real.parent == Path(tensor.base_dir).resolve() or real.is_relative_to(Path(tensor.base_dir).resolve()):
                continue
            shape = ir.Shape(list(tensor.shape.numpy()))
            value.const_value = ir.ExternalTensor(
                real.name, tensor.offset, tensor.length, tensor.dtype, shape=shape, name=tensor.name or "",
                base_dir=real.parent,
            )  # fmt: skip


def _size(data: Path, tensor: ir.ExternalTensor, source: Path) -> int:
    location, folder = os.fspath(tensor.location), source.parent
    if Path(location).is_absolute() or not _within(data, source):
        raise OnnxfixError(
            f"{source}: weight '{tensor.name}' points outside the model's folder ({location})",
            "re-export with its data file beside it",
        )
    if not data.is_file():
        raise OnnxfixError(f"{source}: external data file {location} is missing", f"put it into {folder.resolve()}")
    return data.stat().st_size


def _within(data: Path, source: Path) -> bool:
    """Lexically inside the folder, and through links only to that folder or to where the model file itself links.

    Download caches hold `model.onnx` and its data as links into one folder of blobs; a link anywhere else is refused.
    """
    folder = os.path.abspath(source.parent)  # noqa: PTH100  lexical on purpose: resolve() would follow links
    if not os.path.abspath(data).startswith(folder.rstrip(os.sep) + os.sep):  # noqa: PTH100
        return False
    allowed = {source.parent.resolve(), source.resolve().parent}
    return any(data.resolve().is_relative_to(root) for root in allowed)
