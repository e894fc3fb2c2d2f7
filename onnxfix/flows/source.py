"""What a caller gives as a model: a file by its name, or one in memory, laid on disk while a job works on it."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from onnxfix.nouns.errors import OnnxfixError, arg, one_line
from onnxfix.nouns.process.scratch import Scratch

if TYPE_CHECKING:
    import onnx
    import onnx_ir

    ModelLike: TypeAlias = str | Path | onnx.ModelProto | onnx_ir.Model

LARGEST_BYTES = 1 << 31
"""protobuf's own limit."""
_FILE = "give the path of the file instead"
NAME = "model.onnx"
"""What a model without a file is called in reports."""
IN_MEMORY = "the model in memory"


@dataclass(frozen=True)
class Source:
    """`path` holds the model; `given` is what the caller has in memory, None for a file."""

    path: Path
    given: Any = None

    @property
    def shown(self) -> Path:
        """The path that reports name: a temporary folder's is nobody's business."""
        return self.path if self.given is None else Path(NAME)

    @property
    def bytes(self) -> int:
        """Of the file and those beside it that are called like it, 0 for one that is not there."""
        files = self.path.parent.glob(f"{glob.escape(self.path.name)}*") if self.path.name else ()
        return sum(file.stat().st_size for file in files if file.is_file())

    def alike(self, file: Path) -> Any:
        """A file's model with all its weights in memory, of the type that the caller gave."""
        import onnx
        import onnx_ir

        try:
            proto = onnx.load(file)
        except Exception as error:  # protobuf's own
            raise OnnxfixError(
                f"the result is too large for memory: {error}", f"name a file with {arg('output')}"
            ) from error
        return proto if isinstance(self.given, onnx.ModelProto) else onnx_ir.from_proto(proto)


@contextlib.contextmanager
def on_disk(model: ModelLike) -> Iterator[Source]:
    """A file of the model; one in memory gets a temporary one. Raises OnnxfixError for anything that is no model."""
    if isinstance(model, str | Path):
        yield Source(Path(model))
        return
    with Scratch() as folder:
        path = folder / NAME
        _write(model, path)
        try:
            yield Source(path, model)
        except OnnxfixError as error:
            said = (error.message.marked, error.next_step.marked)
            if any(str(path) in text for text in said):
                raise OnnxfixError(*(text.replace(str(path), IN_MEMORY) for text in said)) from error
            raise


def _write(model: Any, path: Path) -> None:
    import onnx
    import onnx_ir

    from onnxfix.nouns.model import Model, tensors

    if isinstance(model, onnx.ModelProto) and model.ByteSize() < LARGEST_BYTES:
        if any(tensor.external_data for tensor in model.graph.initializer):
            raise OnnxfixError("weights of the model lie in files", f"{_FILE}, or load it with its external data")
        path.write_bytes(model.SerializeToString())
        return
    if isinstance(model, onnx.ModelProto):
        model = onnx_ir.from_proto(model)
    if not isinstance(model, onnx_ir.Model):
        raise OnnxfixError(
            f"{type(model).__name__} is no model", "give the path of a file, an onnx.ModelProto or an onnx_ir.Model"
        )
    for tensor in tensors(model):
        if isinstance(tensor, onnx_ir.ExternalTensor) and not Path(tensor.path).is_file():
            raise OnnxfixError(
                f"the weights of {tensor.name} lie in {tensor.location}, which the model in memory cannot find",
                f"{_FILE}, or load it with its external data",
            )
    try:
        Model(model.clone(), path.with_name("given.onnx")).write(path)
    except RuntimeError as error:  # onnx-ir's, around whatever it met
        raise OnnxfixError(f"the model in memory is not a valid one: {one_line(error)}", _FILE) from error
