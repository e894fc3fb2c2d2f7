"""Decoders with their cache: named as optimum names it, equal to torch at every step, and so are 32 greedy tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from onnxfix.eval.run.runners import OrtRunner
from onnxfix.export.models.checkpoint import Checkpoint
from onnxfix.export.models.transformers_model import from_transformers
from onnxfix.export.models.with_past import with_past
from onnxfix.export.run import export
from onnxfix.export.spec import ExportResult, ExportSpec
from onnxfix.flows.export import export as in_python
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import Provenance

TASK = "text-generation-with-past"
SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2}
WINDOW = 6
"""Of sliding attention, which 32 tokens go beyond."""


def _gpt2() -> Any:
    return transformers.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2
    )


CONFIGS = {
    "LlamaForCausalLM": lambda: transformers.LlamaConfig(**SIZES, **GROUPED),
    "Qwen2ForCausalLM": lambda: transformers.Qwen2Config(**SIZES, **GROUPED),
    "Qwen3ForCausalLM": lambda: transformers.Qwen3Config(**SIZES, **GROUPED, head_dim=16),
    "MistralForCausalLM": lambda: transformers.MistralConfig(**SIZES, **GROUPED, sliding_window=WINDOW),
    "Phi3ForCausalLM": lambda: transformers.Phi3Config(**SIZES, **GROUPED),
    "GemmaForCausalLM": lambda: transformers.GemmaConfig(**SIZES, num_key_value_heads=1, head_dim=16),
    "Gemma3ForCausalLM": lambda: transformers.Gemma3TextConfig(
        **SIZES, num_key_value_heads=1, head_dim=16, sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "GPT2LMHeadModel": _gpt2,
    "GPTNeoXForCausalLM": lambda: transformers.GPTNeoXConfig(**SIZES),
}  # fmt: skip


def saved(folder: Path, architecture: str, layers: int = 2) -> Path:
    torch.manual_seed(0)
    config = CONFIGS[architecture]()
    config.num_hidden_layers = layers
    module = getattr(transformers, architecture)(config)
    module.generation_config = transformers.GenerationConfig()
    module.save_pretrained(folder)
    return folder


@dataclass
class Made:
    result: ExportResult
    model: Model
    checkpoint: Path


def made(architecture: str, exporter: str, folder: Path, layers: int = 2) -> Made:
    checkpoint = saved(folder / "checkpoint", architecture, layers)
    result = export(ExportSpec(checkpoint, folder / "model.onnx", exporter=exporter, task=TASK))  # type: ignore[arg-type]
    return Made(result, Model.open(result.path), checkpoint)


@pytest.fixture(scope="module", params=CONFIGS)
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(request.param, "legacy", tmp_path_factory.mktemp("legacy"))


@pytest.fixture(scope="module")
def dynamo(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("MistralForCausalLM", "dynamo", tmp_path_factory.mktemp("dynamo"), layers=1)


def shapes(values: Any) -> dict[str, list[Any]]:
    return {value.name: [d if isinstance(d, int) else d.value for d in value.shape] for value in values}


def check_interface(found: Made, layers: int = 2) -> None:
    heads, size = found.model.graph.inputs[-1].shape[1], found.model.graph.inputs[-1].shape[3]
    tokens, past, whole = (["batch", "sequence"], ["batch", heads, "past", size], "past + sequence")
    caches = [f"{layer}.{what}" for layer in range(layers) for what in ("key", "value")]
    assert shapes(found.model.graph.inputs) == {
        "input_ids": tokens, "attention_mask": ["batch", whole], "position_ids": tokens,
        **{f"past_key_values.{name}": past for name in caches},
    }  # fmt: skip
    outputs = shapes(found.model.graph.outputs)
    assert list(outputs) == ["logits", *(f"present.{name}" for name in caches)]
    assert outputs["logits"][:2] == tokens
    for name in caches:
        assert outputs[f"present.{name}"] == ["batch", heads, whole, size]


def check_verified(found: Made) -> None:
    """At a past of 0, 1, 7 and others, every output."""
    assert found.result.comparison is not None and found.result.comparison.rel_l2 < 1e-5
    feeds = {d.feed for d in found.result.comparison.differences}
    assert feeds == {"unpadded", "padded", "long", "first step", "token behind 1", "token behind 7"}


def check_generation(found: Made) -> None:
    """32 greedy tokens of torch, with a cache of its own, and of ONNX Runtime, whose cache is fed back."""
    prompt = torch.arange(3, 8)[None]
    checkpoint = Checkpoint.open(found.checkpoint)
    module: Any = getattr(transformers, checkpoint.architecture).from_pretrained(found.checkpoint)
    asked = {"max_new_tokens": 32, "min_new_tokens": 32, "do_sample": False, "pad_token_id": 0}
    expected = module.eval().generate(prompt, attention_mask=torch.ones_like(prompt), **asked)[0].tolist()
    assert greedy(found.model, prompt.numpy(), 32, ends=2) == expected
    assert len(set(expected)) > 2, "tokens that differ"


def greedy(model: Model, prompt: np.ndarray, count: int, ends: int) -> list[int]:
    """Tokens of a row and `count` after it, none of them the one that `ends` a text."""
    runner, tokens = OrtRunner(model.path), prompt[0].tolist()
    caches = {
        v.name: np.zeros((1, v.shape[1], 0, v.shape[3]), np.float32) for v in model.graph.inputs if len(v.shape) == 4
    }
    new = tokens
    for _ in range(count):
        ids, past = np.array([new]), len(tokens) - len(new)
        feed = {"input_ids": ids, "attention_mask": np.ones((1, len(tokens)), np.int64)}
        found = runner.run(feed | {"position_ids": past + np.arange(len(new))[None]} | caches)
        logits = found["logits"][0, -1].copy()
        logits[ends] = -np.inf
        new = [int(logits.argmax())]
        tokens = [*tokens, *new]
        caches = {name: found[name.replace("past_key_values", "present")] for name in caches}
    runner.close()
    return tokens


def test_interface_verification_and_generation(traced: Made) -> None:
    check_interface(traced)
    check_verified(traced)
    check_generation(traced)


def test_the_dynamo_exporter_makes_the_same(dynamo: Made) -> None:
    check_interface(dynamo, layers=1)
    check_verified(dynamo)
    check_generation(dynamo)
    inner = [v.shape for node in dynamo.model.nodes() for v in node.outputs if v.shape is not None]
    assert "sequence + past" not in {str(dim) for shape in inner for dim in shape}


def test_the_file_leads_back_to_torch_with_its_cache(dynamo: Made) -> None:
    from onnxfix.export.models.build import load_torch

    provenance = Provenance.read(dynamo.model.ir)
    assert provenance is not None and provenance.task == TASK
    module, inputs, outputs = load_torch(provenance)
    feed = {"input_ids": torch.ones(1, 3, dtype=torch.int64), "attention_mask": torch.ones(1, 7, dtype=torch.int64)}
    feed["position_ids"] = torch.arange(4, 7)[None]
    for value in dynamo.model.graph.inputs[3:]:
        feed[str(value.name)] = torch.randn(1, value.shape[1], 4, value.shape[3])  # type: ignore[index]
    assert inputs == list(feed)
    with torch.inference_mode():
        expected = module(**feed)
    found = OrtRunner(dynamo.model.path).run({name: tensor.numpy() for name, tensor in feed.items()})
    for name in outputs:
        assert np.allclose(found[name], expected[name].numpy(), atol=1e-5)


def test_without_the_task_the_note_names_it(tmp_path: Path) -> None:
    (note,) = from_transformers(Checkpoint.open(saved(tmp_path, "LlamaForCausalLM")), "").notes
    assert f"task='{TASK}'" in note


def test_a_module_in_memory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(CONFIGS["LlamaForCausalLM"]()).eval()
    found = in_python(module, task=TASK, output=tmp_path / "m.onnx", exporter="legacy", verify=False)
    assert "present.1.value" in found.outputs
    with pytest.raises(OnnxfixError, match="has inputs of its own"):
        in_python(module, example={"input_ids": torch.ones(1, 3, dtype=torch.int64)}, task=TASK,
                  output=tmp_path / "n.onnx")  # fmt: skip


def test_what_has_no_such_cache_is_refused() -> None:
    sizes = {name: SIZES[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    encoder = transformers.BertModel(transformers.BertConfig(**sizes, intermediate_size=48, num_attention_heads=4))
    backbone = transformers.LlamaModel(transformers.LlamaConfig(**SIZES, **GROUPED))
    state = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes, state_size=4))
    for module, reason in ((encoder, "no logits|takes no cache"), (backbone, "no logits"), (state, "takes no cache")):
        with pytest.raises(OnnxfixError, match=reason):
            with_past(module.eval())
