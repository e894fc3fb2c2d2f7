"""Variant: one thing to bench, a torch module or an ONNX file, described so that another process can load it."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxfix.eval.run.runners import Dtype
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model

# Returns (module, input names, output names). Must be picklable: a module-level function or a functools.partial of one.
TorchFactory = Callable[[], tuple[Any, Sequence[str], Sequence[str]]]
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Variant:
    """`source` is the ONNX file or the factory of the torch module; `dtype` is what torch or OpenVINO computes in.

    Kind `onnx` is a file in ONNX Runtime, `openvino` one in OpenVINO on the CPU, in fp32 or bf16.
    """

    name: str
    kind: Literal["torch", "onnx", "openvino"]
    source: Path | TorchFactory
    dtype: Dtype = "fp32"
    exporter: str = ""
    verified: str = ""
    """How the file was verified when it was made, as its provenance says."""
    note: str = ""
    made_by: str = ""
    """The command that made the file."""
    failure: str = ""
    """Why it could not even be made: a row all the same."""
    compiled: bool = False
    """Torch through `torch.compile`."""
    provider: Literal["", "tensorrt"] = ""
    """Another execution provider of ONNX Runtime than the bench's own."""
    custom_op_libraries: tuple[Path, ...] = ()
    stamp: str = ""
    """Of what a factory reads: changes when the checkpoint does."""

    @property
    def is_fp32_torch(self) -> bool:
        return self.kind == "torch" and self.dtype == "fp32"

    @property
    def is_bf16_torch(self) -> bool:
        return self.kind == "torch" and self.dtype == "bf16"

    @property
    def runtime(self) -> tuple[str, ...]:
        """Modules that every variant of its kind needs, so that importing them counts as no variant's own cost."""
        if self.kind == "torch":
            return ("torch", "transformers", *(("torchao.quantization",) if self.dtype.startswith("int8") else ()))
        return ("openvino",) if self.kind == "openvino" else ("onnxruntime",)

    def fingerprint(self) -> str:
        """Changes when what is measured does: another file or factory, or another way to run it."""
        how = f"{self.kind} {self.dtype} {self.compiled} {self.provider} {self.failure} {self.stamp}"
        if isinstance(self.source, Path):
            status = self.source.stat() if self.source.is_file() else None
            what = f"{self.source} {status.st_size} {status.st_mtime_ns}" if status else str(self.source)
        else:
            try:
                what = hashlib.sha256(pickle.dumps(self.source)).hexdigest()
            except (pickle.PicklingError, AttributeError, TypeError):  # fails as a row of its own
                what = self.name
        return f"{how} {what}"

    def file_outputs(self) -> list[str]:
        """Output names of an ONNX file; none for torch and for a file that cannot be read."""
        if not isinstance(self.source, Path) or self.failure:
            return []
        try:
            return [str(value.name) for value in Model.open(self.source).graph.outputs]
        except OnnxfixError:
            return []

    def file_bytes(self) -> int | None:
        """Bytes on disk of an ONNX file with its external data, of the file alone when it cannot be parsed.

        None for torch, whose size is that of the loaded weights, and for a file that does not exist.
        """
        if not isinstance(self.source, Path) or self.failure:
            return None
        try:
            return Model.open(self.source).file_bytes
        except OnnxfixError:
            return self.source.stat().st_size if self.source.is_file() else None


def stamp(folder: Path | None) -> str:
    """Changes when a file of a checkpoint does: by names, sizes and times, without reading gigabytes."""
    if folder is None or not folder.is_dir():
        return ""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]
