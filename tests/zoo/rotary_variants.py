"""Rotary embeddings of every kind that transformers builds, beyond those of the zoo's architectures."""

from __future__ import annotations

from typing import Any

from zoo.architectures import Architecture, _heads

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 512}


def _rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **settings}}


VARIANTS = (
    Architecture("linear", "LlamaModel", _heads(2) | _rope("linear", factor=4.0)),
    Architecture("dynamic", "LlamaModel", _heads(2) | _rope("dynamic", factor=2.0)),
    Architecture("yarn", "LlamaModel", _heads(2) | _rope("yarn", factor=4.0, original_max_position_embeddings=512)),
    Architecture("llama3", "LlamaModel", _heads(2) | _rope("llama3", factor=8.0, **LLAMA3)),
    Architecture(
        "longrope", "LlamaModel",
        _heads(2) | _rope("longrope", factor=4.0, short_factor=[1.0 + 0.1 * i for i in range(8)],
                          long_factor=[1.0 + 0.5 * i for i in range(8)], original_max_position_embeddings=512),
    ),
    Architecture("interleaved", "CohereModel", _heads(2) | {"pad_token_id": 0}),
    Architecture("gemma3", "Gemma3TextModel", _heads(1) | {"head_dim": 16, "sliding_window": 8, "layer_types": [
        "sliding_attention", "full_attention"]}),
    Architecture("olmo2", "Olmo2Model", _heads(2)),
)  # fmt: skip
# Their frequencies depend on the length at run time, which exporters freeze: the file is not what torch computes.
FROZEN = frozenset({"dynamic", "longrope"})
BY_NAME = {a.name: a for a in VARIANTS}
