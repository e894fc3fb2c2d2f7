"""Weights beside a model file: whether they are all there, inside its folder, and where a link leads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.types.operators import graphs


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


class SharedTensor(ir.ExternalTensor):
    """A weight in a data file that several threads may read: onnx-ir maps the file at the first look, without a lock,
    and asserts that nobody else did so meanwhile."""

    _lock = threading.RLock()

    def _check_path_containment(self) -> None:
        """`check` has refused what leads out of the folder. A second hard link is what backups and caches make, and
        ONNX Runtime loads such files; onnx-ir does not."""

    def numpy(self) -> np.ndarray[Any, Any]:
        with self._lock:
            return super().numpy()

    def tobytes(self) -> bytes:
        with self._lock:
            return super().tobytes()

    def __array__(self, dtype: Any = None) -> np.ndarray[Any, Any]:
        with self._lock:
            return super().__array__(dtype)


def share(model: ir.Model) -> None:
    """Let threads read the weights of a model, and read them where a link leads: onnx-ir refuses to leave a folder that
    download caches link out of."""
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        for graph in graphs(root):
            for value in graph.initializers.values():
                if isinstance(value.const_value, ir.ExternalTensor):
                    value.const_value = _shared(value.const_value)
            for node in graph:
                for name, given in list(node.attributes.items()):
                    if given.type == ir.AttributeType.TENSOR and isinstance(given.value, ir.ExternalTensor):
                        node.attributes[name] = ir.AttrTensor(name, _shared(given.value))


def _shared(tensor: ir.ExternalTensor) -> SharedTensor:
    folder, location = Path(tensor.base_dir), Path(tensor.location)
    real = (folder / location).resolve()
    if not real.is_relative_to(folder.resolve()):
        folder, location = real.parent, Path(real.name)
    shape = ir.Shape(list(tensor.shape.numpy()))
    return SharedTensor(
        location, tensor.offset, tensor.length, tensor.dtype, shape=shape, name=tensor.name or "",
        doc_string=tensor.doc_string, metadata_props=dict(tensor.metadata_props), base_dir=folder,
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
