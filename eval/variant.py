"""Variant: one thing to bench, a torch module or an ONNX file, described so that another process can load it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxfix.errors import OnnxfixError
from onnxfix.model import Model

# Returns (module, input names, output names). Must be picklable: a module-level function or a functools.partial of one.
TorchFactory = Callable[[], tuple[Any, Sequence[str], Sequence[str]]]
Dtype = Literal["fp32", "bf16", "int8-wo", "int8-dyn"]
"""The two int8 ones are torchao's, of linear layers alone: weights only, and activations at run time as well."""
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
    custom_op_libraries: tuple[Path, ...] = ()

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

    def file_bytes(self) -> int | None:
        """Bytes on disk of an ONNX file with its external data, of the file alone when it cannot be parsed.

        None for torch, whose size is that of the loaded weights, and for a file that does not exist.
        """
        if not isinstance(self.source, Path):
            return None
        try:
            return Model.open(self.source).file_bytes
        except OnnxfixError:
            return self.source.stat().st_size if self.source.is_file() else None
