"""The inputs of a text model: which of the usual names its forward takes, and example tensors to trace it with."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    import torch

# Example sizes are distinct primes above 1: torch.export specialises on 0, 1 and on sizes that happen to be equal.
BATCH, LENGTH = 2, 17
PADDING = 3  # the example's last row is padded, so that a tracer records the masking
TEXT_AXES = {0: "batch", 1: "sequence"}
ALWAYS = ("input_ids", "attention_mask")
WHEN_REQUIRED = ("token_type_ids", "position_ids")
WAY = f"let a function return (module, example kwargs), and give it with {arg('factory', 'module:function')}"


def text_input_names(module: torch.nn.Module, segments: bool, way: str = WAY) -> list[str]:
    """Names in forward's order. `segments` says that the model has more than one segment embedding.

    Raises OnnxfixError when forward requires something else, which only an example can describe: `way` says how.
    """
    parameters = inspect.signature(module.forward).parameters
    required = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    unknown = [name for name in required if name not in (*ALWAYS, *WHEN_REQUIRED)]
    if unknown or "input_ids" not in parameters:
        raise OnnxfixError(
            f"{type(module).__name__}.forward takes {', '.join(unknown or parameters) or 'nothing'}, not a text input",
            way,
        )
    optional = [*ALWAYS, *(["token_type_ids"] if segments else [])]
    return [name for name in parameters if name in required or name in optional]


def text_example(names: list[str], vocabulary: int, length: int = LENGTH) -> dict[str, torch.Tensor]:
    """int64 tensors of shape (2, length): token ids below `vocabulary`, a mask with padding, zeros, positions."""
    import torch

    length = max(length, PADDING + 1)
    ids = torch.arange(BATCH * length).reshape(BATCH, length) % max(vocabulary, 1)
    mask = torch.ones((BATCH, length), dtype=torch.int64)
    mask[-1, -PADDING:] = 0
    made = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(ids),
        "position_ids": torch.arange(length).repeat(BATCH, 1),
    }
    return {name: made[name] for name in names}
