"""The benchmarks' Llama graph is a Llama and is forecast as the runtime plans it; the scripts start."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from oracle.compare import differences
from oracle.runtime import Oracle

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZES = {"layers": 2, "hidden": 64, "intermediate": 160, "heads": 4, "vocabulary": 100}
NODES = {"legacy": 29 + 2 * 78, "dynamo": 29 + 2 * 62}
FLOAT16 = onnx.TensorProto.FLOAT16


@pytest.fixture(params=list(NODES))
def exporter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(folder: Path, exporter: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> tuple[Path, int]:
    """A tiny graph, by the scripts' own writer: they import each other as scripts do, from their folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import llama_graph  # type: ignore[import-not-found]

    path, parameters = llama_graph.write(folder, llama_graph.Shape(**SIZES, exporter=exporter, **more))
    return path, parameters


def logits(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


@pytest.mark.parametrize("more", [{}, {"elem_type": FLOAT16}], ids=["fp32", "fp16"])
def test_graph_is_valid_and_its_hole_reads_as_zeros(
    exporter: str, more: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = written(tmp_path, exporter, monkeypatch, **more)
    onnx.checker.check_model(str(path), full_check=True)
    assert len(onnx.load(path, load_external_data=False).graph.node) == NODES[exporter] + (2 if more else 0)
    assert (tmp_path / "llama.onnx.data").stat().st_blocks == 0
    ones = np.ones((2, 5), dtype=np.int64)
    out = logits(path, {"input_ids": ones, "attention_mask": ones})
    assert out.shape == (2, 5, SIZES["vocabulary"])
    assert not out.any()


def test_graph_computes_what_transformers_llama_computes(
    exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=SIZES["vocabulary"],
        hidden_size=SIZES["hidden"],
        intermediate_size=SIZES["intermediate"],
        num_hidden_layers=SIZES["layers"],
        num_attention_heads=SIZES["heads"],
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
    )
    llama = transformers.LlamaForCausalLM(config).eval()
    for parameter in llama.parameters():  # as made, logits hardly depend on attention
        torch.nn.init.normal_(parameter, std=1.6 / parameter.shape[-1] ** 0.5)
    path, parameters = written(tmp_path, exporter, monkeypatch)
    assert parameters == sum(p.numel() for p in llama.parameters())
    _fill(path, {name: p.detach().numpy() for name, p in llama.named_parameters()})
    ids = torch.randint(0, SIZES["vocabulary"], (2, 12))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0  # on the left: padding on the right is behind every token, so the causal mask would hide it
    with torch.no_grad():
        expected = llama(input_ids=ids, attention_mask=mask).logits.numpy()
    real = mask.numpy().astype(bool)
    out = logits(path, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    assert np.linalg.norm((out - expected)[real]) < 1e-5 * np.linalg.norm(expected[real])


def _fill(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Write weights into the hole; every tensor there must be one of them."""
    with path.with_name(path.name + ".data").open("r+b") as file:
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                weight = weights.pop(tensor.name)
                assert list(weight.shape) == list(tensor.dims)
                file.seek(next(int(entry.value) for entry in tensor.external_data if entry.key == "offset"))
                file.write(weight.tobytes())
    assert not weights


def test_graph_is_forecast_as_the_runtime_plans_it(
    oracle: Oracle, exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = written(tmp_path, exporter, monkeypatch)
    plan = forecast(Model.open(path), Target.resolve("cuda"))
    assert differences(plan, oracle.plan(path)) == []
    assert len(plan.copies) == 0


def test_llama_7b_measures_a_tiny_model(exporter: str, tmp_path: Path) -> None:
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    done = started("llama_7b.py", *sizes, "--runs", "1", "--exporter", exporter, "--keep", str(tmp_path))
    assert done.stderr == ""
    assert f" {NODES[exporter]} nodes" in done.stdout
    assert " 0 copies; exit code 0" in done.stdout
    assert {file.name for file in tmp_path.iterdir()} == {"llama.onnx", "llama.onnx.data"}


def test_diagnose_cost_measures_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = written(tmp_path, "legacy", monkeypatch)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    done = started("diagnose_cost.py", str(path), "--runs", "1")
    assert done.stderr == ""
    row = next(line for line in done.stdout.splitlines() if line.startswith("llama.onnx")).split()
    assert row[-3:-1] == ["0", "0"]
    assert all(float(number) > 0 for number in row[2:-3])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("script", ["diagnose_cost.py", "llama_7b.py", "int8_speed.py"])
def test_help(script: str) -> None:
    done = started(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "llama.onnx.data"
    weights.write_bytes(b"weights of a real model")
    assert started("llama_7b.py", "--keep", str(tmp_path)).returncode == 2
    assert weights.read_bytes() == b"weights of a real model"
    assert started("diagnose_cost.py", "absent.onnx").returncode == 2
    assert started("llama_7b.py", "--heads", "3").returncode == 2


def started(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member of the zoo whose angles every other converter rounds, and one without any."""
    pytest.importorskip("transformers")
    from zoo.architectures import BY_NAME
    from zoo.make import export

    folder = tmp_path_factory.mktemp("zoo")
    assert all(export(BY_NAME[name], "legacy", folder) for name in ("modernbert", "bert"))
    return folder


def test_precision_zoo_tells_right_results_from_wrong_ones(zoo: Path, tmp_path: Path) -> None:
    told = tmp_path / "figures.json"
    done = started("precision_zoo.py", str(zoo), "--only", "modernbert", "bert", "--json", str(told))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "onnxfix 2 of 2 right" in lines
    assert any(line.startswith("modelopt not installed") for line in lines)
    rows = {(row["member"], row["converter"]): row for row in json.loads(told.read_text())["rows"]}
    assert {converter for _, converter in rows} == {"onnxfix", "onnxconverter-common", "onnxruntime"}
    assert not any(row["wrong"] for (member, _), row in rows.items() if member == "bert-legacy")
    kinds = {
        name: [kind for kind, _ in rows["modernbert-legacy", name]["wrong"]] for name in ("onnxfix", "onnxruntime")
    }
    assert kinds["onnxfix"] == []
    assert set(kinds["onnxruntime"]) == {"error"}  # its angles are in half: it loads, and is wrong
    assert rows["modernbert-legacy", "onnxconverter-common"]["wrong"][0][0] == "does not load"
    figures = rows["modernbert-legacy", "onnxfix"]["figures"]
    assert list(figures["rel_l2"]["emulated"]) == ["padded", "300", "2048"]
    assert (figures["half"], figures["single"]) == (figures["products"], 0)
    assert figures["products"] > 20


def test_precision_zoo_says_what_it_has_not_measured(zoo: Path, tmp_path: Path) -> None:
    done = started("precision_zoo.py", str(zoo), "--only", "gpt2")
    assert done.returncode == 2
    assert "gpt2-dynamo, gpt2-unoptimized, gpt2-legacy" in done.stdout
    assert started("precision_zoo.py", str(zoo), "--only", "gpt7").returncode == 2
    assert started("precision_zoo.py", str(zoo), "--modelopt-python", sys.executable).returncode == 2
    (tmp_path / "bert-legacy.onnx").write_bytes((zoo / "bert-legacy.onnx").read_bytes()[:5000])
    done = started("precision_zoo.py", str(tmp_path), "--only", "bert", "--converters", "onnxfix")
    assert done.returncode == 1
    assert "onnxfix 0 of 1 right: 1 crash" in done.stdout


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ModernBERT of two layers whose linears are wide enough to be worth quantizing."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    words = {
        "vocab_size": 600,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config = transformers.ModernBertConfig(**sizes, **words, max_position_embeddings=64, local_attention=8)
    folder = tmp_path_factory.mktemp("classifier")
    transformers.ModernBertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_int8_speed_times_everything_in_one_run(classifier: Path) -> None:
    done = started(
        "int8_speed.py", str(classifier), "--exporter", "legacy", "--rounds", "2", "--batch", "2", "--tokens", "16",
        "--threads", "1",
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr  # a model this small says nothing about the target
    lines = [line for line in done.stdout.splitlines() if line]
    figures = {}
    for exporter in ("legacy",):
        for name in (
            f"ORT fp32, {exporter}",
            f"onnxfix int8 dynamic, {exporter}",
            f"onnxfix int8 weight-only, {exporter}",
        ):
            row = next(line for line in lines if line.startswith(name)).removeprefix(name).split()
            figures[name] = [float(figure) for figure in row]
        fp32, dynamic = figures[f"ORT fp32, {exporter}"], figures[f"onnxfix int8 dynamic, {exporter}"]
        assert fp32[3] == 1.0 and fp32[4] < 1e-5 < dynamic[4] < 0.1, "times of itself, and errors against torch"
        assert all(figure > 0 for figure in dynamic[:5])
        verdict = next(line for line in lines if line.startswith(f"int8 dynamic, {exporter}: "))
        assert f" {dynamic[3]:.2f} times ONNX Runtime fp32, target 1.8: " in verdict
        assert verdict.endswith("met" if dynamic[3] >= 1.8 else "missed")
    for package, names in {"torchao": ("torch int8",), "openvino": ("OpenVINO fp32", "OpenVINO bf16")}.items():
        installed = importlib.util.find_spec(package) is not None
        for line in (line for line in lines if line.startswith(names)):
            assert (f"{package} is not installed" in line) == (not installed)


def test_int8_speed_refuses_what_it_cannot_measure(tmp_path: Path) -> None:
    assert started("int8_speed.py", str(tmp_path)).returncode == 2
    assert started("int8_speed.py", "--rounds", "0").returncode == 2
