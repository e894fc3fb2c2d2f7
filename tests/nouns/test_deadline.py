"""Jobs end in time, whatever they are at: Python, a child process, a run of ONNX Runtime; and say at what."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from terminal import onnxfix

from onnxfix.eval.run.runners import OrtRunner
from onnxfix.nouns.process import deadline
from onnxfix.nouns.process.children import Child
from onnxfix.nouns.process.deadline import LateError, limited, stopping


def loop(path: Path, times: int | None) -> Path:
    """A Loop that passes its value on, so many times or for ever."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, None)],
        [info("again", TensorProto.BOOL, []), info("w", TensorProto.FLOAT, None)],
    )
    limit = [] if times is None else [helper.make_node("Constant", [], ["n"], value_int=times)]
    on = helper.make_node("Constant", [], ["on"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
    nodes = [*limit, on, helper.make_node("Loop", ["n" if limit else "", "on", "x"], ["y"], body=body, name="loop")]
    values = [info(name, TensorProto.FLOAT, ["b", 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def test_a_run_without_end_is_stopped_and_named(tmp_path: Path) -> None:
    runner = OrtRunner(loop(tmp_path / "m.onnx", None), level="none", name="the source")
    started = time.monotonic()
    with pytest.raises(LateError, match=r"job: verify: a run of the source did not end within 0\.5 s"):  # noqa: SIM117
        with limited("job", 0.5, 0, lambda step: None) as advance:
            advance("verify")
            runner.run({"x": np.zeros((2, 4), np.float32)})
    assert time.monotonic() - started < 10


def test_a_run_that_ends_is_left_alone(tmp_path: Path) -> None:
    runner = OrtRunner(loop(tmp_path / "m.onnx", 5), level="none")
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    with limited("job", 30, 0, lambda step: None):
        np.testing.assert_array_equal(runner.run({"x": x})["y"], x)


def test_python_is_interrupted_in_its_own_thread() -> None:
    found: list[BaseException] = []

    def work() -> None:
        try:
            with limited("job", 0.3, 0, lambda step: None) as advance:
                advance("counting")
                while True:
                    sum(range(100))
        except LateError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert [str(error).split(" did")[0] for error in found] == ["job: counting"]


def test_the_stage_that_took_most_of_the_time_is_named_beside_the_one_that_was_late() -> None:
    with pytest.raises(LateError, match=r"job: last did not end within 1 s, 1 of which went to: first"):  # noqa: SIM117
        with limited("job", 1.0, 0, lambda step: None) as advance:
            advance("first")
            time.sleep(0.8)
            advance("last")
            while True:
                sum(range(100))


def test_an_exception_of_the_body_is_its_own() -> None:
    with pytest.raises(KeyError), limited("job", 5, 0, lambda step: None):
        raise KeyError("mine")
    time.sleep(0.01)
    assert deadline.current() is None


def test_the_inner_limit_of_a_run_is_that_of_its_weights_where_nothing_was_said() -> None:
    with limited("job", None, 200_000_000, lambda step: None):
        found = deadline.current()
        assert found is not None and found.run_s == 160 and found.limit_s == deadline.LONGEST_S
    with limited("job", 7, 200_000_000, lambda step: None), stopping("it", lambda: None):
        found = deadline.current()
        assert found is not None and found.run_s == 7


def test_a_child_has_no_more_time_than_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeping_worker.py").write_text(
        "import time\n\ndef answer(request):\n    time.sleep(request)\n    return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with Child("sleeping_worker") as child:
        with limited("job", 20, 0, lambda step: None):
            assert child.ask(0.01, 60) == 1
        with pytest.raises(LateError, match="job: waiting"), limited("job", 0.5, 0, lambda step: None) as advance:
            advance("waiting")
            child.ask(60, 120)
        assert not child.alive()


def test_native_code_that_listens_to_nothing_ends_with_the_program() -> None:
    code = (
        "import time; from onnxfix.cli import main; from onnxfix.nouns.process import deadline\n"
        "deadline.GRACE_S, deadline.last_resort = 0.3, main._end\n"
        "with deadline.limited('job', 0.3, 0, lambda step: None) as advance:\n"
        "    advance('a long sleep'); time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert (
        done.stderr
        == "onnxfix: error: job: a long sleep did not end within 0.3 s; give it longer with --timeout SECONDS\n"
    )


def test_repair_of_a_loop_without_end_writes_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    done = onnxfix("repair", loop(tmp_path / "m.onnx", None), "--precision", "fp32", "--timeout", "4")
    assert done.returncode == 2 and "repair: verify" in done.stderr and "--timeout SECONDS" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_timeout_is_a_number_above_nothing(tmp_path: Path) -> None:
    path = graphs.model("g (float[n] x) => (float[n] y) { y = Neg(x) }").save(tmp_path / "m.onnx")
    for wrong in ("0", "-1", "soon"):
        assert onnxfix("diagnose", path, "--timeout", wrong).returncode == 2
    assert onnxfix("diagnose", path, "--timeout", "100").returncode == 0
