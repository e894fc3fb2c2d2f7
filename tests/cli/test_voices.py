"""An error names what its reader has: flags on the command line, parameters in Python."""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Callable
from pathlib import Path

import click
import graphs
import numpy as np
import pytest
from terminal import onnxfix
from test_structure import below_cli

from onnxfix.cli import voice
from onnxfix.cli.main import COMMANDS
from onnxfix.eval.bench.bench import Course, run_bench
from onnxfix.export.run import export
from onnxfix.export.spec import ExportSpec
from onnxfix.flows.bench.data import Wanted
from onnxfix.flows.bench.setup import setup
from onnxfix.flows.repair.repair import repair
from onnxfix.nouns.errors import OnnxfixError, arg, one_line, spoken
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish
from onnxfix.surgery.sites.half.block_list import BlockList
from onnxfix.surgery.sites.half.half_plan import HalfOptions

MODEL, TAKEN = "model.onnx", "taken.onnx"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model, a file that somebody else made, and no record of where the model came from."""
    weights = {"w": np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)}
    text = "g (float[batch,32] x) => (float[batch,32] y) { h = MatMul(x, w) y = Tanh(h) }"
    graphs.model(text, weights).save(tmp_path / MODEL)
    (tmp_path / TAKEN).write_text("mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wish(precision: str = "fp16", int8: str = "", **blocked: tuple[str, ...]) -> Wish:
    half = HalfOptions(blocked=BlockList(**blocked))
    return Wish(Target.resolve("cpu"), precision, int8, half=half)


CASES: dict[str, tuple[list[str], str, Callable[[], object], str]] = {
    "an output that is there": (
        ["repair", "-o", TAKEN],
        "use --force, or give another --output",
        lambda: repair(Path(MODEL), wish(), Path(TAKEN)),
        "use force=True, or give another output",
    ),
    "ranges of nothing": (
        ["repair", "--int8", "static"],
        "--int8 static needs inputs to measure ranges on; give them with --calibrate FILE",
        lambda: repair(Path(MODEL), wish("fp32", "static")),
        "int8='static' needs inputs to measure ranges on; give them with calibrate='FILE'",
    ),
    "a choice": (
        ["repair", "--reduce-range"],
        "--reduce-range needs --int8 dynamic or static; leave it out",
        lambda: repair(Path(MODEL), Wish(Target.resolve("cpu"), reduce_range=True)),
        "reduce_range needs int8='dynamic' or 'static'; leave it out",
    ),
    "a pattern that a shell would change": (
        ["repair", "--block-node", "Con (v"],
        "--block-node 'Con (v' is not a regular expression",
        lambda: repair(Path(MODEL), wish(nodes=("Con (v",))),
        "block_node='Con (v' is not a regular expression",
    ),
    "a limit that nothing keeps": (
        ["repair", "--max-error", "0"],
        "--calibrate FILE and --search keep what half precision harms, --block-node what you name, or raise --max",
        lambda: repair(Path(MODEL), wish(), max_error=0),
        "calibrate='FILE' and search=True keep what half precision harms, block_node what you name, or raise max_error",
    ),
    "a command": (
        ["repair", "--block-op", "Sigmoid"],
        "catches no node of model.onnx; list node names with 'onnxfix diagnose --format json'",
        lambda: repair(Path(MODEL), wish(ops=("Sigmoid",))),
        "catches no node of model.onnx; onnxfix.diagnose(model).plan.nodes has the names of nodes",
    ),
    "nothing to export": (
        ["export"],
        "give --factory module:function",
        lambda: export(ExportSpec()),
        "give factory='module:function'",
    ),
    "no checkpoint": (
        ["bench", MODEL],
        "name it with --checkpoint DIR, or compare ONNX files alone with --no-torch",
        lambda: setup(Wanted(models=(Path(MODEL),))),
        "name it with checkpoint='DIR', or compare ONNX files alone with torch=False",
    ),
    "nothing to measure on": (
        ["diagnose", MODEL, "--target", "tensorrt", "--engine", "measured"],
        "use --engine forecast",
        lambda: Target.resolve("tensorrt", "measured"),
        "use engine='forecast'",
    ),
}


@pytest.mark.parametrize(("typed", "flags", "call", "parameters"), CASES.values(), ids=CASES)
def test_each_door_speaks_of_what_its_caller_has(
    typed: list[str], flags: str, call: Callable[[], object], parameters: str, folder: Path
) -> None:
    done = onnxfix(*typed)
    assert done.returncode == 2 and flags in done.stderr
    with pytest.raises(OnnxfixError) as caught:
        call()
    assert parameters in str(caught.value) and parameters in f"{caught.value.message}; {caught.value.next_step}"
    # but for the flags nothing differs, and what marks parameters is seen nowhere
    assert done.stderr == f"onnxfix: error: {spoken(caught.value.sentence, voice.option)}\n"
    assert (str(caught.value) + done.stderr.rstrip("\n")).isprintable()


def test_notes_of_a_repair(folder: Path) -> None:
    done = onnxfix("repair", "--block-op", "Tanh", "--dry-run")
    document = onnxfix("repair", "--block-op", "Tanh", "--dry-run", "--format", "json")
    assert "--block-op Tanh caught 1 node" in done.stdout and done.stdout.replace("\n", "").isprintable()
    assert "--block-op Tanh caught 1 node" in json.loads(document.stdout)["notes"]
    made = repair(Path(MODEL), wish(ops=("Tanh",)), dry_run=True)
    assert "block_op='Tanh' caught 1 node" in made.outcome.notes


def test_rows_of_a_bench_whose_process_fails(folder: Path) -> None:
    """What went wrong is said in another process, in the words of who asked."""
    wanted = Wanted(models=(Path(MODEL),), factory="no_colon", torchao=False)
    found = setup(wanted)
    row = run_bench(found.variants[:1], found.workload, Course(rounds=1)).rows[0]
    assert row.failure == "does not load: factory='no_colon' is not of the form module:function"
    asked = ("--factory", "no_colon", "--no-torchao", "--rounds", "1", "--provider", "cpu", "--format", "json")
    rows = json.loads(onnxfix("bench", MODEL, *asked).stdout)["rows"]
    assert rows[0]["failure"] == "does not load: --factory no_colon is not of the form module:function"


def test_an_error_inside_another_still_speaks_both_ways() -> None:
    inner = OnnxfixError(f"{arg('metric', 'f 1')} fails", f"leave {arg('resume')} out")
    outer = OnnxfixError(f"again: {inner.message.marked}", inner.next_step)
    assert str(outer) == "again: metric='f 1' fails; leave resume out"
    assert spoken(outer.sentence, voice.option) == "again: --metric 'f 1' fails; leave --resume out"
    assert one_line(outer, voice.option) == spoken(outer.sentence, voice.option)


def test_what_others_put_between_the_marks_is_left_alone() -> None:
    assert str(OnnxfixError('node \x0e["a", b]\x0f')) == 'node ["a", b]'
    assert str(OnnxfixError("node \x0e5\x0f")) == "node \x0e5\x0f"


def test_every_parameter_named_is_an_option() -> None:
    commands = [importlib.import_module(f"onnxfix.cli.commands.{name}").command for name in COMMANDS]
    parameters = [p for command in commands for p in command.params if isinstance(p, click.Option)]
    options = {text for p in parameters for text in (*p.opts, *p.secondary_opts)}
    named = [
        (node.args[0].value, [value.value for value in node.args[1:] if isinstance(value, ast.Constant)])
        for _, tree in below_cli()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "arg"
        if isinstance(node.args[0], ast.Constant)
    ]
    assert len(named) > 80
    assert [each for each in named if voice.option(*each).split()[0] not in options] == []
