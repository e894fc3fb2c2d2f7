"""What a report advises can be pasted: it names the file and the target, and does away with what it was advised for."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from terminal import onnxfix

import onnxfix as door
from onnxfix.flows.advice import addressed, float_original
from onnxfix.nouns.model import Model

SPLIT = """g (float[b,32] x) => (float[b,16] y) {
    parts = SplitToSequence <axis: int = 1, keepdims: int = 1> (x, sizes)
    first = Constant <value = int64 {0}> ()
    y = SequenceAt(parts, first)
}"""
NAMES = ["my.onnx", "my model.onnx", "-x.onnx", "--help.onnx", "$HOME `id`.onnx", "it's.onnx", 'a"b.onnx', "é.onnx",
         "a\nb.onnx", "tab\t\x1b[31m.onnx", "#1.onnx", "~.onnx", "a;b&c.onnx", "*.onnx"]  # fmt: skip


def split(path: Path) -> Path:
    """A model whose SplitToSequence copies between device and host on CUDA."""
    path.parent.mkdir(exist_ok=True)
    return graphs.model(SPLIT, {"sizes": np.array([16, 16])}).save(path)


def words(line: str, folder: Path) -> list[str]:
    """What bash makes of a line."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def advised(found: dict[str, Any], code: str) -> str:
    return str(next(f["repair"] for f in found["findings"] if f["code"] == code))


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_repair_repairs_this_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    split(tmp_path / name)
    (tmp_path / "model.onnx").write_text("another, which no advice may touch")
    before = json.loads(onnxfix("diagnose", "--format", "json", "--", name).stdout)
    line = advised(before, "K001")
    assert line.isprintable()
    program, *arguments = words(line, tmp_path)
    assert program == "onnxfix" and arguments[0] == "repair"
    done = onnxfix(*arguments)
    assert done.returncode == 0, done.stderr
    result = next(p for p in tmp_path.iterdir() if p.name.endswith(".fp32.onnx"))
    assert result.name == f"{name.removesuffix('.onnx')}.fp32.onnx"
    after = json.loads(onnxfix("diagnose", "--format", "json", "--", result.name).stdout)
    assert "K001" not in {f["code"] for f in after["findings"]}


@pytest.mark.parametrize("form", ["text", "html", "markdown", "sarif", "json"])
def test_every_format_names_the_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    split(tmp_path / "sub" / "my.onnx")
    done = onnxfix("diagnose", "sub/my.onnx", "--format", form, "-o", "-")
    assert "onnxfix repair sub/my.onnx --precision fp32" in done.stdout


def test_the_float_original_of_a_result_is_found(tmp_path: Path) -> None:
    """By the result's own record, where it is there and is in float; a file that somebody else made has none."""
    weights = {"w": np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32)}
    source = graphs.model("g (float[b,32] x) => (float[b,16] y) { y = MatMul(x, w) }", weights).save(
        tmp_path / "m.onnx"
    )
    made = door.repair(source, int8="dynamic", quantize_heads=True).output
    assert made is not None and float_original(Model.open(made), made) == source
    again = door.repair(made, precision="fp32", target="cpu").output
    assert again is not None and float_original(Model.open(again), again) is None, "made of integers"
    assert float_original(Model.open(source), source) is None
    source.unlink()
    assert float_original(Model.open(made), made) is None


def test_a_model_in_memory_is_repaired_by_a_call(tmp_path: Path) -> None:
    model = onnx.load(split(tmp_path / "m.onnx"))
    found = door.diagnose(model)
    (line,) = {f.repair for f in found.findings if f.code == "K001"}
    assert line == "onnxfix.repair(model, precision='fp32')"
    result = eval(line, {"onnxfix": door, "model": model}).model
    assert "SplitToSequence" not in {node.op_type for node in result.graph.node}
    assert line in found.to_markdown() and "model.onnx" not in line


SAYS: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("onnxfix repair --precision fp16", "cuda", lambda p: {}, "onnxfix repair m.onnx --precision fp16"),
    ("onnxfix repair --precision fp16", "cpu", lambda p: {}, "onnxfix repair m.onnx --precision fp16 --target cpu"),
    ("onnxfix repair --int8 dynamic", "cuda", lambda p: {}, "onnxfix repair m.onnx --int8 dynamic"),
    ("onnxfix repair --int8 dynamic", "cpu", lambda p: {}, "onnxfix repair m.onnx --int8 dynamic"),
    ("onnxfix repair --int8 static --calibrate F on the float original, which migrates them", "tensorrt",
     lambda p: {}, "onnxfix repair FLOAT.onnx --int8 static --calibrate F --target tensorrt  # FLOAT.onnx: the float "
     "original, which migrates them"),
    ("onnxfix repair --int8 dynamic on the float original: one scale a column", "cpu",
     lambda p: {"original": Path("my float.onnx")},
     "onnxfix repair 'my float.onnx' --int8 dynamic  # the float original: one scale a column"),
    ("onnxfix repair --precision bf16 --keep-rotary-fp32", "cuda", lambda p: {"libraries": [Path("a b.so")]},
     "onnxfix repair m.onnx --precision bf16 --keep-rotary-fp32 --custom-op-library 'a b.so'"),
    ("onnxfix repair --precision bf16", "cpu", lambda p: {}, "onnxfix repair m.onnx --precision bf16"),
    ("call model.eval() before the export", "cpu", lambda p: {}, "call model.eval() before the export"),
    ("", "cpu", lambda p: {}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "target", "more", "said"), SAYS, ids=[s[3][:60] for s in SAYS])
def test_what_a_rule_says_and_what_is_printed(
    rule: str, target: str, more: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    from dataclasses import replace

    report = door.diagnose(split(tmp_path / "m.onnx"), target="cuda")
    one = replace(report.findings[0], repair=rule)
    report = replace(report, findings=(one,), target={**report.target, "provider": target})
    assert addressed(report, Path("m.onnx"), **more(tmp_path)).findings[0].repair == said


def test_every_rule_advises_what_the_command_takes() -> None:
    """Options in advice exist, and choices among them are ones that they have."""
    import click

    from onnxfix.cli.main import cli

    command = cli.get_command(None, "repair")  # type: ignore[arg-type]
    assert command is not None
    rules = Path(__file__).parents[2] / "diagnose" / "rules"
    texts = [t for p in rules.glob("*.py") for t in re.findall(r'"(onnxfix repair [^"]*)"', p.read_text("utf-8"))]
    assert len(texts) > 8
    options = {name: p for p in command.params for name in (*p.opts, *p.secondary_opts)}
    for text in texts:
        for name, value in re.findall(r"(--[\w-]+)(?: ([\w-]+))?", re.sub(r"\{[^}]*\}", "dynamic", text)):
            kind = options[name].type
            if isinstance(kind, click.Choice) and "{" not in text:
                assert value in kind.choices, text


def test_a_file_is_diagnosed_for_what_it_was_made_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "g (float[batch,32] x) => (float[batch,32] y) { h = MatMul(x, w) y = Tanh(h) }"
    graphs.model(text, {"w": np.eye(32, dtype=np.float32)}).save(tmp_path / "m.onnx")
    assert onnxfix("repair", "m.onnx", "--int8", "weight-only", "--target", "cpu").returncode == 0
    done = onnxfix("diagnose", "m.w8.onnx")
    assert "placement on cpu, forecast for ONNX Runtime" in done.stdout and "as the file was made for it" in done.stdout
    report = door.diagnose("m.w8.onnx")
    assert report.target["provider"] == "cpu" and report.target["from"] == "the file's record"
    told = onnxfix("diagnose", "m.w8.onnx", "--target", "cuda")
    assert "placement on cuda" in told.stdout and "was made for" not in told.stdout
    for name, value in (("m.onnx", None), ("m.w8.onnx", '{"target": "abacus"}'), ("m.w8.onnx", "[]")):
        proto = onnx.load(name)
        for entry in proto.metadata_props:
            entry.value = value or entry.value
        onnx.save(proto, "other.onnx")
        assert door.diagnose("other.onnx").target["provider"] == "cuda"
