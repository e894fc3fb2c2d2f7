"""A decoder's cache through repairs: verified at its first step and behind a past, interface as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from onnxfix.api import repair
from onnxfix.export.run import export
from onnxfix.export.spec import ExportSpec
from onnxfix.nouns.model import Model

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
STEPS = {"first step", "left-padded first step", "holed first step", "token behind 1", "left-padded token behind 7"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).save_pretrained(folder / "llama")
    asked: Any = {"exporter": "legacy", "task": "text-generation-with-past"}
    return export(ExportSpec(folder / "llama", folder / "model.onnx", **asked)).path


def interface(path: Path) -> list[tuple[str | None, str]]:
    graph = Model.open(path).graph
    return [(value.name, str(value.shape)) for value in (*graph.inputs, *graph.outputs)]


WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "fp32": ({"precision": "fp32", "target": "cpu"}, 1e-6),
    "fp16": ({"precision": "fp16"}, 1e-2),
    "int8 dynamic": ({"int8": "dynamic", "target": "cpu"}, 5e-2),
    "weight-only": ({"int8": "weight-only", "target": "cpu"}, 5e-2),
}


@pytest.mark.parametrize("way", WAYS)
def test_repairs(way: str, llama: Path, tmp_path: Path) -> None:
    asked, limit = WAYS[way]
    done = repair(llama, output=tmp_path / "repaired.onnx", **asked)
    assert done.output is not None and interface(done.output) == interface(llama)
    for comparison in done.comparisons:
        assert comparison.rel_l2 < limit
        assert {d.feed for d in comparison.differences} >= STEPS
        assert {d.output for d in comparison.differences} >= {"logits", "present.0.key", "present.1.value"}
    assert done.comparisons
