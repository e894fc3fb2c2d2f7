"""Left out: what a module returns beside tensors, which an ONNX file cannot return, said with what that costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import Sentence, arg
from onnxfix.nouns.types.counts import listed

if TYPE_CHECKING:
    import torch

CACHES = ("past_key_values", "cache_params", "mems", "state")
"""What transformers calls the cache of a decoder."""


def notes(output: Any, more: Collection[str] = ()) -> tuple[str, ...]:
    """A note of what an output holds beside tensors: a decoder's cache, tuples of hidden states or attentions.

    `more`: names of what the module returns where its config asks for it.
    """
    import torch

    parts = (
        output if isinstance(output, Mapping) else dict(enumerate(output if isinstance(output, tuple | list) else ()))
    )
    found = {
        f"output {name} ({type(value).__name__})" if isinstance(name, int) else str(name): _is_cache(name, value)
        for name, value in parts.items()
        if value is not None and not isinstance(value, torch.Tensor)
    } | dict.fromkeys(more, True)
    if not found:
        return ()
    cost = ", so that each new token is computed with all before it" if any(found.values()) else ""
    way = f"a function whose module takes and returns the tensors in it keeps it ({arg('factory', 'module:function')})"
    if "past_key_values" in found:
        way = f"{arg('task', 'text-generation-with-past')} keeps the cache of a causal language model, and {way}"
    return (Sentence(f"left out of the file: {listed(list(found))}{cost}; {way}"),)


def of_cache(module: torch.nn.Module, example: Mapping[str, Any], output: Any) -> list[str]:
    """Names of what a transformers model returns beside this output when its config asks for a cache."""
    import torch

    config: Any = getattr(module, "config", None)
    if not hasattr(config, "use_cache") or not isinstance(output, Mapping):
        return []
    before, config.use_cache = config.use_cache, True
    try:
        with torch.inference_mode():
            cached = module(**example)
    except Exception:  # whatever a model does that cannot cache: then there is no cache to leave out
        return []
    finally:
        config.use_cache = before
    return [str(name) for name, value in cached.items() if value is not None and output.get(name) is None]


def _is_cache(name: Any, value: Any) -> bool:
    return name in CACHES or "Cache" in type(value).__name__
