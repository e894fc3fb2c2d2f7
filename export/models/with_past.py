"""A causal language model with its cache of keys and values as inputs and outputs, named as optimum names them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError, one_line

from .checkpoint import Checkpoint
from .text_inputs import text_example
from .torch_model import TorchModel
from .transformers_model import load_pretrained, longest_input

if TYPE_CHECKING:
    import torch

TASK = "text-generation-with-past"
# Sizes of the example: no two alike, for torch.export takes sizes that happen to be equal for one.
LENGTH, PAST = 11, 5
BATCH_AXIS, SEQUENCE, PASSED = {0: "batch"}, {1: "sequence"}, {2: "past"}
WHOLE = "past + sequence"
CACHE_RANK = 4
AXES: dict[str, dict[int, str]] = {
    "input_ids": BATCH_AXIS | SEQUENCE,
    "attention_mask": BATCH_AXIS | {1: WHOLE},
    "position_ids": BATCH_AXIS | SEQUENCE,
}


def from_causal(checkpoint: Checkpoint, attn: str) -> TorchModel:
    """The checkpoint's own class, with its cache."""
    return with_past(load_pretrained(checkpoint, attn))


def with_past(module: Any) -> TorchModel:
    """`input_ids` and `position_ids` (batch, sequence), `attention_mask` (batch, past + sequence) and, a layer,
    `past_key_values.N.key` and `.value` (batch, heads of keys, past, size of a head) → `logits` (batch, sequence,
    vocabulary), `present.N.key` and `.value` (batch, heads of keys, past + sequence, size of a head). What has
    attended to a window alone keeps all that came before it, as every layer does: its mask hides the rest.

    Raises OnnxfixError for a module without such a cache or without logits.
    """
    import torch

    taken = inspect.signature(module.forward).parameters
    if not {"input_ids", "attention_mask", "past_key_values"} <= set(taken) or not hasattr(module, "config"):
        raise OnnxfixError(
            f"{type(module).__name__} takes no cache of keys and values, which {TASK} is about",
            "leave the task out, or name the checkpoint of a causal language model",
        )
    names = [name for name in AXES if name in taken]
    config = module.config.get_text_config(decoder=True)
    example = text_example(names, int(config.vocab_size), LENGTH)
    layers = _layers(module, example)
    empty = {name: torch.zeros(len(tensor), heads, PAST, size) for name, (heads, size, tensor) in layers.items()}
    example["attention_mask"] = torch.nn.functional.pad(example["attention_mask"], (PAST, 0), value=1)
    if "position_ids" in example:
        example["position_ids"] = example["position_ids"] + PAST
    module.config.use_cache = True
    return TorchModel(
        module=_with_past_module(module, len(layers) // 2),
        example=example | _random(empty),
        dynamic={name: AXES.get(name, BATCH_AXIS | PASSED) for name in (*example, *empty)},
        output_names=["logits", *(name.replace("past_key_values", "present") for name in empty)],
        longest=longest_input(config),
        attn=str(module.config._attn_implementation),
    )


def _layers(module: Any, example: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, int, torch.Tensor]]:
    """Heads and their size by the name of an input of the cache, from what the module itself keeps of an example."""
    import torch
    from transformers.cache_utils import DynamicCache

    kind, cache = type(module).__name__, DynamicCache()
    try:
        with torch.inference_mode():
            logits = module(**example, past_key_values=cache, use_cache=True).get("logits")
    except Exception as error:  # whatever a model does with a cache of another kind than its own
        raise OnnxfixError(
            f"{kind} does not run with a cache of keys and values: {type(error).__name__}: {one_line(error)}",
            "leave the task out",
        ) from error
    kept = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
    found: dict[str, tuple[int, int, torch.Tensor]] = {}
    for index, pair in enumerate(kept):
        for what, tensor in zip(("key", "value"), pair, strict=True):
            if tensor is not None and tensor.dim() == CACHE_RANK:
                found[f"past_key_values.{index}.{what}"] = tensor.shape[1], tensor.shape[3], tensor
    if logits is None or not kept or len(found) < 2 * len(kept):
        missing = "no keys and values of every layer" if logits is not None else "no logits"
        raise OnnxfixError(f"{kind} returns {missing}, which {TASK} is about", "leave the task out")
    return found


def _random(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return {name: tensor.normal_(generator=generator) for name, tensor in tensors.items()}


def _with_past_module(model: torch.nn.Module, layers: int) -> torch.nn.Module:
    import torch
    from transformers.cache_utils import DynamicCache, DynamicLayer

    def filled(key: torch.Tensor, value: torch.Tensor) -> Any:
        layer = DynamicLayer()
        layer.lazy_initialization(key, value)
        layer.keys, layer.values = key, value  # not by update(), which joins them to an empty tensor of one axis
        return layer

    class WithPast(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **given: torch.Tensor) -> dict[str, torch.Tensor]:
            past = [
                [given.pop(f"past_key_values.{index}.{what}") for what in ("key", "value")] for index in range(layers)
            ]
            cache = DynamicCache()
            cache.layers = [filled(key, value) for key, value in past]
            made = {"logits": self.model(**given, past_key_values=cache, use_cache=True)["logits"]}
            for index, layer in enumerate(cache.layers):
                made[f"present.{index}.key"], made[f"present.{index}.value"] = layer.keys, layer.values
            return made

    return WithPast().eval()
