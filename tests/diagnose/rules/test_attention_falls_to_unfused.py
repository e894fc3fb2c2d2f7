"""F001: operators of attention that CUDA computes unfused, what is said of them, and those that are left alone."""

from __future__ import annotations

import graphs
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

TARGET = "cuda"
SITES = ["MultiHeadAttention_y"]
MHA = "com.microsoft.MultiHeadAttention <num_heads = 4{}> ({})"


def model(inputs: str, node: str, element: str = "float16", opset: int = 23, rows: str = "s") -> Model:
    """Queries, keys and values of 4 heads of 32, and further inputs."""
    given = ", ".join(f"{element}[b,{rows},128] {name}" for name in "qkv")
    more = f", {inputs}" if inputs else ""
    return graphs.model(f"g ({given}{more}) => ({element}[b,{rows},128] y) {{ y = {node} }}", opset=opset)


def masked(mask: str = "b,s", element: str = "float16") -> Model:
    return model(f"int32[{mask}] m", MHA.format("", "q, k, v, , m"), element)


def biased(element: str = "float16", rows: str = "s") -> Model:
    return model(f"{element}[1,1,{rows},{rows}] a", MHA.format("", "q, k, v, , , a"), element, rows=rows)


def plain(element: str = "float16", rows: str = "s") -> Model:
    return model("", MHA.format("", "q, k, v"), element, rows=rows)


def BAD() -> Model:
    return masked()


def SOUND() -> Model:
    return masked("b")


def found(subject: Model, target: str = "cuda") -> list[Finding]:
    return [f for f in diagnose(subject, Target.resolve(target)).findings if f.code == "F001"]


def test_a_mask_of_keys_leaves_only_the_unfused_kernel() -> None:
    (finding,) = found(masked())
    assert finding.severity is Severity.WARNING
    assert finding.message == "MultiHeadAttention in fp16 takes the unfused kernel, as it has a mask [batch, keys]"
    assert finding.repair == "give the mask as lengths and offsets [3 · batch + 2] where rows are padded at one end"
    assert finding.evidence["kernel"] == "unfused" and "flash" in str(finding.evidence["refused"])


def test_a_bias_leaves_the_memory_efficient_kernel_to_aligned_rows() -> None:
    (finding,) = found(biased())
    assert finding.message.endswith("unfused kernel, unless the queries are a multiple of 8: has an attention_bias")
    assert finding.repair == "pad rows to a multiple of 8 tokens"
    assert found(biased(rows="64")) == []
    (finding,) = found(biased(rows="77"))
    assert finding.message.endswith("as it has an attention_bias and 77 queries, no multiple of 8")
    (finding,) = found(biased("float", rows="264"))  # a multiple of 8 and not of 16
    assert finding.repair == "onnxfix repair --precision fp16"


@pytest.mark.parametrize("rows", ["s", "64", "512"])
def test_short_rows_in_fp32_are_unfused_on_purpose(rows: str) -> None:
    assert found(plain("float", rows)) == []


def test_two_reasons_need_two_changes() -> None:
    both = graphs.model(
        "g (float16[b,s,128] x, int32[b,s] m) => (float16[b,s,128] y, float16[b,4,s,s] w) "
        "{ y, nk, nv, w = com.microsoft.MultiHeadAttention <num_heads = 4> (x, x, x, , m) }"
    )
    (finding,) = found(both)
    assert "give the mask as lengths" in finding.repair and "do not give out the scores" in finding.repair


def test_any_bias_of_grouped_queries_is_unfused() -> None:
    node = "y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 4> (q, q, q, , , l, t, , , {})"
    text = "g (float16[b,s,128] q, int32[b] l, int32[1] t, float16[b,1,s,u] a) => (float16[b,s,128] y) {{ {} }}"
    (finding,) = found(graphs.model(text.format(node.format(", a"))))
    assert finding.message.endswith("as it has an attention_bias") and "seqlens_k" in finding.repair
    assert found(graphs.model(text.format(node.format("").rstrip(", )") + ")"))) == []


def test_the_standard_operator_with_a_mask_wants_four_keys() -> None:
    node = "Attention <q_num_heads = 4, kv_num_heads = 4> (q, k, v{})"
    (finding,) = found(model("bool[s,s] m", node.format(", m")))
    assert finding.message.endswith("unless the keys are a multiple of 4: has an attn_mask")
    assert finding.repair == "pad rows to a multiple of 4 tokens"
    assert found(model("", node.format(""))) == []


@pytest.mark.parametrize("target", ["cpu", "tensorrt", "openvino"])
def test_only_cuda_chooses_between_kernels(target: str) -> None:
    subject = Target.resolve(target)
    assert diagnose(masked(), subject).attentions == ()


def test_what_is_not_told_by_the_file_is_no_finding() -> None:
    assert found(masked("n")) == []


def test_a_written_out_attention_is_told_of_and_no_finding() -> None:
    """Every export is written out: the table says so, and a warning would stand on every model (F002 is a note)."""
    subject = graphs.model(
        "g (float[b,4,s,32] q, float[b,4,32,s] k, float[b,4,s,32] v) => (float[b,4,s,32] y) "
        "{ c = MatMul(q, k) p = Softmax <axis = -1> (c) y = MatMul(p, v) }"
    )
    report = diagnose(subject, Target.resolve("cuda"))
    assert {f.code for f in report.findings} == {"F002"} and [a.operator for a in report.attentions] == ["written out"]


def test_of_a_model_that_does_not_load_only_that_is_said() -> None:
    report = diagnose(model("float[b,s] m", MHA.format("", "q, k, v, , m")), Target.resolve("cuda"))  # int32 is due
    assert report.plan.load_error and "F001" not in [f.code for f in report.findings]
