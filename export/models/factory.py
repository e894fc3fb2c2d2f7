"""Any torch module through `factory`, as in `module:function`.

The function is called with the checkpoint path when it takes an argument. It returns a module, or
(module, example kwargs), or (module, example kwargs, {input: {axis: dimension name}}).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import TRACEBACK, OnnxfixError, arg, one_line
from onnxfix.nouns.process.discovery import from_here

from . import left_out
from .text_inputs import TEXT_AXES, WAY, text_example, text_input_names
from .torch_model import TorchModel, named_tensors
from .with_past import with_past

if TYPE_CHECKING:
    import torch


def from_factory(factory: str, checkpoint: Path | None, task: str = "") -> TorchModel:
    """Raises OnnxfixError when the function is missing, fails, or returns something else."""
    return of_module(_call(_resolve(factory), factory, checkpoint), factory, task=task)


def of_module(made: Any, name: str, in_memory: bool = False, task: str = "") -> TorchModel:
    """Of a module, (module, example kwargs) or (module, example kwargs, axes). Raises OnnxfixError for anything else.

    `name` says whose it is; `in_memory`: given as `model` and `example`, and not by a function of that name. With a
    `task` the module is a causal language model, which is traced with inputs of the task.
    """
    import torch

    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3 or not isinstance(parts[0], torch.nn.Module):
        if in_memory:
            raise OnnxfixError(f"a model of type {name} is no torch module", "give one, or the folder of a checkpoint")
        raise OnnxfixError(f"{name} returned {type(made).__name__}", "return a module or (module, example kwargs)")
    module = parts[0].float().eval()
    if task and len(parts) > 1:
        raise OnnxfixError(f"{arg('task', task)} has inputs of its own", "give the module without an example")
    if task:
        return with_past(module)
    if len(parts) == 1:
        inputs = text_input_names(module, segments=False, way=_MISSING if in_memory else WAY)
        example, axes = text_example(inputs, vocabulary=2), dict.fromkeys(inputs, TEXT_AXES)
    else:
        example = _example(name, parts[1], in_memory)
        axes = parts[2] if len(parts) == 3 else {name: _axes(name, tensor) for name, tensor in example.items()}
        example = {name: _no_single(tensor, axes.get(name, {})) for name, tensor in example.items()}
    outputs = _run(module, example, name)
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


_MISSING = "give them by name: example={name: tensor}"


def _run(module: torch.nn.Module, example: Mapping[str, torch.Tensor], name: str) -> Any:
    import torch

    try:
        inspect.signature(module.forward).bind(**example)
    except TypeError as error:
        takes = ", ".join(inspect.signature(module.forward).parameters) or "nothing"
        raise OnnxfixError(
            f"the example of {name} does not fit its forward, which takes {takes}: {error}",
            f"give these by name; the example has {', '.join(example) or 'nothing'}",
        ) from error
    try:
        with torch.inference_mode():
            return module(**example)
    except Exception as error:  # whatever a module does
        raise OnnxfixError(
            f"{name} fails on its example: {type(error).__name__}: {one_line(error)}", TRACEBACK
        ) from error


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
        raise OnnxfixError(message, TRACEBACK) from error


def _example(name: str, example: Any, in_memory: bool) -> dict[str, torch.Tensor]:
    import torch

    of = "example" if in_memory else f"{name}: the example"
    give = "give {name: tensor}" if in_memory else "return (module, {name: tensor})"
    if not isinstance(example, Mapping):
        raise OnnxfixError(f"{of} is of type {type(example).__name__}, not a mapping of tensors", give)
    other = next((each for each in example if not isinstance(example[each], torch.Tensor)), None)
    if other is not None:
        kind = type(example[other]).__name__
        raise OnnxfixError(f"{of} is not a mapping of tensors: '{other}' is of type {kind}", give)
    return {str(each): tensor for each, tensor in example.items()}


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
