"""Diagnosis looks into local functions and says where in them, and in which branch, a finding is."""

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.nouns.target import Target

HEADER = '<ir_version: 10, opset_import: ["" : 20, "local" : 1]>'
FUNCTION = '<domain: "local", opset_import: ["" : 20]>'


def report(model: Model, target: str = "cuda") -> Report:
    return diagnose(model, Target.resolve(target))


def layers(calls: int) -> Model:
    """A linear and a training-mode Dropout, `calls` times, inside a function."""
    chain = "".join(f"h{i + 1} = local.layer (h{i}, w)\n" for i in range(calls))
    text = f"""{HEADER} g (float[batch,8] x) => (float[batch,8] y) {{
        h0 = Relu(x)
        {chain} y = Identity(h{calls})
    }}
    {FUNCTION} layer (a, w) => (b) {{
        m = MatMul(a, w)
        yes = Constant<value = bool {{1}}>()
        half = Constant<value = float {{0.5}}>()
        b, mask = Dropout(m, half, yes)
    }}"""
    return graphs.model(text, {"w": np.eye(8, dtype=np.float32)})


def flat(calls: int) -> Model:
    lines = "".join(f"m{i} = MatMul(h{i}, w)\n h{i + 1}, mask{i} = Dropout(m{i}, half, yes)\n" for i in range(calls))
    text = f"""{HEADER} g (float[batch,8] x) => (float[batch,8] y) {{
        h0 = Relu(x)
        yes = Constant<value = bool {{1}}>()
        half = Constant<value = float {{0.5}}>()
        {lines} y = Identity(h{calls})
    }}"""
    return graphs.model(text, {"w": np.eye(8, dtype=np.float32)})


@pytest.mark.parametrize("calls", [1, 3])
def test_a_function_is_looked_into_once_and_counted_by_its_calls(calls: int) -> None:
    inside, outside = report(layers(calls)), report(flat(calls))
    assert inside.quantization["linears"] == outside.quantization["linears"] == calls
    assert inside.plan.flops == outside.plan.flops
    (found,) = [f for f in inside.findings if f.code == "X001"]
    assert len([f for f in outside.findings if f.code == "X001"]) == calls
    assert (found.evidence["function"], found.evidence["calls"]) == ("layer", calls)
    assert found.message.endswith(f"(in function layer{f', called {calls} times' if calls > 1 else ''})")


def test_a_branch_is_named() -> None:
    text = """g (float[batch,8] x, bool yes) => (float[batch,8] y) {
        y = If (yes) <
            then_branch = a () => (float[batch,8] p) { p, m = Dropout(x, half, on) },
            else_branch = b () => (float[batch,8] q) { q, n = Dropout(x, half, on) }
        >
    }"""
    weights = {"half": np.array(0.5, np.float32), "on": np.array(True)}
    found = sorted(f.message for f in report(graphs.model(text, weights)).findings if f.code == "X001")
    assert [message.rpartition(" (")[2] for message in found] == [
        "in the else branch of If If_y)", "in the then branch of If If_y)",
    ]  # fmt: skip


def nested(outer: int, inner: int) -> Model:
    """A training-mode Dropout in a function that another calls `inner` times, which the graph calls `outer` times."""
    chain = "".join(f"h{i + 1} = local.block (h{i})\n" for i in range(outer))
    layers = "".join(f"a{i + 1} = local.layer (a{i})\n" for i in range(inner))
    return graphs.model(
        f"""{HEADER} g (float[batch,8] x) => (float[batch,8] y) {{
        h0 = Relu(x)
        {chain} y = Identity(h{outer})
    }}
    {FUNCTION[:-1]}, "local" : 1]> block (a0) => (b) {{
        {layers} b = Identity(a{inner})
    }}
    {FUNCTION} layer (a) => (b) {{
        yes = Constant<value = bool {{1}}>()
        half = Constant<value = float {{0.5}}>()
        b, mask = Dropout(a, half, yes)
    }}""".replace('20], "local"', '20, "local"')
    )


@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (2, 3)])
def test_a_function_that_another_calls_is_counted_by_all_of_its_calls(outer: int, inner: int) -> None:
    (found,) = [f for f in report(nested(outer, inner)).findings if f.code == "X001"]
    calls = outer * inner
    assert (found.evidence["function"], found.evidence["calls"]) == ("layer", calls)
    assert found.message.endswith(f"(in function layer{f', called {calls} times' if calls > 1 else ''})")


def looping(inside: str) -> Model:
    """A Loop whose body is `inside`, of a to b."""
    return graphs.model(f"""{HEADER} g (float[batch,8] x, int64 trips) => (float[batch,8] y) {{
        yes = Constant<value = bool {{1}}>()
        y = Loop (trips, yes, x) <
            body = step (int64 i, bool on, float[batch,8] a) => (bool next, float[batch,8] b) {{
                next = Identity(on)
                {inside}
            }}
        >
    }}
    {FUNCTION} layer (a) => (b) {{
        yes = Constant<value = bool {{1}}>()
        half = Constant<value = float {{0.5}}>()
        b, mask = Dropout(a, half, yes)
    }}""")


DROPOUT = "half = Constant<value = float {0.5}>()\n b, mask = Dropout(a, half, on)"


@pytest.mark.parametrize(
    ("inside", "where"),
    [
        (DROPOUT.replace("on)", "yes)"), "(in the body of Loop Loop_y)"),
        ("b = local.layer (a)", "(in function layer, in the body of Loop Loop_y)"),
        (
            "c = local.layer (a)\n b = local.layer (c)",
            "(in function layer, called 2 times, in the body of Loop Loop_y)",
        ),
    ],
    ids=["node", "call", "calls"],
)
def test_the_body_of_a_loop_is_named(inside: str, where: str) -> None:
    (found,) = [f for f in report(looping(inside)).findings if f.code == "X001"]
    assert found.message.endswith(where)


def test_a_loop_without_any_says_nothing() -> None:
    assert [f for f in report(looping("b = Relu(a)")).findings if f.code == "X001"] == []
