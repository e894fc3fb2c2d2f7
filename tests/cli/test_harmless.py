"""What a model is full of (names, paths, messages that quote them) is printed, and obeyed by nobody."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from terminal import onnxfix

from onnxfix.render.words import harmless

EVIL = "\x1b]0;pwn\x07\x1b[2J\x1b[31m\x9b2J"
COMMAND = "::error title=onnxfix::written by a model"


def custom(path: Path, name: str = EVIL, known: bool = False) -> Path:
    """An operator of a domain that nobody knows, or a Relu, between nodes and values of such names."""
    op_type, domain = ("Relu", "") if known else (f"NoSuch{name}", f"dom{name}")
    nodes = [
        helper.make_node("SplitToSequence", ["x"], [f"s{name}"], f"{name} split"),
        helper.make_node("SequenceAt", [f"s{name}", "zero"], [f"q{name}"], f"{name} first"),
        helper.make_node(op_type, [f"q{name}"], ["y"], f"{name} node", domain=domain),
    ]
    for node in nodes:
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", repr(["", f"{name}.layer", "call"])
    info = helper.make_tensor_value_info
    zero = numpy_helper.from_array(np.array(0, np.int64), "zero")
    graph = helper.make_graph(nodes, "g", [info("x", 1, ["b", 16])], [info("y", 1, None)], [zero])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(domain or "unused", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def missing_data(path: Path) -> Path:
    weight = onnx.TensorProto(name=f"w{EVIL}", data_type=TensorProto.FLOAT, dims=[16, 16], data_location=1)
    entry = weight.external_data.add()
    entry.key, entry.value = "location", f"no{EVIL}.bin"
    info = helper.make_tensor_value_info
    node = helper.make_node("MatMul", ["x", weight.name], ["y"], f"mm{EVIL}")
    graph = helper.make_graph([node], "g", [info("x", 1, ["b", 16])], [info("y", 1, ["b", 16])], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def on_a_terminal(*arguments: object) -> str:
    """All that a command prints where both of its streams are a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "onnxfix", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            seen += chunk
    except OSError:  # the other side is closed
        pass
    process.wait()
    os.close(ours)
    return seen.decode(errors="surrogateescape")


COMMANDS = (
    ("diagnose",),
    ("diagnose", "--format", "markdown"),
    ("diagnose", "--format", "json"),
    ("diagnose", "--format", "sarif"),
    ("repair", "--precision", "fp32", "--diff", "--dry-run"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("make", [custom, missing_data])
def test_no_escape_passes_through_a_pipe(make: object, command: tuple[str, ...], tmp_path: Path) -> None:
    done = onnxfix(command[0], make(tmp_path / "m.onnx"), *command[1:])  # type: ignore[operator]
    said = done.stdout + done.stderr
    assert said.strip() and not any(char in said for char in "\x1b\x07\x9b"), repr(said)


@pytest.mark.parametrize("make", [custom, missing_data])
def test_no_escape_of_a_name_reaches_a_terminal(make: object, tmp_path: Path) -> None:
    path = make(tmp_path / "m.onnx")  # type: ignore[operator]
    for command in (("diagnose", path), ("repair", path, "--precision", "fp32", "--debug")):
        said = on_a_terminal(*command)
        assert "pwn" in said or "no\N{REPLACEMENT CHARACTER}" in said, "the names are printed"
        assert "\x1b]0;pwn" not in said and "\x1b[2J" not in said and "\x9b" not in said and "\x07" not in said


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", [COMMAND, "##[error]said", "  ::add-mask::y"])
def test_no_line_is_a_command_of_githubs_runner(name: str, command: tuple[str, ...], tmp_path: Path) -> None:
    done = onnxfix(command[0], custom(tmp_path / "m.onnx", name, known=True), *command[1:])
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode in (0, 1) and lines
    assert [line for line in lines if line.lstrip().startswith("::") or "##[" in line] == []


def test_what_is_harmless_stays_as_it_is() -> None:
    for text in ("a::b", "two\nlines\tand a tab", "::", "x ## [y]", "é 漢字 …"):
        assert harmless(text).replace("\N{ZERO WIDTH SPACE}", "") == text
    assert harmless("std::move") == "std::move"
    assert harmless("a\n ::debug::x") == "a\n :\N{ZERO WIDTH SPACE}:debug::x"
