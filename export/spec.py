"""What to export and how (ExportSpec), and what came of it (ExportResult)."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.export.layouts.laid import Laid

Exporter = Literal["auto", "dynamo", "legacy"]
Attention = Literal["", "eager", "sdpa"]
Task = Literal["", "text-generation-with-past"]
# The operator set the dynamo exporter's own library is written in: anything else goes through a version converter.
DEFAULT_OPSET = 18
# Below 17 there is no LayerNormalization; the legacy exporter knows none above 20 (torch.onnx, torch 2.13).
OPSETS = range(14, 26)


@dataclass(frozen=True)
class ExportSpec:
    """One export. `checkpoint` is a folder in transformers' format; `factory` is `module:function` or empty.

    `attn` empty leaves the attention implementation to transformers. `optimize` False exports with the dynamo
    exporter's own optimizer off. `task` empty takes what the checkpoint's own class returns, without a cache.
    """

    checkpoint: Path | None = None
    output: Path = Path("model.onnx")
    factory: str = ""
    exporter: Exporter = "auto"
    optimize: bool = True
    opset: int = DEFAULT_OPSET
    attn: Attention = ""
    verify: bool = True
    overwrite: bool = False
    task: Task = ""
    laid: Laid | None = None
    """The library's folder that `output` is in; None for a file alone."""
    hub: str = ""
    """The id and commit of a checkpoint out of the Hub's cache."""

    @property
    def layout(self) -> str:
        return self.laid.name if self.laid is not None else ""

    def check(self, needs_source: bool = True) -> None:
        """Raise OnnxfixError for what cannot work, before anything heavy is imported."""
        if needs_source and self.checkpoint is None and not self.factory:
            raise OnnxfixError(
                "nothing to export", f"name a checkpoint folder or give {arg('factory', 'module:function')}"
            )
        if self.opset not in OPSETS:
            raise OnnxfixError(f"opset {self.opset} is not supported", f"use {OPSETS.start} to {OPSETS.stop - 1}")
        if self.laid is None:
            self._check_output()
        for package in ("torch", "onnxscript"):
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                raise OnnxfixError(f"export needs {package}", "pip install 'onnxfix[torch]'") from None

    def _check_output(self) -> None:
        if self.output.is_dir() or not self.output.name:
            raise OnnxfixError(f"{self.output} is a directory", f"name the .onnx file to write with {arg('output')}")
        if not self.output.parent.is_dir():
            raise OnnxfixError(f"folder {self.output.parent} does not exist", "create it or name another output")
        if self.output.exists() and not self.overwrite:
            raise OnnxfixError(
                f"{self.output} exists already", f"use {arg('force', True)} or give another {arg('output')}"
            )


@dataclass(frozen=True)
class ExportResult:
    """A written export. `exporter` is `dynamo`, `dynamo optimize=False` or `legacy`; `notes` say what went wrong on the
    way; `comparison` with torch is None when verification was off."""

    path: Path
    exporter: str
    notes: tuple[str, ...]
    comparison: Comparison | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    nodes: int
    file_bytes: int

    def as_dict(self) -> dict[str, object]:
        return {
            "path": str(self.path),
            "exporter": self.exporter,
            "notes": list(self.notes),
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "opset": self.opset,
            "nodes": self.nodes,
            "file_bytes": self.file_bytes,
            "verified": self.comparison is not None,
            "comparison": self.comparison.as_dict() if self.comparison else None,
        }


class ExportFailure(OnnxfixError):  # noqa: N818  says what happened, as LoadFailure and RunFailure do
    """An exporter failed, or its result did not agree with torch; `auto` goes on to the next exporter."""
