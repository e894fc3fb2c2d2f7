"""The kernels of attention in every format: like attentions once, GPUs of one kernel together."""

from __future__ import annotations

import io
import json

import graphs
import pytest
from rich.console import Console

from onnxfix.diagnose.registry import all_rules
from onnxfix.diagnose.report import attentions, html, markdown, text
from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.nouns.target import Target

NODE = "com.microsoft.MultiHeadAttention <num_heads = 4>"


def model() -> Model:
    """Two layers with a bias and one without."""
    inputs = "float16[b,s,128] x, float16[1,1,s,s] bias"
    body = f"y0 = {NODE}(x, x, x, , , bias) y1 = {NODE}(y0, y0, y0, , , bias) y = {NODE}(y1, y1, y1)"
    made = graphs.proto(f"g ({inputs}) => (float16[b,s,128] y) {{ {body} }}")
    for number, node in enumerate(made.graph.node):
        node.name = f"/model/layers.{number}/attn/Attend"
    return graphs.opened(made)


@pytest.fixture(scope="module")
def report() -> Report:
    return diagnose(model(), Target.resolve("cuda"))


BIAS = "memory-efficient if the queries are a multiple of 8, else unfused"


def test_like_attentions_stand_once_with_their_count_and_place(report: Report) -> None:
    first, second = attentions.alike(report.attentions)
    assert first.title == "2 × MultiHeadAttention in fp16, model.layers.*.attn"
    assert second.title == "MultiHeadAttention in fp16, /model/layers.2/attn/Attend"
    assert [(gpus, choice.words()) for gpus, choice in first.choices()] == [("sm 75–89", BIAS), ("sm 90 on", "cuDNN")]
    assert [gpus for gpus, _ in second.choices()] == ["sm 75", "sm 80–89", "sm 90 on"]


def test_a_choice_that_depends_on_rows_is_doubtful_and_one_that_is_always_slow_is_bad(report: Report) -> None:
    first, second = attentions.alike(report.attentions)
    assert [attentions.style(choice) for _, choice in first.choices()] == ["noisy", ""]
    assert {attentions.style(choice) for _, choice in second.choices()} == {""}
    masked = f"y = {NODE}(x, x, x, , m)"
    subject = graphs.model(f"g (float16[b,s,128] x, int32[b,s] m) => (float16[b,s,128] y) {{ {masked} }}")
    (only,) = attentions.alike(diagnose(subject, Target.resolve("cuda")).attentions)
    assert [(gpus, attentions.style(choice)) for gpus, choice in only.choices()] == [("every GPU", "lost")]


def test_a_terminal_of_100_columns_holds_every_line(report: Report) -> None:
    stream = io.StringIO()
    text.show(report, Console(file=stream, width=100, no_color=True))
    shown = stream.getvalue()
    assert max(map(len, shown.splitlines())) <= 100
    assert "Kernels of attention on CUDA, as ONNX Runtime 1.31 chooses" in shown
    assert f"    sm 75–89: {BIAS}\n      not flash, TensorRT cross or TensorRT: has an attention_bias; " in shown
    assert "    sm 90 on: cuDNN\n" in shown
    assert "    estimate by roofline, 64 × 512 tokens: at least T4 0.1" in shown


def test_the_page_and_the_comment_have_the_table(report: Report) -> None:
    page, comment = html.page(report, all_rules()), markdown.comment(report)
    for shown in (page, comment):
        assert "estimate by roofline" in shown
        assert "Kernels of attention on CUDA" in shown and BIAS in shown and "sm 75–89" in shown
    assert f'<span class="noisy" title="">{BIAS}</span>' in page


def test_json_has_each_attention_by_architecture(report: Report) -> None:
    document = json.loads(json.dumps(report.as_dict()))
    first = document["attention"][0]
    assert len(document["attention"]) == 3 and first["node"] == "/model/layers.0/attn/Attend"
    assert list(first["kernels"]) == ["sm 75", "sm 80", "sm 86", "sm 89", "sm 90", "sm 100", "sm 120"]
    assert first["kernels"]["sm 80"]["taken"][0] | {"because": []} == {
        "kernel": "memory-efficient", "when": "the queries are a multiple of 8", "because": []
    }  # fmt: skip
    assert [each["gpu"] for each in first["roofline_estimate"]] == ["T4", "A100", "H100"]
    assert {"kernel": "flash", "reasons": ["has an attention_bias"]} in first["kernels"]["sm 80"]["refused"]


def test_reports_without_attention_are_as_they_were() -> None:
    subject = graphs.model("g (float[n] x) => (float[n] y) { y = Relu(x) }")
    for target in ("cuda", "cpu"):
        report = diagnose(subject, Target.resolve(target))
        assert "attention" not in report.as_dict()
        assert "Kernels of attention" not in html.page(report, all_rules()) + markdown.comment(report)


def test_groups_of_one_title_are_told_apart() -> None:
    """Layers of two kinds at like places, as many of each."""
    inputs = "float16[b,s,128] x, float16[1,1,s,s] bias"
    nodes = [f"y{i} = {NODE}(y{i - 1}, y{i - 1}, y{i - 1}{', , , bias' if i % 2 else ''})" for i in range(1, 5)]
    body = " ".join(nodes).replace("y0", "x").replace("y4", "y")
    made = graphs.proto(f"g ({inputs}) => (float16[b,s,128] y) {{ {body} }}")
    for number, node in enumerate(made.graph.node):
        node.name = f"/model/layers.{number}/attn/Attend"
    found = attentions.alike(diagnose(graphs.opened(made), Target.resolve("cuda")).attentions)
    assert [each.title for each in found] == [
        "2 × MultiHeadAttention in fp16, model.layers.*.attn",
        "2 × MultiHeadAttention in fp16, model.layers.*.attn, /model/layers.1/attn/Attend first",
    ]
