"""Folders as libraries load them: which files, under which names, what is refused; graphs that answer as torch does.

The libraries themselves load such folders in `tools/layouts.py`, which makes environments for them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import transformers
from click.testing import CliRunner
from tokenizers import Tokenizer, models

from onnxfix.cli.commands.export import command as export_command
from onnxfix.cli.commands.repair import command as repair_command
from onnxfix.export.layouts.layout import named
from onnxfix.export.layouts.made import Made
from onnxfix.export.layouts.operators import beyond_the_standard
from onnxfix.export.models.build import load_torch
from onnxfix.flows.export import Exported, export
from onnxfix.flows.repair.asked import repair
from onnxfix.flows.repair.fastest.asked import optimize
from onnxfix.flows.repair.repaired import Repaired
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import Provenance

SIZES = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = {"config.json", "tokenizer.json", "tokenizer_config.json"}
POOLED = {"modules.json", "sentence_bert_config.json", "1_Pooling/config.json"}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def answers(graph: Path, **inputs: Any) -> list[Any]:
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = {each.name for each in session.get_inputs()}
    return list(session.run(None, {name: array for name, array in inputs.items() if name in names}))


def rows() -> dict[str, Any]:
    ids = np.arange(14, dtype=np.int64).reshape(2, 7) + 3
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def torchs(checkpoint: Path, kind: Any, output: str) -> Any:
    module = kind.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        return module(**{name: torch.from_numpy(array) for name, array in rows().items()})[output].numpy()


def saved(folder: Path, kind: Any, config: Any) -> Path:
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    Tokenizer(models.WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    for stranger in ("modeling.py", "pytorch_model.bin", "training_args.bin", "notes.txt"):
        (folder / stranger).write_text("not asked for")
    return folder


@dataclass
class Laid:
    checkpoint: Path
    folder: Path
    result: Exported


def laid(checkpoint: Path, layout: Any, folder: Path, **more: Any) -> Laid:
    return Laid(checkpoint, folder, export(checkpoint, layout=layout, output=folder, exporter="legacy", **more))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = transformers.BertConfig(**SIZES, max_position_embeddings=64)
    return saved(tmp_path_factory.mktemp("classifier"), transformers.BertForSequenceClassification, config)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = transformers.BertConfig(**SIZES, max_position_embeddings=64)
    folder = saved(tmp_path_factory.mktemp("sentences"), transformers.BertModel, config)
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [{"path": p, "type": f"sentence_transformers.models.{k}"} for k, p in zip(kinds, paths, strict=True)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 64}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


@pytest.fixture(scope="module")
def for_optimum(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Laid:
    return laid(classifier, "optimum", tmp_path_factory.mktemp("out") / "served")


@pytest.fixture(scope="module")
def for_sentences(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Laid:
    return laid(sentences, "sentence-transformers", tmp_path_factory.mktemp("out") / "served")


@pytest.fixture(scope="module")
def for_the_web(for_optimum: Laid, tmp_path_factory: pytest.TempPathFactory) -> Laid:
    """All that has a name there, of one export."""
    folder, layout = tmp_path_factory.mktemp("out") / "served", "transformers.js"
    source = for_optimum.result.path
    how: dict[str, Any] = {"layout": layout, "output": folder, "verify": False}  # what they answer is tested here
    repair(source, precision="fp32", target="cpu", **how)
    repair(source, precision="fp16", **how)
    repair(source, int8="dynamic", **how)
    for bits, precision in ((8, "fp32"), (4, "fp32"), (4, "fp16")):
        repair(source, int8="weight-only", bits=bits, precision=precision, **how)
    return Laid(for_optimum.checkpoint, folder, for_optimum.result)


def test_a_folder_for_optimum_holds_what_it_reads_and_nothing_else(for_optimum: Laid) -> None:
    assert files(for_optimum.folder) == {"model.onnx", *TEXT}
    for name in TEXT:
        assert (for_optimum.folder / name).read_bytes() == (for_optimum.checkpoint / name).read_bytes()
    assert [path.name for path in for_optimum.folder.parent.iterdir()] == ["served"]
    (logits,) = answers(for_optimum.folder / "model.onnx", **rows())
    expected = torchs(for_optimum.checkpoint, transformers.BertForSequenceClassification, "logits")
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert for_optimum.result.loads == f"ORTModelForSequenceClassification.from_pretrained('{for_optimum.folder}')"
    said = for_optimum.result.as_dict()["layout"]
    assert (said["name"], said["folder"], said["files"]) == ("optimum", str(for_optimum.folder), sorted(TEXT))


def test_sentence_transformers_pools_by_itself(for_sentences: Laid) -> None:
    folder = for_sentences.folder
    assert files(folder) == {"onnx/model.onnx", *TEXT, *POOLED}
    assert for_sentences.result.outputs == ("last_hidden_state", "pooler_output")
    hidden, _ = answers(folder / "onnx" / "model.onnx", **rows())
    expected = torchs(for_sentences.checkpoint, transformers.BertModel, "last_hidden_state")
    np.testing.assert_allclose(hidden, expected, atol=1e-5)
    recorded = Provenance.read(Model.open(for_sentences.result.path).ir)
    assert recorded is not None
    assert load_torch(recorded)[2] == list(for_sentences.result.outputs), (
        "torch's side of a bench is the transformer alone, too"
    )


@pytest.fixture(scope="module")
def joined(for_sentences: Laid, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Repaired, Repaired]:
    """The folder with what repair and optimize make of the graph in it."""
    folder = shutil.copytree(for_sentences.folder, tmp_path_factory.mktemp("joined") / "served")
    source, how = folder / "onnx" / "model.onnx", {"layout": "sentence-transformers", "output": folder}
    quantized = repair(source, int8="dynamic", verify=False, **how)  # type: ignore[arg-type]
    return folder, quantized, optimize(source, **how)  # type: ignore[arg-type]


def test_results_of_repair_and_optimize_join_the_folder(
    for_sentences: Laid, joined: tuple[Path, Repaired, Repaired]
) -> None:
    folder, quantized, fastest = joined
    names = {"onnx/model_qint8.onnx", "onnx/model_fastest.onnx"}
    assert files(folder) == files(for_sentences.folder) | names
    assert {str(done.output) for done in (quantized, fastest)} == {str(folder / name) for name in names}
    assert "model_kwargs={'file_name': 'onnx/model_qint8.onnx'}" in quantized.outcome.notes[-1]
    expected = torchs(for_sentences.checkpoint, transformers.BertModel, "last_hidden_state")
    hidden, _ = answers(folder / "onnx" / "model_fastest.onnx", **rows())
    real = rows()["attention_mask"] == 1
    np.testing.assert_allclose(hidden[real], expected[real], atol=1e-5)


WEB = {
    "model": 1e-5,
    "model_fp16": 5e-3,
    "model_quantized": 0.1,
    "model_int8": 0.05,
    "model_q4": 0.5,
    "model_q4f16": 0.5,
}
"""Files by what they hold, and the largest relative error of their logits."""


def test_the_web_finds_each_type_of_numbers_by_its_name(for_the_web: Laid) -> None:
    assert files(for_the_web.folder) == {*TEXT, *(f"onnx/{name}.onnx" for name in WEB)}
    expected = torchs(for_the_web.checkpoint, transformers.BertForSequenceClassification, "logits")
    for name, limit in WEB.items():
        (logits,) = answers(for_the_web.folder / "onnx" / f"{name}.onnx", **rows())
        assert np.linalg.norm(logits - expected) <= limit * np.linalg.norm(expected), name
        assert logits.dtype == np.float32
    config = (for_the_web.folder / "config.json").read_bytes()
    assert config == (for_the_web.checkpoint / "config.json").read_bytes(), "nothing lies outside a graph"


def test_the_web_is_told_of_weights_beside_a_graph(for_optimum: Laid, for_the_web: Laid, tmp_path: Path) -> None:
    source = tmp_path / "large.onnx"
    onnx.save(onnx.load(for_optimum.result.path), source, save_as_external_data=True, location="large.onnx.data")
    folder = tmp_path / "served"
    how: dict[str, Any] = {"layout": "transformers.js", "output": folder, "verify": False}
    repair(source, precision="fp32", target="cpu", **how)
    repair(source, precision="fp16", **how)
    graphs = {"onnx/model.onnx", "onnx/model_fp16.onnx"}
    assert files(folder) == {*TEXT, *graphs, *(f"{name}_data" for name in graphs)}
    config = json.loads((folder / "config.json").read_text())
    said = config.pop("transformers.js_config")
    assert said == {"use_external_data_format": {"model.onnx": 1, "model_fp16.onnx": 1}}
    assert config == json.loads((for_optimum.checkpoint / "config.json").read_text())
    for name in graphs:
        (logits,) = answers(folder / name, **rows())
        (expected,) = answers(for_the_web.folder / name, **rows())
        np.testing.assert_allclose(logits, expected, atol=1e-6)
    repair(source, precision="fp16", **how, force=True)
    assert answers(folder / "onnx" / "model_fp16.onnx", **rows())


@pytest.mark.parametrize(
    ("layout", "more", "said"),
    [
        ("transformers.js", {"precision": "bf16"}, "transformers.js has no name for bf16"),
        ("transformers.js", {"io_types": "half"}, "transformers.js gives its inputs in fp32"),
        ("sentence-transformers", {}, "has no modules.json: nothing says how"),
        ("onnxruntime", {}, "layout='onnxruntime' is not known"),
        ("optimum", {"output": None}, "layout='optimum' makes a folder"),
        ("optimum", {"output": "served.onnx"}, "layout='optimum' makes a folder"),
    ],
)
def test_what_no_library_would_load_is_refused(
    for_optimum: Laid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Any, more: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OnnxfixError, match=said):
        repair(for_optimum.result.path, **{"layout": layout, "output": "served", "precision": "fp16", **more})
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_but_by_force(for_optimum: Laid, tmp_path: Path) -> None:
    source, folder = for_optimum.result.path, tmp_path / "served"
    how: dict[str, Any] = {"layout": "optimum", "output": folder, "precision": "fp16", "verify": False}
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(OnnxfixError, match=r"config\.json exists already and says something else; use force=True"):
        repair(source, **how)
    assert files(folder) == {"config.json"}
    repair(source, **how, force=True)
    assert files(folder) == {"model.onnx", *TEXT}
    before = (folder / "model.onnx").read_bytes()
    with pytest.raises(OnnxfixError, match=r"model\.onnx exists already; use force=True"):
        repair(source, **how)
    assert (folder / "model.onnx").read_bytes() == before
    with pytest.raises(OnnxfixError, match="is the source model"):
        repair(folder / "model.onnx", **how | {"precision": "fp32"}, force=True)


def test_a_result_that_errs_leaves_a_folder_as_it_was(for_optimum: Laid, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    how: dict[str, Any] = {"layout": "transformers.js", "output": folder, "int8": "dynamic", "max_error": 1e-9}
    with pytest.raises(OnnxfixError, match="differs"):
        repair(for_optimum.result.path, **how)
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(OnnxfixError, match="differs"):
        repair(for_optimum.result.path, **how)
    assert not list(folder.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_a_checkpoint_gets_its_graph_beside_it(for_sentences: Laid, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(for_sentences.checkpoint, tmp_path / "own")
    before = {name: (checkpoint / name).read_bytes() for name in files(checkpoint)}
    source = for_sentences.result.path
    how: dict[str, Any] = {"layout": "sentence-transformers", "output": checkpoint, "checkpoint": checkpoint}
    repair(source, precision="fp32", target="cpu", verify=False, **how)
    assert files(checkpoint) == {*before, "onnx/model.onnx"}
    assert {name: (checkpoint / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", "{", "cannot be read as JSON"),
        ("config.json", "{}", "names no model_type"),
        ("config.json", '{"model_type": "bert", "auto_map": {"AutoModel": "m.M"}}', "names code of its own"),
        ("modules.json", '[{"type": "custom.Module", "path": ""}]', "names code of its own \\(custom.Module\\)"),
        ("modules.json", '[{"type": "sentence_transformers.models.Dense", "path": "../x"}]', "which is none of"),
        ("modules.json", '{"type": "none"}', "is no list of modules"),
        ("1_Pooling/pytorch_model.bin", "pickle", "holds its weights only as pytorch_model.bin"),
        ("tokenizer.json", None, "has no tokenizer"),
    ],
)
def test_a_bad_checkpoint_is_one_line(
    for_sentences: Laid, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    checkpoint = shutil.copytree(for_sentences.checkpoint, tmp_path / "bad")
    if text is None:
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_text(text)
    how: dict[str, Any] = {"layout": "sentence-transformers", "output": tmp_path / "served", "checkpoint": checkpoint}
    with pytest.raises(OnnxfixError, match=said) as raised:
        repair(for_sentences.result.path, **how)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "served").exists()


def test_a_pooled_graph_is_told_how_to_become_one_of_tokens(sentences: Path, tmp_path: Path) -> None:
    pooled = export(sentences, output=tmp_path / "model.onnx", exporter="legacy", verify=False)
    assert pooled.outputs == ("sentence_embedding",)
    with pytest.raises(OnnxfixError, match="gives sentence_embedding alone, and optimum pools by itself"):
        repair(pooled.path, layout="optimum", output=tmp_path / "served")


def test_a_decoder_comes_with_what_generates(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=1, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    checkpoint = saved(tmp_path / "llama", transformers.LlamaForCausalLM, config)
    done = laid(checkpoint, "optimum", tmp_path / "served", task="text-generation-with-past")
    assert files(done.folder) == {"model.onnx", "generation_config.json", *TEXT}
    assert done.result.loads == f"ORTModelForCausalLM.from_pretrained('{done.folder}')"
    how: dict[str, Any] = {"layout": "transformers.js", "output": tmp_path / "web", "verify": False}
    web = repair(done.result.path, precision="fp32", target="cpu", **how)
    for graph, batch in ((done.result.path, "batch"), (web.output, "batch_size")):
        # transformers.js makes an empty cache by this name
        shapes = {str(value.shape[0]) for value in Model.open(graph or "").graph.inputs if value.shape}
        assert shapes == {batch}
    layout, outputs = named("optimum"), ["logits"]
    architecture = {"architectures": ["LlamaForCausalLM"]}
    assert "use_cache=False" in layout.loads("served", Made(), outputs, architecture, past=False)
    with pytest.raises(OnnxfixError, match="generates with a cache of keys and values, which the model does not take"):
        export(checkpoint, layout="transformers.js", output=tmp_path / "no-cache")
    assert not (tmp_path / "no-cache").exists()


def test_operators_that_the_web_may_lack_are_noted(
    for_optimum: Laid, for_the_web: Laid, joined: tuple[Path, Repaired, Repaired], tmp_path: Path
) -> None:
    source = tmp_path / "model.onnx"
    text = """<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        g (float[b,4] logits_in) => (float[b,4] logits) { logits = com.microsoft.QuickGelu(logits_in) }"""
    onnx.save(onnx.parser.parse_model(text), source)
    how: dict[str, Any] = {"layout": "transformers.js", "checkpoint": for_optimum.checkpoint}
    odd = repair(source, precision="fp32", target="cpu", output=tmp_path / "odd", verify=False, **how)
    assert any("com.microsoft.QuickGelu may not be in the web's runtime" in note for note in odd.outcome.notes)
    weights = Model.open(for_the_web.folder / "onnx" / "model_q4.onnx")
    for ours in (Model.open(joined[2].output or ""), weights):
        used = beyond_the_standard(ours)
        assert used
        assert not named("transformers.js").lacks(used)


def test_the_commands_name_what_they_wrote(for_optimum: Laid, classifier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    arguments = [str(classifier), "--layout", "optimum", "--exporter", "legacy", "--no-verify"]
    done = CliRunner().invoke(export_command, [*arguments, "-o", str(folder)], standalone_mode=False)
    assert done.exception is None, done.output
    assert "beside     config.json, tokenizer.json, tokenizer_config.json" in done.output
    refused = CliRunner().invoke(export_command, arguments, standalone_mode=False)
    assert isinstance(refused.exception, OnnxfixError)
    assert "makes a folder" in str(refused.exception)
    web = [
        str(folder / "model.onnx"),
        "--layout",
        "transformers.js",
        "-o",
        str(tmp_path / "web"),
        "--int8",
        "dynamic",
        "--no-verify",
    ]
    repaired = CliRunner().invoke(repair_command, web, standalone_mode=False)
    assert repaired.exception is None, repaired.output
    assert "dtype: 'q8'" in "".join(repaired.output.split("\n"))
    assert files(tmp_path / "web") == {*TEXT, "onnx/model_quantized.onnx"}
