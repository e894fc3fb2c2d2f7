"""What is mutated: the graphs of the tests of rules and passes, random graphs, and a small export of torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from oracle.random_graphs import random_model

HERE = Path(__file__).parents[1]
LARGEST = 200_000
"""Bytes of a seed: mutants of large ones take long, and break in the same places."""
RANDOM = 24


def seeds(export: bool = False) -> list[bytes]:
    """Serialized models, the same ones in the same order always. `export`: one of torch's two exporters as well."""
    found = [*_of_tests(), *(random_model(i, functions=i % 2 == 1).SerializeToString() for i in range(RANDOM))]
    if export:
        found += list(_of_torch())
    return [data for data in found if len(data) <= LARGEST]


def _of_tests() -> Iterator[bytes]:
    """BAD and SOUND of every rule and pass."""
    for folder in ("diagnose/rules", "surgery/passes"):
        for path in sorted((HERE / folder).glob("test_*.py")):
            module = _loaded(path)
            for name in ("BAD", "SOUND"):
                made = getattr(module, name)() if hasattr(module, name) else None
                if made is not None and not made.faults:
                    yield made.ir_bytes()


def _loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_torch() -> Iterator[bytes]:
    """The bundled model's architecture with two small layers, as both exporters write it."""
    import tempfile

    import torch
    from transformers import ModernBertConfig

    from onnxfix.eval.demo.model import MultiHeadClassifier

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    config = ModernBertConfig(vocab_size=40, max_position_embeddings=64, **sizes, **tokens)
    torch.manual_seed(0)
    model = MultiHeadClassifier.from_config(config, {"a": ["x", "y"]}, "eager").eval()
    ids = torch.ones(2, 5, dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    with tempfile.TemporaryDirectory() as folder:
        for dynamo in (True, False):
            path = Path(folder) / "model.onnx"
            axes = {name: {0: "batch", 1: "length"} for name in names}
            how: dict[str, Any] = {"dynamic_shapes": list(axes.values())} if dynamo else {"dynamic_axes": axes}
            torch.onnx.export(
                model, (ids, ids), path, input_names=names, dynamo=dynamo, external_data=False, verbose=False, **how
            )
            yield onnx.load(path).SerializeToString()
