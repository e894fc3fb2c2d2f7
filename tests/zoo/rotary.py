"""How much a rotary architecture's output depends on its angles: without that, a test of them would prove nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

import torch

from zoo.architectures import Architecture

ROTARY = frozenset("modernbert roformer llama qwen3 gpt-neox nomic-bert eurobert gemma mistral phi granite esm".split())
LEAST = 5e-2
"""Relative L2 by which the output must move when cos and sin are zero. Default initialisation moves a ModernBERT by
8e-5, which is less than half precision rounds away."""


def influence(architecture: Architecture, cos: float, sin: float) -> float:
    """Relative L2 change of the output when every cosine is `cos` and every sine is `sin`, whatever the position."""
    module, inputs = architecture.module(), tuple(architecture.inputs().values())
    with torch.inference_mode():
        expected = module(*inputs)
        with _angles_replaced(module, cos, sin):
            changed = module(*inputs)
    return float((changed - expected).norm() / expected.norm())


@contextmanager
def _angles_replaced(module: torch.nn.Module, cos: float, sin: float) -> Iterator[None]:
    """torch computes angles with `Tensor.cos` and `Tensor.sin`; RoFormer looks them up in a table, sines first."""
    for table in module.modules():
        if "SinusoidalPositional" in type(table).__name__:
            weight = next(table.parameters())
            half = weight.shape[1] // 2
            weight[:, :half], weight[:, half:] = sin, cos
    real = {"cos": torch.Tensor.cos, "sin": torch.Tensor.sin}
    for name, value in (("cos", cos), ("sin", sin)):
        setattr(torch.Tensor, name, partialmethod(torch.full_like, fill_value=value))
    try:
        yield
    finally:
        for name, method in real.items():
            setattr(torch.Tensor, name, method)
