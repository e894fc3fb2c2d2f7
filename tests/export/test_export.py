"""Exports with the real exporters: interface, provenance, verification, refusals; nothing is written on failure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers
from click.testing import CliRunner

from onnxfix.cli.commands.export import command
from onnxfix.eval.demo.model import MultiHeadClassifier
from onnxfix.eval.inputs.feeds import as_feed
from onnxfix.eval.numerics.compare import compare
from onnxfix.eval.run.engines.pytorch import TorchRunner
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.export.models.build import load_torch
from onnxfix.export.models.checkpoint import Checkpoint
from onnxfix.export.models.transformers_model import from_transformers
from onnxfix.export.run import export
from onnxfix.export.spec import ExportFailure, ExportResult, ExportSpec
from onnxfix.export.workarounds.optimizer_failure import optimize_or_keep
from onnxfix.flows.export import export as in_python
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import Provenance

SIZES = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}


@dataclass
class Exported:
    result: ExportResult
    model: Model
    provenance: Provenance


def saved(folder: Path, architecture: str, config: Any) -> Path:
    torch.manual_seed(0)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    return folder


def run(**options: Any) -> Exported:
    result = export(ExportSpec(**options))
    model = Model.open(result.path)
    provenance = Provenance.read(model.ir)
    assert provenance is not None
    return Exported(result, model, provenance)


@pytest.fixture(scope="module")
def modernbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = {0: "finance", 1: "law", 2: "science"}
    config = transformers.ModernBertConfig(**SIZES, **SPECIAL, max_position_embeddings=600, id2label=labels)
    return saved(tmp_path_factory.mktemp("modernbert"), "ModernBertForSequenceClassification", config)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = transformers.BertConfig(**SIZES, max_position_embeddings=64)
    return saved(tmp_path_factory.mktemp("bert"), "BertForTokenClassification", config)


@pytest.fixture(scope="module")
def dynamo(modernbert: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return run(checkpoint=modernbert, output=tmp_path_factory.mktemp("out") / "dynamo.onnx", exporter="auto")


@pytest.fixture(scope="module")
def unoptimized(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    output = tmp_path_factory.mktemp("out") / "unoptimized.onnx"
    return run(checkpoint=bert, output=output, exporter="dynamo", optimize=False, attn="eager")


@pytest.fixture(scope="module")
def legacy(modernbert: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return run(checkpoint=modernbert, output=tmp_path_factory.mktemp("out") / "legacy.onnx", exporter="legacy")


@pytest.fixture(params=["dynamo", "unoptimized", "legacy"])
def any_export(request: pytest.FixtureRequest) -> Exported:
    exported: Exported = request.getfixturevalue(request.param)
    return exported


def test_interface_is_named_and_dynamic(any_export: Exported) -> None:
    graph = any_export.model.graph
    for value in graph.inputs:
        assert value.shape is not None
        assert [str(d) for d in value.shape] == ["batch", "sequence"]
    assert [v.name for v in graph.outputs] == ["logits"]
    shape = graph.outputs[0].shape
    assert shape is not None
    assert str(shape[0]) == "batch"


def test_verified_on_three_batches_of_different_shape(any_export: Exported) -> None:
    comparison = any_export.result.comparison
    assert comparison is not None
    assert [d.feed for d in comparison.differences] == ["unpadded", "padded", "long"]
    assert len({d.shape for d in comparison.differences}) == 3
    assert comparison.rel_l2 < 1e-5
    assert any_export.provenance.verified.startswith("ONNX Runtime and torch")


def test_the_long_batch_respects_the_position_table(unoptimized: Exported, dynamo: Exported) -> None:
    def longest(exported: Exported) -> int:
        assert exported.result.comparison is not None
        return max(d.shape[1] for d in exported.result.comparison.differences)

    assert longest(unoptimized) == 64
    assert longest(dynamo) == 3, "sequence classification: (batch, labels)"


def test_exporters_and_notes(dynamo: Exported, unoptimized: Exported, legacy: Exported) -> None:
    names = [e.provenance.exporter for e in (dynamo, unoptimized, legacy)]
    assert names == ["dynamo", "dynamo optimize=False", "legacy"]
    assert [e.result.exporter for e in (dynamo, unoptimized, legacy)] == names
    assert not any(e.result.notes for e in (dynamo, unoptimized, legacy))


def test_segments_are_an_input_only_where_the_model_has_them(dynamo: Exported, unoptimized: Exported) -> None:
    assert dynamo.result.inputs == ("input_ids", "attention_mask")
    assert unoptimized.result.inputs == ("input_ids", "attention_mask", "token_type_ids")


def test_provenance_leads_back_to_the_same_torch_model(any_export: Exported) -> None:
    provenance = any_export.provenance
    assert Path(provenance.checkpoint).is_absolute()
    assert len(provenance.checkpoint_sha256) == 64
    assert set(provenance.versions) == {"torch", "transformers", "onnx", "onnxruntime", "onnxscript"}
    module, inputs, outputs = load_torch(provenance)
    assert (tuple(inputs), tuple(outputs)) == (provenance.inputs, provenance.outputs)
    feeds = [as_feed(any_export.model, str(i), arrays) for i, arrays in enumerate(provenance.feeds)]
    assert len(feeds) == 2
    runner = OrtRunner(any_export.result.path)
    assert compare(TorchRunner(module, outputs), runner, feeds).within(1e-5)


def test_labels_and_attention_are_recorded(dynamo: Exported, unoptimized: Exported) -> None:
    assert dynamo.provenance.labels == {"logits": ["finance", "law", "science"]}
    assert dynamo.provenance.attn == "sdpa"
    assert unoptimized.provenance.attn == "eager"


def test_node_scopes_stay_and_machine_paths_go(dynamo: Exported) -> None:
    keys = {key for node in dynamo.model.nodes() for key in node.metadata_props}
    assert "pkg.torch.onnx.name_scopes" in keys
    assert b"site-packages" not in dynamo.result.path.read_bytes()


def test_a_changed_checkpoint_is_not_mistaken_for_the_exported_one(legacy: Exported) -> None:
    stale = Provenance(**{**legacy.provenance.__dict__, "checkpoint_sha256": "0" * 64})
    with pytest.raises(OnnxfixError, match="changed since"):
        load_torch(stale)


def planted(name: str, folder: Path, **options: Any) -> Exported:
    return run(factory=f"planted_modules:{name}", output=folder / "model.onnx", **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FrozenLength", "does not run on feed 'padded'"),
        ("FrozenBatch", "feed 'padded' has another shape"),
        ("IgnoresTheMask", "dropped input attention_mask"),
        ("FrozenDivisor", "differs by"),
    ],
)
def test_a_frozen_axis_is_caught_and_nothing_written(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportFailure, match=message) as caught:
        planted(name, tmp_path, exporter="legacy")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_verification_it_is_written_and_says_so(tmp_path: Path) -> None:
    exported = planted("FrozenLength", tmp_path, exporter="legacy", verify=False)
    assert exported.provenance.verified == "unverified"
    assert exported.result.comparison is None


def test_auto_falls_back_to_legacy_and_keeps_the_reason(tmp_path: Path) -> None:
    exported = planted("HarmlessBranch", tmp_path)
    assert exported.result.exporter == "legacy"
    (note,) = exported.provenance.notes
    assert note.startswith("dynamo given up: the dynamo exporter failed: ")
    assert "data-dependent" in note


def test_auto_fails_when_the_fallback_disagrees_with_torch(tmp_path: Path) -> None:
    with pytest.raises(
        ExportFailure, match=r"dynamo exporter failed.*legacy: the export disagrees with torch.*'unpadded'"
    ):
        planted("HarmfulBranch", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_torch_itself_refusing_a_batch_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ExportFailure, match="torch itself fails on feed 'unpadded, batch of 3'"):
        planted("OnlyTwoRows", tmp_path, exporter="legacy")


def test_any_module_with_its_own_example(tmp_path: Path) -> None:
    exported = planted("pixels", tmp_path, exporter="dynamo")
    assert exported.result.outputs == ("features", "brightness")
    assert exported.result.comparison is not None
    assert {d.feed for d in exported.result.comparison.differences} == {"example", "random-2", "random-3"}
    module, _, outputs = load_torch(exported.provenance)
    assert list(TorchRunner(module, outputs).run({"pixel_values": np.ones((2, 3, 16, 16), np.float32)})) == outputs


def test_a_factory_gets_the_checkpoint(bert: Path, tmp_path: Path) -> None:
    exported = planted("from_checkpoint", tmp_path, checkpoint=bert, exporter="legacy")
    assert exported.provenance.checkpoint == str(bert)
    assert exported.result.outputs == ("output",)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("planted_modules", "module:function"),
        ("planted_modules:absent", "no function absent"),
        ("no_such_module_here:f", "no_such_module_here"),
        ("planted_modules:nothing", "returned int"),
        ("planted_modules:raising", "no such weights"),
        ("planted_modules:from_checkpoint", "takes a checkpoint path"),
    ],
)
def test_bad_factories_are_one_line(factory: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxfixError, match=message):
        export(ExportSpec(factory=factory, output=tmp_path / "model.onnx"))
    assert list(tmp_path.iterdir()) == []


def edited(checkpoint: Path, folder: Path, **changes: Any) -> Path:
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.Mine"}}, "auto_map"),
        ({"architectures": ["NoSuchModel"]}, "no class NoSuchModel"),
        ({"architectures": ["BertForSequenceClassification"], "num_labels": 7}, "lack|cannot load"),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
    ],
)
def test_bad_checkpoints_are_one_line(changes: dict[str, Any], message: str, bert: Path, tmp_path: Path) -> None:
    folder = edited(bert, tmp_path, **changes)
    with pytest.raises(OnnxfixError, match=message):
        export(ExportSpec(checkpoint=folder, output=tmp_path / "model.onnx"))
    assert not (tmp_path / "model.onnx").exists()


def test_pickled_weights_are_refused(bert: Path, tmp_path: Path) -> None:
    folder = edited(bert, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(OnnxfixError, match=r"pytorch_model\.bin.*safe_serialization"):
        export(ExportSpec(checkpoint=folder, output=tmp_path / "model.onnx"))


def test_a_missing_checkpoint_and_an_existing_output(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(OnnxfixError, match="does not exist"):
        export(ExportSpec(checkpoint=tmp_path / "absent", output=tmp_path / "model.onnx"))
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(OnnxfixError, match="force=True"):
        export(ExportSpec(checkpoint=bert, output=tmp_path / "model.onnx"))
    assert (tmp_path / "model.onnx").read_text() == "mine"


def test_sentence_transformers_pool_and_normalise(tmp_path: Path) -> None:
    config = transformers.BertConfig(**SIZES, max_position_embeddings=64)
    folder = saved(tmp_path / "st", "BertModel", config)
    modules = [{"type": f"sentence_transformers.models.{k}", "path": p} for k, p in
               (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    exported = run(checkpoint=folder, output=tmp_path / "model.onnx", exporter="legacy")
    assert exported.result.outputs == ("sentence_embedding",)
    feed = as_feed(exported.model, "sample", exported.provenance.feeds[1])
    embedding = OrtRunner(exported.result.path).run(feed.arrays)["sentence_embedding"]
    assert np.allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)


def test_every_head_of_a_multi_head_classifier_is_an_output(tmp_path: Path) -> None:
    heads = {"category": ["finance", "law", "science"], "spec": ["broad", "narrow"]}
    config = transformers.ModernBertConfig(**SIZES, **SPECIAL, max_position_embeddings=600)
    MultiHeadClassifier.from_config(config, heads).save(tmp_path / "heads")
    exported = run(checkpoint=tmp_path / "heads", output=tmp_path / "model.onnx", exporter="legacy")
    assert [v.name for v in exported.model.graph.outputs] == ["category", "spec"]
    assert exported.provenance.labels == heads
    assert load_torch(exported.provenance)[2] == ["category", "spec"]


def test_the_graph_survives_a_failing_optimizer() -> None:
    identity = ir.node("Identity", inputs=[ir.val("x", ir.DataType.FLOAT, [2])])
    x = identity.inputs[0]
    assert x is not None
    # A function that calls itself: forbidden by the specification, and the optimizer's InlinePass raises on it.
    body_input = ir.val("a")
    call = ir.node("Recursive", inputs=[body_input], domain="custom")
    body = ir.Graph([body_input], call.outputs, nodes=[call], opset_imports={"": 18, "custom": 1})
    function = ir.Function("custom", "Recursive", graph=body, attributes=[])
    top = ir.node("Recursive", inputs=identity.outputs, domain="custom")
    graph = ir.Graph([x], top.outputs, nodes=[identity, top], opset_imports={"": 18, "custom": 1}, name="g")
    program = torch.onnx.ONNXProgram(ir.Model(graph, ir_version=10, functions=[function]), None)
    before = ir.to_proto(program.model).SerializeToString(deterministic=True)
    reason = optimize_or_keep(program)
    assert reason
    assert "\n" not in reason
    assert ir.to_proto(program.model).SerializeToString(deterministic=True) == before


def test_command_prints_one_json_document(bert: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    arguments = [str(bert), "-o", str(output), "--exporter", "legacy", "--format", "json"]
    outcome = CliRunner().invoke(command, arguments, standalone_mode=False)
    document = json.loads(outcome.stdout)
    assert document["schema"] == "onnxfix.export/1"
    assert document["comparison"]["rel_l2"] < 1e-5
    assert outcome.stderr == ""
    assert outcome.return_value == 0


def test_command_prints_a_short_text(tmp_path: Path) -> None:
    arguments = ["--factory", "planted_modules:Encoder", "-o", str(tmp_path / "m.onnx"), "--exporter", "legacy"]
    outcome = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert outcome.exception is None
    assert "relative L2 error" in outcome.stdout
    assert "onnxfix diagnose" in outcome.stdout


DECODERS = {
    "GPT2LMHeadModel": ("past_key_values", lambda: transformers.GPT2Config(
        vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=64)),
    "LlamaForCausalLM": ("past_key_values", lambda: transformers.LlamaConfig(**SIZES, max_position_embeddings=64)),
    "MambaForCausalLM": ("cache_params", lambda: transformers.MambaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, state_size=4)),
}  # fmt: skip


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_cache_that_is_left_out_is_said(architecture: str, tmp_path: Path) -> None:
    name, config = DECODERS[architecture]
    (note,) = from_transformers(Checkpoint.open(saved(tmp_path, architecture, config())), "").notes
    assert f"left out of the file: {name}, so that each new token is computed with all before it" in note
    assert "factory" in note, "the way out"


def test_who_has_no_cache_says_nothing_of_it(modernbert: Path, tmp_path: Path) -> None:
    config = transformers.BertConfig(**SIZES, max_position_embeddings=64)  # whose use_cache is True as well
    bert = saved(tmp_path, "BertForSequenceClassification", config)
    for folder in (modernbert, bert):
        assert from_transformers(Checkpoint.open(folder), "").notes == ()


def test_the_note_reaches_the_result_and_the_file(tmp_path: Path) -> None:
    """Of a module in memory, whose cache is a tuple of its outputs' own."""
    torch.manual_seed(0)
    module = transformers.GPT2LMHeadModel(DECODERS["GPT2LMHeadModel"][1]()).eval()
    example = {"input_ids": torch.ones(2, 7, dtype=torch.int64)}
    made = in_python(module, example=example, output=tmp_path / "m.onnx", exporter="legacy", verify=False)
    assert any("left out of the file: past_key_values" in note for note in made.notes)
    assert list(made.outputs) == ["logits"]
    record = Provenance.read(Model.open(made.path).ir)
    assert record is not None and "factory='module:function'" in record.notes[0]
    assert ("note", made.notes[0]) in made.lines()
