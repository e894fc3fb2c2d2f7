"""Any torch module through `factory`, as in `module:function`.

The function is called with the checkpoint path when it takes an argument. It returns a module, or
(module, example kwargs), or (module, example kwargs, {input: {axis: dimension name}}).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.process.discovery import from_here

from . import left_out
from .text_inputs import TEXT_AXES, text_example, text_input_names
from .torch_model import TorchModel, named_tensors

if TYPE_CHECKING:
    import torch


def from_factory(factory: str, checkpoint: Path | None) -> TorchModel:
    """Raises OnnxfixError when the function is missing, fails, or returns something else."""
    return of_module(_call(_resolve(factory), factory, checkpoint), factory)


def of_module(made: Any, name: str) -> TorchModel:
    """Of a module, (module, example kwargs) or (module, example kwargs, axes). Raises OnnxfixError for anything else,
    in which `name` says whose it is."""
    import torch

    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3 or not isinstance(parts[0], torch.nn.Module):
        raise OnnxfixError(f"{name} returned {type(made).__name__}", "return a module or (module, example kwargs)")
    module = parts[0].float().eval()
    if len(parts) == 1:
        inputs = text_input_names(module, segments=False)
        example, axes = text_example(inputs, vocabulary=2), dict.fromkeys(inputs, TEXT_AXES)
    else:
        example = _example(name, parts[1])
        axes = parts[2] if len(parts) == 3 else {name: _axes(name, tensor) for name, tensor in example.items()}
        example = {name: _no_single(tensor, axes.get(name, {})) for name, tensor in example.items()}
    with torch.inference_mode():
        outputs = module(**example)
    given = getattr(module, "output_names", None)
    names = list(given) if isinstance(given, (list, tuple)) else None
    return TorchModel(
        module=module,
        example=example,
        dynamic=axes,
        output_names=list(named_tensors(outputs, names)),
        example_is_given=len(parts) > 1,
        notes=left_out.notes(outputs),
    )


def _resolve(factory: str) -> Callable[..., Any]:
    module_name, _, function_name = factory.partition(":")
    if not module_name or not function_name:
        raise OnnxfixError(f"{arg('factory', factory)} is not of the form module:function")
    try:
        function = getattr(from_here(module_name), function_name, None)
    except ImportError as error:
        raise OnnxfixError(
            f"{arg('factory', factory)}: {error}", "run from the folder of the module or install it"
        ) from error
    if not callable(function):
        raise OnnxfixError(f"module {module_name} has no function {function_name}")
    return function  # type: ignore[no-any-return]


def _call(function: Callable[..., Any], factory: str, checkpoint: Path | None) -> Any:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    if required and checkpoint is None:
        raise OnnxfixError(f"{factory} takes a checkpoint path", "name the checkpoint as well")
    try:
        return function(checkpoint) if parameters and checkpoint is not None else function()
    except Exception as error:
        message = f"{factory} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise OnnxfixError(message, "its traceback shows where: 'onnxfix --debug' prints it") from error


def _example(factory: str, example: Any) -> dict[str, torch.Tensor]:
    import torch

    if not isinstance(example, Mapping) or not all(isinstance(v, torch.Tensor) for v in example.values()):
        raise OnnxfixError(f"{factory}: the example is not a mapping of tensors", "return (module, {name: tensor})")
    return {str(name): tensor for name, tensor in example.items()}


def _axes(name: str, tensor: torch.Tensor) -> dict[int, str]:
    """Text inputs (integers of rank 2, masks) have batch and sequence; anything else only its first axis."""
    if tensor.dim() == 2 and (not tensor.is_floating_point() or "mask" in name):
        return TEXT_AXES
    return {0: "batch"} if tensor.dim() else {}


def _no_single(tensor: torch.Tensor, axes: Mapping[int, str]) -> torch.Tensor:
    """torch.export treats a dynamic axis of size 1 as a constant, so such axes are doubled."""
    for axis in axes:
        if tensor.shape[axis] == 1:
            tensor = tensor.repeat_interleave(2, axis)
    return tensor
