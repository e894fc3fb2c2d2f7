"""A decoder's cache through repairs: verified at its first step and behind a past, interface as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from onnxfix.api import diagnose, optimize, repair
from onnxfix.eval.inputs.feeds import as_feed
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.export.run import export
from onnxfix.export.spec import ExportSpec
from onnxfix.flows.bench.data import Wanted, workload
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import Provenance

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
STEPS = {"first step", "token behind 1", "token behind 7"}
PADDED = {"left-padded first step", "holed first step", "left-padded token behind 7"}


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


def optimized(path: Path, output: Path, **asked: Any) -> tuple[Model, str]:
    done = optimize(path, output=output, **asked)
    assert done.output is not None and interface(done.output) == interface(path)
    for comparison in done.comparisons:
        assert {d.feed for d in comparison.differences} >= STEPS | PADDED
    return Model.open(done.output), " ".join(done.outcome.notes)


def test_optimize_has_one_operator_over_the_cache(llama: Path, tmp_path: Path) -> None:
    """Of five rows of which some are padded, each after the other: what the export says, token by token."""
    result, said = optimized(llama, tmp_path / "fast.onnx")
    assert [n.op_type for n in result.nodes()].count("GroupQueryAttention") == 2
    assert "2 of 2 attentions over a cache in one operator each" in said
    rng, rows = np.random.default_rng(0), 5
    mask = (np.arange(6)[None] >= np.array([0, 1, 2, 3, 5])[:, None]).astype(np.int64)  # padded at the left
    runners = [OrtRunner(path) for path in (llama, result.path)]
    caches = [
        {
            v.name: np.zeros((rows, v.shape[1], 0, v.shape[3]), np.float32)
            for v in result.graph.inputs
            if len(v.shape) == 4
        }
    ] * 2
    ids = rng.integers(3, 97, mask.shape)
    for _ in range(4):
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, -ids.shape[1] :]
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        expected, found = (runner.run(given | cache) for runner, cache in zip(runners, caches, strict=True))
        np.testing.assert_allclose(found["logits"][:, -1], expected["logits"][:, -1], atol=1e-5)
        caches = [{n: each[n.replace("past_key_values", "present")] for n in caches[0]} for each in (expected, found)]
        ids = expected["logits"][:, -1:].argmax(axis=-1)
        mask = np.concatenate([mask, np.ones((rows, 1), np.int64)], axis=1)


def test_optimize_for_cuda_copies_nothing(llama: Path, tmp_path: Path) -> None:
    result, said = optimized(llama, tmp_path / "fast.onnx", target="cuda")
    report = diagnose(result.path, target="cuda")
    assert report.plan.copies == () and [n.op_type for n in result.nodes()].count("GroupQueryAttention") == 2
    assert "has an attention_bias" in said, "which kernel, and why no faster one"


def test_steps_are_what_a_bench_and_a_record_run_on(llama: Path, tmp_path: Path) -> None:
    """What GroupQueryAttention takes as well as its source: no several rows of several tokens behind a cache."""
    fast = optimize(llama, output=tmp_path / "fast.onnx").output
    assert fast is not None
    record = Provenance.read(Model.open(llama).ir)
    assert record is not None and len(record.feeds) == 2
    made = workload(Wanted(models=(llama, fast)), None, [llama, fast])
    assert [batch.arrays["input_ids"].shape for batch in made.fixed] == [(1, 128), (8, 1)]
    feeds = [batch.arrays for batch in made.fixed]
    feeds += [as_feed(Model.open(llama), "recorded", arrays).arrays for arrays in record.feeds]
    for arrays in feeds:
        one, other = (OrtRunner(path).run(arrays) for path in (llama, fast))
        np.testing.assert_allclose(one["logits"], other["logits"], atol=1e-5)
