"""Extras: what a job wants that is not installed with onnxfix alone, and what to install for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from onnxfix.nouns.errors import OnnxfixError

P = ParamSpec("P")
R = TypeVar("R")

EXTRAS = {
    **dict.fromkeys(("polars", "vl_convert"), "bench"),
    **dict.fromkeys(("torch", "transformers", "onnxscript", "safetensors", "tokenizers", "psutil"), "torch"),
    **dict.fromkeys(("huggingface_hub", "tqdm"), "torch"),
}
"""Extra by the module that it brings."""
RUNTIME = "pip install 'onnxfix[gpu]', or 'onnxfix[cpu]' where there is no NVIDIA GPU"
"""One of the two: with both packages, each has written over a part of the other."""


def missing(error: ModuleNotFoundError) -> OnnxfixError | None:
    """A package that an extra brings, and a runtime, in words; None for any other module."""
    name = (error.name or "").partition(".")[0]
    if name == "onnxruntime":
        return OnnxfixError("ONNX Runtime is not installed", RUNTIME)
    if name not in EXTRAS:
        return None
    return OnnxfixError(f"{name.replace('_', '-')} is not installed", f"pip install 'onnxfix[{EXTRAS[name]}]'")


def names_extras(job: Callable[P, R]) -> Callable[P, R]:
    """A job that raises OnnxfixError, with what to install, where a package is missing."""

    @functools.wraps(job)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return job(*args, **kwargs)
        except ModuleNotFoundError as error:
            found = missing(error)
            if found is None:
                raise
            raise found from error

    return named
