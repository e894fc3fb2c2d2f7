"""`onnxfix repair` and `diagnose` as people type them: defaults, exit codes, JSON, what is preserved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from terminal import onnxfix

from onnxfix.eval.run import pair_sums
from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)


def answer(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    done = onnxfix(*arguments, "--format", "json", cwd=cwd)
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`model.onnx`: a gated MLP with a chunk as the dynamo exporter writes it without its optimizer."""
    model = graphs.model(
        """g (float[batch,sequence,32] x) => (float[batch,sequence,32] y)
        <int64 size = {64}, int64 first = {0}, int64 second = {1}> {
        t = Transpose<perm = [1, 0]>(wi)
        h = MatMul(x, t)
        s = SplitToSequence<axis = -1>(h, size)
        a = SequenceAt(s, first)
        b = SequenceAt(s, second)
        g = Gelu(a)
        m = Mul(g, b)
        y = MatMul(m, wo)
    }""",
        {
            "wi": RNG.normal(0, 0.2, size=(128, 32)).astype(np.float32),
            "wo": RNG.normal(0, 0.2, size=(64, 32)).astype(np.float32),
        },
    )
    model.ir.metadata_props["owner"] = "somebody"
    model.graph.doc_string = "a gated MLP"
    model.save(tmp_path / "model.onnx")
    return tmp_path


def test_the_three_lines_of_the_readme(folder: Path) -> None:
    diagnosed = onnxfix("diagnose", "model.onnx", cwd=folder)
    assert diagnosed.returncode == 1 and "K001 sequence-op-copies" in diagnosed.stdout
    repaired = onnxfix("repair", "--keep-rotary-fp32", cwd=folder)
    assert repaired.returncode == 0, repaired.stderr
    assert onnxfix("diagnose", "model.fp16.onnx", cwd=folder).returncode == 0


def test_the_report_has_the_contract_keys(folder: Path) -> None:
    report = answer("diagnose", "model.onnx", cwd=folder)
    assert report["schema"] == "onnxfix.diagnose/1"
    assert {"path", "nodes", "opset", "weights_bytes"} <= set(report["model"])
    assert {"provider", "onnxruntime", "engine"} <= set(report["target"])
    memcpy = report["placement"]["memcpy"]
    assert memcpy["total"] == memcpy["to_host"] + memcpy["from_host"] == len(memcpy["copies"]) == 2
    for copy in memcpy["copies"]:
        assert {"direction", "value", "producer", "consumers", "cause", "severity"} <= set(copy)
        assert copy["cause"]["op_type"] == "SplitToSequence"
    assert sum(report["placement"]["providers"].values()) == len(report["placement"]["nodes"])
    assert {"name", "op_type", "provider", "reason"} <= set(report["placement"]["nodes"][0])
    counts = {f"{kind}{done}" for kind in ("embeddings", "convolutions") for done in ("", "_quantized")}
    coverage = {"linears", "heads", "quantized", "weight_share", "flops_share", "bytes_saved", "providers", "skipped"}
    assert counts | coverage == set(report["quantization"])
    for finding in report["findings"]:
        wanted = {"code", "name", "severity", "site", "message", "evidence", "repair", "applicability"}
        assert wanted == set(finding) and {"scope", "op_type", "node", "value"} == set(finding["site"])
    assert set(report["summary"]) == {"error", "warning", "note"}


@pytest.mark.parametrize(("fail_on", "code"), [("error", 1), ("warning", 1), ("note", 1), ("never", 0)])
def test_fail_on_decides_the_exit_code(folder: Path, fail_on: str, code: int) -> None:
    assert onnxfix("diagnose", "model.onnx", "--fail-on", fail_on, cwd=folder).returncode == code


def test_fp32_repair_is_bit_identical_and_keeps_what_is_not_its_business(folder: Path) -> None:
    document = answer("repair", "--precision", "fp32", cwd=folder)
    assert document["output"] == "model.fp32.onnx" and "identical outputs" in document["verified"]
    source, result = onnx.load(folder / "model.onnx"), onnx.load(folder / "model.fp32.onnx")
    assert source.graph.input == result.graph.input and source.graph.output == result.graph.output
    assert (source.ir_version, list(source.opset_import)) == (result.ir_version, list(result.opset_import))
    assert result.graph.doc_string == "a gated MLP"
    metadata = {p.key: p.value for p in result.metadata_props}
    assert metadata["owner"] == "somebody" and "identical" in json.loads(metadata["onnxfix.repair"])["verified"]


def test_no_verify_says_unverified_everywhere(folder: Path) -> None:
    document = answer("repair", "--no-verify", "--report", "report.json", cwd=folder)
    assert document["verified"] == "unverified"
    assert json.loads((folder / "report.json").read_text())["verified"] == "unverified"
    text = Model.open(folder / "model.fp16.onnx").ir.metadata_props["onnxfix.repair"]
    assert json.loads(text)["verified"] == "unverified"
    said = onnxfix("repair", "--no-verify", "--force", cwd=folder).stdout
    assert "unverified: the result was not run" in said and "verified: " not in said.replace("unverified: ", "")


def test_dry_run_and_diff_write_nothing(folder: Path) -> None:
    done = onnxfix("repair", "--dry-run", "--diff", cwd=folder)
    assert done.returncode == 0 and "SplitToSequence" in done.stdout
    assert [p.name for p in folder.iterdir()] == ["model.onnx"]


def test_int8_implies_fp32_and_cpu(folder: Path) -> None:
    document = answer("repair", "--int8", "dynamic", cwd=folder)
    assert document["output"] == "model.int8-dynamic.onnx"
    assert (document["quantization"]["linears"], document["quantization"]["quantized"]) == (2, 2)


def test_static_int8_measures_ranges_by_the_method_asked_for(folder: Path) -> None:
    np.savez(folder / "inputs.npz", x=RNG.standard_cauchy((8, 50, 32)).astype(np.float32))
    scales = {}
    for method in ("minmax", "percentile"):
        options = ("--int8", "static", "--calibrate", "inputs.npz", "--calibration", method, "--max-error", "1")
        assert answer("repair", *options, "--no-migrate-outliers", cwd=folder)["quantization"]["quantized"] == 2
        result = Model.open(folder / "model.int8-static.onnx")
        scales[method] = float(result.graph.initializers["x_scale"].const_value.numpy())
    assert scales["percentile"] < scales["minmax"], "the percentile leaves outliers out"
    done = onnxfix("repair", "--int8", "static", cwd=folder)
    assert done.returncode == 2 and "--calibrate" in done.stderr
    done = onnxfix("repair", "--int8", "static", "--calibrate", "inputs.npz", "--target", "cuda", cwd=folder)
    assert done.returncode == 2 and "--int8 weight-only" in done.stderr


def test_no_prepare_is_the_quantizer_alone(folder: Path) -> None:
    """It leaves the weight behind the Transpose in float, and nothing in the graph is repaired on the way."""
    # weights of 7 bits, which repair takes where this CPU has no VNNI, err by 0.1 in a layer of random ones
    limit = ("--max-error", "0.2") if pair_sums.saturate() else ()
    document = answer("repair", "--int8", "dynamic", "--no-prepare", *limit, cwd=folder)
    assert (document["quantization"]["linears"], document["quantization"]["quantized"]) == (2, 1)
    assert [n.op_type for n in Model.open(folder / "model.int8-dynamic.onnx").nodes()].count("SplitToSequence") == 1
    done = onnxfix("repair", "--no-prepare", cwd=folder)
    assert done.returncode == 2 and "--int8 dynamic" in done.stderr


def weight_only_node(folder: Path, *options: str) -> dict[str, int]:
    answer("repair", "--int8", "weight-only", *options, cwd=folder)
    (file,) = folder.glob("model.w*.onnx")
    nodes = [n for n in Model.open(file).nodes() if n.op_type == "MatMulNBits"]
    assert len(nodes) == 2 and file.name == f"model.w{nodes[0].attributes['bits'].as_int()}.onnx"
    found = {name: attribute.as_int() for name, attribute in nodes[1].attributes.items()}
    file.unlink()
    return found


def test_weight_only_takes_bits_and_blocks(folder: Path) -> None:
    """The blocks are of the size asked for where the weight is as long, and of a shorter one's length where not."""
    plain = weight_only_node(folder)
    assert plain["bits"] == 8 and "accuracy_level" not in plain
    assert weight_only_node(folder, "--bits", "4", "--max-error", "1")["bits"] == 4
    assert weight_only_node(folder, "--target", "cpu")["accuracy_level"] == 4
    assert plain["block_size"] > 32 == weight_only_node(folder, "--block-size", "32")["block_size"]


@pytest.mark.parametrize("options", [("--bits", "4"), ("--block-size", "32"), ("--int8", "dynamic", "--bits", "4")])
def test_bits_and_blocks_are_of_weight_only_quantization(folder: Path, options: tuple[str, ...]) -> None:
    done = onnxfix("repair", *options, cwd=folder)
    assert done.returncode == 2 and "--int8 weight-only" in done.stderr


def test_an_error_beyond_the_limit_writes_nothing(folder: Path) -> None:
    done = onnxfix("repair", "--max-error", "1e-9", cwd=folder)
    assert done.returncode == 2 and "--calibrate" in done.stderr and "the worst node is" in done.stderr
    assert [p.name for p in folder.iterdir()] == ["model.onnx"]


def test_given_feeds_are_used_and_checked(folder: Path) -> None:
    np.savez(folder / "feeds.npz", x=RNG.normal(size=(1, 3, 32)).astype(np.float32))
    document = answer("repair", "--feeds", "feeds.npz", cwd=folder)
    assert document["comparisons"][0]["differences"][0]["shape"] == [1, 3, 32]
    np.savez(folder / "wrong.npz", x=RNG.normal(size=(1, 3, 31)).astype(np.float32))
    assert onnxfix("repair", "--feeds", "wrong.npz", cwd=folder).returncode == 2


def test_external_data_stays_external_and_outputs_are_whole(folder: Path) -> None:
    onnx.save(
        onnx.load(folder / "model.onnx"), folder / "big.onnx", save_as_external_data=True, location="big.data",
        size_threshold=0,
    )  # fmt: skip
    done = onnxfix("repair", "big.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    names = {p.name for p in folder.iterdir()}
    assert names == {"model.onnx", "big.onnx", "big.data", "big.fp16.onnx", "big.fp16.onnx.data"}
    assert Model.open(folder / "big.fp16.onnx").weights_bytes < Model.open(folder / "big.onnx").weights_bytes


def test_a_quantization_that_would_do_nothing_is_refused_with_the_reason(tmp_path: Path) -> None:
    weights = {"w": RNG.normal(size=(32, 32))}
    graphs.model("g (double[b,32] x) => (double[b,32] y) { y = MatMul(x, w) }", weights).save(tmp_path / "model.onnx")
    done = onnxfix("repair", "--int8", "dynamic", cwd=tmp_path)
    assert done.returncode == 2 and "its weight is DOUBLE" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    converted = onnxfix("repair", "--precision", "fp16", cwd=tmp_path)
    assert "nothing was converted" in converted.stdout


def test_linears_inside_loops_are_quantized_too(tmp_path: Path) -> None:
    model = graphs.model(
        """g (int64 n, bool c, float[2,32] x) => (float[2,32] y) {
        y = Loop(n, c, x) <body = body (int64 i, bool go, float[2,32] s) => (bool on, float[2,32] t) {
            on = Identity(go)
            m = MatMul(s, w)
            t = Tanh(m)
        }>
    }""",
        {"w": RNG.normal(0, 0.1, size=(32, 32)).astype(np.float32)},
    )
    model.save(tmp_path / "model.onnx")
    # what each of the made-up rounds, which are dozens, rounds adds up
    document = answer("repair", "--int8", "dynamic", "--max-error", "0.5", cwd=tmp_path)
    coverage = document["quantization"]
    assert (coverage["linears"], coverage["quantized"], coverage["skipped"]) == (1, 1, [])


@pytest.mark.parametrize("precision", [("--precision", "fp16"), ("--int8", "dynamic")])
def test_a_bad_pattern_is_a_clear_error_for_every_conversion(folder: Path, precision: tuple[str, str]) -> None:
    done = onnxfix("repair", *precision, "--block-node", "[", cwd=folder)
    assert done.returncode == 2 and "is not a regular expression" in done.stderr
    nothing = onnxfix("repair", *precision, "--block-op", "LSTM", cwd=folder)
    assert nothing.returncode == 2 and "catches no node" in nothing.stderr


def test_a_report_into_a_missing_folder_is_refused_first(folder: Path) -> None:
    done = onnxfix("repair", "--report", "nowhere/report.json", cwd=folder)
    assert done.returncode == 2 and "--report" in done.stderr
    assert [p.name for p in folder.iterdir()] == ["model.onnx"]


def test_a_report_never_overwrites_a_model(folder: Path) -> None:
    before = (folder / "model.onnx").read_bytes()
    done = onnxfix("repair", "-o", "out.onnx", "--report", "model.onnx", cwd=folder)
    assert done.returncode == 2 and "--report" in done.stderr
    assert (folder / "model.onnx").read_bytes() == before and not (folder / "out.onnx").exists()


def test_scripts_run_before_and_after_the_passes(folder: Path) -> None:
    """Before them there is a sequence, after them none; each is named in the report and in the file."""
    (folder / "seen.py").write_text("""
def before(graph):
    assert any(node.op == 'SplitToSequence' for node in graph.nodes)
    graph.nodes[0].name = 'renamed'
    print('a script may print')
def after(graph):
    assert not any(node.op == 'SplitToSequence' for node in graph.nodes)
""")
    given = ("--precision", "fp32", "--script", "seen.py:before", "--script-last", "seen.py:after")
    document = answer("repair", *given, cwd=folder)
    passes = document["passes"]
    assert passes[0] == "script seen.py:before" and "script seen.py:after" in passes[-2:]
    assert document["applicability"] == "numeric" and "script seen.py:before: insert" in document["changes"]
    assert "script seen.py:after changed nothing" in document["notes"]
    assert document["comparisons"][0]["rel_l2"] == 0
    written = json.loads(Model.open(folder / "model.fp32.onnx").ir.metadata_props["onnxfix.repair"])
    assert written["passes"] == passes


def test_a_script_that_is_wrong_or_changes_results_writes_nothing(folder: Path) -> None:
    (folder / "scale.py").write_text("""
def surgery(graph):
    graph.tensors()['wo'].values *= 1.01
def broken(graph):
    graph.nodes[0].nothing
""")
    done = onnxfix("repair", "--precision", "fp32", "--script", "scale.py:broken", cwd=folder)
    assert done.returncode == 2 and "fails in scale.py, line 5: AttributeError" in done.stderr
    done = onnxfix("repair", "--precision", "fp32", "--script", "scale.py", cwd=folder)
    assert done.returncode == 2 and "differs from the source by a relative L2 error of 1.0e-02" in done.stderr
    assert sorted(f.name for f in folder.iterdir()) == ["model.onnx", "scale.py"]
    document = answer("repair", "--precision", "fp32", "--script", "scale.py", "--max-error", "0.02", cwd=folder)
    assert "relative L2 error at most 1.0e-02" in document["verified"]


def test_packing_is_verified_with_padding_anywhere(folder: Path) -> None:
    """And where nothing can be packed that is one line."""
    text = """g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s,8] y) {
        x = Gather(table, input_ids) n = Tanh(x) q = MatMul(n, w) k = MatMul(n, u) kt = Transpose<perm = [0, 2, 1]>(k)
        s0 = MatMul(q, kt) seen = Cast<to = 9>(attention_mask) wide = Unsqueeze(seen, one) mask = Where(wide, zero, low)
        s1 = Add(s0, mask) p = Softmax<axis = -1>(s1) c = MatMul(p, x) y = MatMul(c, w) }"""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(8, 8)).astype(np.float32) / 3 for name in ("table", "w", "u")}
    weights |= {"one": np.array([1]), "zero": np.float32(0), "low": np.float32(-1e9)}
    graphs.model(text, weights).save(folder / "padded.onnx")
    wish = ("--precision", "fp32", "--target", "cpu", "--pack-tokens")
    done = onnxfix("repair", "padded.onnx", *wish, cwd=folder)
    assert done.returncode in (0, 1) and "on 8 feeds" in done.stdout, done.stderr
    none = onnxfix("repair", *wish, "-o", "none.onnx", cwd=folder)
    assert none.returncode == 2 and "nothing was packed: no single input" in none.stderr
    assert not (folder / "none.onnx").exists()
