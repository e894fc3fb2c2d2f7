"""The door for Python: files and models in memory, keywords, results that show themselves, errors in its own words."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import onnx_ir
import pytest
from terminal import onnxfix as command

import onnxfix

ROOT = Path(__file__).parents[1]
GATED = """g (float[batch,8] x) => (float[batch,4] y) {
    two = Constant<value = int64 {4}>()
    parts = SplitToSequence<axis = -1>(x, two)
    zero = Constant<value = int64 {0}>()
    one = Constant<value = int64 {1}>()
    a = SequenceAt(parts, zero)
    b = SequenceAt(parts, one)
    g = Mul(a, b)
    y = MatMul(g, w)
}"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    weight = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    return graphs.model(GATED, {"w": weight}).save(tmp_path / "model.onnx")


@pytest.fixture(params=["str", "Path", "ModelProto", "onnx_ir.Model"])
def given(request: pytest.FixtureRequest, path: Path) -> Any:
    made = {"str": str, "Path": Path, "ModelProto": onnx.load, "onnx_ir.Model": onnx_ir.load}
    return made[request.param](path)


def in_memory(given: object) -> bool:
    return not isinstance(given, str | Path)


def test_diagnose(given: Any) -> None:
    found = onnxfix.diagnose(given)
    assert [f.code for f in found.findings if f.severity == "error"] == ["K001"] and len(found.plan.copies) == 1
    assert found.model["path"] == ("model.onnx" if in_memory(given) else str(given))


def test_repair(given: Any, path: Path) -> None:
    before = path.read_bytes()
    done = onnxfix.repair(given, precision="fp32")
    assert path.read_bytes() == before and "identical" in done.verified
    assert [f.code for f in done.after.findings if f.severity == "error"] == []
    if not in_memory(given):
        assert done.output == path.with_name("model.fp32.onnx") and isinstance(done.model, onnx_ir.Model)
        return
    assert done.output is None and type(done.model) is type(given)
    proto = done.model if isinstance(done.model, onnx.ModelProto) else onnx_ir.to_proto(done.model)
    assert "SplitToSequence" not in {node.op_type for node in proto.graph.node}
    feed = {"x": np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)}
    answers = [_answer(data, feed) for data in (before, proto.SerializeToString())]
    np.testing.assert_array_equal(*answers)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.onnx"]


def _answer(data: bytes, feed: dict[str, Any]) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)[0]


def test_a_model_in_memory_can_be_written(path: Path, tmp_path: Path) -> None:
    done = onnxfix.repair(onnx.load(path), precision="fp32", output=tmp_path / "r.onnx")
    assert done.output == tmp_path / "r.onnx" and done.output.is_file() and done.source == Path("model.onnx")


def test_weights_that_are_not_in_memory_are_missed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = onnx.load(path)
    onnx.save(proto, tmp_path / "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    bare = onnx.load(tmp_path / "e.onnx", load_external_data=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(onnxfix.OnnxfixError, match="give the path of the file"):
        onnxfix.repair(bare, precision="fp32")
    assert onnxfix.repair(onnx_ir.load(tmp_path / "e.onnx"), precision="fp32").model is not None


@pytest.mark.parametrize("kind", ["path", "list", "frame"])
def test_calibration_inputs(kind: str, tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}
    model = graphs.model("g (float[batch,64] x) => (float[batch,64] y) { y = MatMul(x, w) }", weights)
    x = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    if kind == "frame":  # a table of texts needs a tokenizer, which this model has not: it gets as far as that
        import polars as pl

        with pytest.raises(onnxfix.OnnxfixError, match="name its folder with checkpoint="):
            onnxfix.repair(graphs.proto_of(model), int8="static", calibrate=pl.DataFrame({"text": ["a"]}))
        return
    inputs = tmp_path / "inputs.npz" if kind == "path" else [{"x": x[:4]}, {"x": x[4:]}]
    done = onnxfix.repair(graphs.proto_of(model), int8="static", quantize_heads=True, calibrate=inputs)
    assert done.after.quantization["quantized"] == 1


def test_results_show_themselves(path: Path) -> None:
    found, done = onnxfix.diagnose(path), onnxfix.repair(path, precision="fp32")
    explained = onnxfix.explain("K001")
    for result in (found, done, explained):
        assert len(repr(result).splitlines()[0]) < 200
        assert "<table>" in result._repr_html_() and "<script" not in result._repr_html_()
        assert "<!doctype html>" in result.to_html() and result.to_markdown().strip()
        assert json.loads(result.to_json()) == json.loads(json.dumps(result.as_dict()))
    assert json.loads(found.to_sarif())["version"] == "2.1.0"
    shown = command("diagnose", path, "--format", "json")
    assert shown.returncode == 1 and json.loads(shown.stdout) == found.as_dict()


def test_bench_takes_names_models_in_memory_and_modules(path: Path, tmp_path: Path) -> None:
    import torch

    module = torch.nn.Linear(8, 4)
    module.output_names = ["y"]  # type: ignore[assignment]
    report = onnxfix.bench({"file": path, "memory": onnx.load(path)}, rounds=1, torch=False)
    assert [row.variant for row in report.rows] == ["file", "memory"] and all(row.measured for row in report.rows)
    assert report.frame().height == 2 and report.files == () and "file" in report.to_markdown()
    both = onnxfix.bench({"file": path, "module": Scaled()}, rounds=1, output=tmp_path / "out")
    assert [row.failure for row in both.rows] == ["", ""], [row.failure for row in both.rows]
    assert {file.name for file in both.files} >= {"summary.json", "results.parquet", "REPORT.md", "report.html"}


if typing.TYPE_CHECKING:
    from torch.nn import Module
else:
    Module = importlib.import_module("torch").nn.Module


class Scaled(Module):
    """Takes and gives what the graph does."""

    output_names = ("y",)

    def forward(self, x: Any) -> Any:
        return x[:, :4] * x[:, 4:]


@pytest.mark.parametrize(
    ("call", "said", "typed"),
    [
        (lambda p: onnxfix.repair(p, search=True, precision="fp32"), "search=True needs precision='fp16' or 'bf16'",
         ("repair", "--search", "--precision", "fp32")),
        (lambda p: onnxfix.diagnose(p, calibrate="x.npz"), "calibrate needs against",
         ("diagnose", "--calibrate", "x.npz")),
        (lambda p: onnxfix.bench(p, label=["a="]), "label='a=' is not of the form", ("bench", "--label", "a=")),
    ],
)  # fmt: skip
def test_errors_in_both_voices(call: Any, said: str, typed: tuple[str, ...], path: Path) -> None:
    with pytest.raises(onnxfix.OnnxfixError, match=re.escape(said)):
        call(path)
    done = command(typed[0], path, *typed[1:])
    assert done.returncode == 2 and "--" in done.stderr and said not in done.stderr


@pytest.mark.parametrize(
    "call",
    [
        lambda: onnxfix.repair(3),  # type: ignore[arg-type]
        lambda: onnxfix.repair("nowhere.onnx"),
        lambda: onnxfix.repair("nowhere.onnx", precision="fp15"),  # type: ignore[arg-type]
        lambda: onnxfix.diagnose("nowhere.onnx", target="abacus"),
        lambda: onnxfix.explain("Z999"),
        lambda: onnxfix.diagnose("nowhere.onnx", batch=-5),
        lambda: onnxfix.diagnose("nowhere.onnx", seq="x"),  # type: ignore[arg-type]
        lambda: onnxfix.repair("nowhere.onnx", max_error=float("nan")),
        lambda: onnxfix.repair("nowhere.onnx", io_types="nope"),  # type: ignore[arg-type]
        lambda: onnxfix.repair("nowhere.onnx", keep_fp32_like=["zz"]),  # type: ignore[list-item]
        lambda: onnxfix.repair("nowhere.onnx", bits=8.0),  # type: ignore[arg-type]
        lambda: onnxfix.export("nowhere", exporter="foo"),  # type: ignore[arg-type]
        lambda: onnxfix.extract("nowhere.onnx", output="part.npz", scope="a"),
    ],
)
def test_wrong_input_is_one_line(call: Any) -> None:
    with pytest.raises(onnxfix.OnnxfixError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1 and " --" not in str(caught.value)


def test_a_string_is_one_of_what_may_be_several(path: Path) -> None:
    with pytest.raises(onnxfix.OnnxfixError, match=re.escape("block_op='Zz' catches no node")):
        onnxfix.repair(path, block_op="Zz")


def test_an_exported_module_stays_as_it_is(tmp_path: Path) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(8, 4)).half().train()
    example = {"input": torch.ones(2, 8).half()}
    onnxfix.export(module, example=example, output=tmp_path / "m.onnx", exporter="legacy")
    assert module.training and module[0].weight.dtype == torch.float16


def test_a_broken_model_in_memory_is_told_as_its_file_is(path: Path) -> None:
    proto = onnx.load(path)
    proto.graph.node[-1].input[0] = "nobody"
    path.write_bytes(proto.SerializeToString())
    for given in (path, proto):
        assert "broken-graph" in {f.name for f in onnxfix.diagnose(given).findings}


def test_threads_that_end_leave_no_process(path: Path) -> None:
    code = """import sys, threading, onnxfix, psutil
for _ in range(3):
    thread = threading.Thread(target=onnxfix.diagnose, args=(sys.argv[1],))
    thread.start()
    thread.join()
print(len(psutil.Process().children()))"""
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0"


def test_packages_are_called_and_imported_whatever_comes_first() -> None:
    for first in ("import onnxfix.diagnose.run", "import onnxfix.export.spec", "from onnxfix import diagnose, export"):
        code = f"{first}; import onnxfix, onnxfix.diagnose.run as r; " + (
            "assert callable(onnxfix.diagnose) and callable(onnxfix.export) and r.diagnose; "
            "assert onnxfix.explain('K001').name.startswith('K001')"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["diagnose", "export", "repair"])
def test_help_and_signature_are_those_of_the_function(name: str) -> None:
    """Also of the two whose package has the same name."""
    import copy
    import inspect
    import pydoc

    import onnxfix.api
    import onnxfix.diagnose.rules as rules

    here, there = getattr(onnxfix, name), getattr(onnxfix.api, name)
    assert inspect.signature(here) == inspect.signature(there)
    shown = pydoc.plain(pydoc.render_doc(here))
    assert f"{name}(model: " in shown and there.__doc__.splitlines()[0] in shown and "PACKAGE CONTENTS" not in shown
    assert onnxfix.diagnose.rules is rules and rules.__path__, "the package is there as before"  # type: ignore[attr-defined]
    assert copy.copy(here) is not None
    with pytest.raises(AttributeError, match="nothing"):
        here.nothing  # noqa: B018


WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("explain", lambda: onnxfix.explain(None), "code is of type NoneType, not text"),  # type: ignore[arg-type]
    ("near", lambda: onnxfix.explain("sequence-op-copy"), r"did you mean sequence-op-copies.*\? docs/rules.md"),
    ("model", lambda: onnxfix.export(3), "a model of type int is no torch module"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "said"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_errors_speak_of_what_python_has(call: Callable[[], object], said: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(onnxfix.OnnxfixError, match=said) as raised:
        call()
    assert "'onnxfix " not in str(raised.value) and "factory" not in str(raised.value)


def test_weights_of_another_length_in_memory_are_said_of_the_model_in_memory() -> None:
    """And not of the temporary file that it lies in; diagnose has it as a finding."""
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2,4] x) => (float[2,4] y) { y = MatMul(x, w) }'
    )
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    weight.raw_data = weight.raw_data[:40]
    proto.graph.initializer.append(weight)
    for model in (proto, onnx_ir.from_proto(proto)):
        with pytest.raises(onnxfix.OnnxfixError) as raised:
            onnxfix.repair(model)
        assert str(raised.value).startswith(
            "the model in memory is a broken model: weight 'w' of shape [4, 4] needs 64"
        )
        assert "see onnxfix.diagnose" in str(raised.value)
        assert "broken-graph" in {finding.name for finding in onnxfix.diagnose(model).findings}


def test_an_example_that_does_not_fit_is_said_in_python(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Sum(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

    class Text(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: Any) -> Any:
            return {"said": "text"}

    one, other = torch.ones(2, 3), torch.ones(5, 7)
    for module, example, said in (
        (Sum(), None, r"Sum.forward takes x, y, not a text input; give them by name: example="),
        (Sum(), {}, "the example of Sum does not fit its forward, which takes x, y: missing a required argument: 'x'"),
        (Sum(), {"x": one, "z": one}, "missing a required argument: 'y'; give these by name; the example has x, z"),
        (Sum(), {"x": one, "y": one, "z": one}, "unexpected keyword argument 'z'"),
        (Sum(), {"x": one, "y": other}, "Sum fails on its example: RuntimeError: The size of tensor"),
        (Sum(), {"x": one, "y": 1}, "example is not a mapping of tensors: 'y' is of type int"),
        (Sum(), (one, one), "example is of type tuple, not a mapping of tensors"),
        (Text(), {"x": one}, "the module returns dict, not tensors"),
    ):
        with pytest.raises(onnxfix.OnnxfixError, match=said) as raised:
            onnxfix.export(module, example=example, output=tmp_path / "m.onnx")
        assert "factory" not in str(raised.value) and "kwargs" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_importing_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'numpy', 'polars', 'rich', 'onnx_ir', 'click', 'onnx_graphsurgeon'}"
    code = f"import sys, onnxfix; found = {heavy} & set(sys.modules); assert not found, found; dir(onnxfix)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_keyword_is_an_option_and_the_other_way_round() -> None:
    import inspect

    from onnxfix.cli.main import cli

    beside = {"progress", "voice", "model", "models", "example", "code", "sound"}
    shown = {"form", "show_diff", "report_file", "fail_on", "write", "every"}
    for name in ("diagnose", "diff", "repair", "optimize", "export", "bench", "extract"):
        function = getattr(importlib.import_module("onnxfix.api"), name)
        found = cli.get_command(None, name)  # type: ignore[arg-type]
        assert found is not None
        options = {p.name for p in found.params} - shown - {"model", "models", "checkpoint"} | (
            {"checkpoint"} if name not in ("diff", "export", "extract") else set()
        )
        keywords = set(inspect.signature(function).parameters) - beside
        written = {"output", "force", "jobs"} if name in ("diagnose", "diff") else set()
        assert options - written == keywords, (name, options ^ keywords)


@pytest.mark.parametrize("page", ["python.md"])
def test_snippets_of_the_page_run(page: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if "input_ids" not in code and "bench" not in code:
            exec(compile(code, page, "exec"), {})


def test_the_tour_runs() -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    kept = [bool(cell.get("outputs")) for cell in notebook.cells]
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert [bool(cell.get("outputs")) for cell in notebook.cells] == kept and any(kept)
