"""The torch.export based exporter (`torch.onnx.export(dynamo=True)`), with its optimizer as a separate step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnxfix.export.models.torch_model import TorchModel
from onnxfix.export.workarounds.optimizer_failure import optimize_or_keep
from onnxfix.nouns.errors import arg
from onnxfix.nouns.model import INLINE_LIMIT_BYTES

from .quiet import quiet
from .spec import ExportFailure

NAME = "dynamo"
UNOPTIMIZED = "dynamo optimize=False"
LONGEST_CAUSE = 240


def export_dynamo(model: TorchModel, path: Path, opset: int, optimize: bool) -> tuple[str, list[str]]:
    """Write `path` (and `path`.data when large); returns the exporter's full name and notes.

    Raises ExportFailure with the root cause on one line.
    """
    import torch

    shapes = tuple(dict(model.dynamic.get(name, {})) or None for name in model.input_names)
    notes: list[str] = []
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                model.flat(),
                tuple(model.example.values()),
                input_names=model.input_names,
                output_names=model.output_names,
                dynamic_shapes={"inputs": shapes},
                opset_version=opset,
                dynamo=True,
                optimize=False,  # done below, where its failure can be told from the translation's
            )
            if program is None:
                raise RuntimeError("torch.onnx.export returned nothing")
            reason = optimize_or_keep(program) if optimize else ""
            program.save(path, external_data=_weights_bytes(model) > INLINE_LIMIT_BYTES)
    except Exception as error:
        raise ExportFailure(
            f"the dynamo exporter failed: {root_cause(error)}", f"try {arg('exporter', 'legacy')}"
        ) from error
    if reason:
        notes.append(f"the exporter's optimizer failed ({reason}); exported with optimize=False")
    return (NAME if optimize and not reason else UNOPTIMIZED), notes


def root_cause(error: BaseException) -> str:
    """Type and first sentence of the innermost cause: the outer messages are pages of general advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(_sentence(lines))
    if not said:
        return type(error).__name__
    return f"{type(error).__name__}: {said if len(said) <= LONGEST_CAUSE else said[: LONGEST_CAUSE - 1] + '…'}"


def _sentence(lines: list[str]) -> Iterator[str]:
    """The first line, and what follows it as long as a line ends in a colon, which says that something does."""
    for line in lines:
        yield line
        if not line.endswith(":"):
            return


def _weights_bytes(model: TorchModel) -> int:
    tensors = [*model.module.parameters(), *model.module.buffers()]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())
