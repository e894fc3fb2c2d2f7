"""`onnxfix repair` to half precision: what running the model adds to what structure says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
import twins
from terminal import onnxfix

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer

RNG = np.random.default_rng(0)
LAYERS = 5
WIDTH = 32


def stack(gain: float) -> Model:
    """Layers of two products with a ReLU between; in layer 2 the first makes `gain` times more, the second less."""
    lines, weights, last = [], {}, "x"
    for i in range(LAYERS):
        factor = gain if i == 2 else 1.0
        weights[f"up{i}"] = (factor * RNG.normal(0, WIDTH**-0.5, (WIDTH, WIDTH))).astype(np.float32)
        weights[f"down{i}"] = (RNG.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)) / factor).astype(np.float32)
        out = "y" if i == LAYERS - 1 else f"h{i}"
        lines.append(
            f"u{i} = MatMul({last}, up{i}) r{i} = Relu(u{i}) d{i} = MatMul(r{i}, down{i}) {out} = Add({last}, d{i})"
        )
        last = out
    text = "g (float[batch,sequence,32] x) => (float[batch,sequence,32] y) {" + " ".join(lines) + "}"
    return graphs.model(text, weights)


def saved(model: Model, folder: Path) -> Path:
    onnx.save(graphs.proto_of(model), folder / "model.onnx")
    return folder / "model.onnx"


def answer(*arguments: str | Path) -> dict[str, Any]:
    done = onnxfix("repair", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def in_fp32(path: Path) -> set[str]:
    """Values that compute in fp32, the casts at the model's border aside."""
    model = Model.open(path)
    types = infer(model.ir)
    nodes = [n for n in model.nodes() if n.op_type not in ("Cast", "Constant")]
    return {n.outputs[0].name or "" for n in nodes if types.is_float32(n.outputs[0])}


def test_calibration_keeps_what_overflows_on_real_inputs_and_nothing_else(tmp_path: Path) -> None:
    """Made-up inputs of 1 do not show it; real ones of 100 do."""
    source = saved(stack(1000.0), tmp_path)
    plain = answer(source, "-o", tmp_path / "plain.onnx")
    assert in_fp32(tmp_path / "plain.onnx") == set() and plain["comparisons"][0]["rel_l2"] < 5e-3
    np.savez(tmp_path / "real.npz", x=RNG.normal(0, 100, (2, 5, WIDTH)).astype(np.float32))
    document = answer(source, "--calibrate", tmp_path / "real.npz")
    assert in_fp32(tmp_path / "model.fp16.onnx") == {"u2", "r2", "d2"}
    assert "kept in fp32: 2 nodes (overflows in half)" in document["notes"]
    (note,) = [note for note in document["notes"] if note.startswith("calibrated on 1 feed: 3 nodes kept in fp32")]
    assert "MatMul_u2 is the first to overflow: its result reaches" in note
    assert {d["feed"] for d in document["comparisons"][0]["differences"]} >= {"real"}


def test_what_overflows_on_made_up_inputs_is_kept_without_being_asked(tmp_path: Path) -> None:
    document = answer(saved(stack(1e6), tmp_path))
    assert in_fp32(tmp_path / "model.fp16.onnx") >= {"u2", "r2", "d2"}
    assert not {"u0", "r1", "d4"} & in_fp32(tmp_path / "model.fp16.onnx")
    assert any("error NaN → " in note for note in document["notes"])


def test_nodes_without_names_are_kept_as_others_are(tmp_path: Path) -> None:
    source = saved(twins.twin(stack(1e6), twins.unnamed), tmp_path)
    answer(source)
    assert in_fp32(tmp_path / "model.fp16.onnx") >= {"u2", "r2", "d2"}
    assert not {"u0", "r1", "d4"} & in_fp32(tmp_path / "model.fp16.onnx")
    found = answer(source, "--search", "--max-error", "5e-3", "-o", tmp_path / "searched.onnx")["search"]
    kept = in_fp32(tmp_path / "searched.onnx")
    assert kept and set(found["nodes"]) <= {"u2", "r2", "d2", "h2"} and found["within"]
    flags = [part.strip("'") for flag in found["flags"] for part in flag.split(" ", 1)]
    answer(source, "-o", tmp_path / "again.onnx", *flags)
    assert in_fp32(tmp_path / "again.onnx") == kept


CARRIED = """g (float[b,s,16] x) => (float[b,s,16] y) <int64[1] last = {-1}> {
    a = MatMul(x, w)
    %s
    q = Mul(d, d)
    v = ReduceMean(q, last)
    r = Sqrt(v)
    n = Div(d, r)
    y = MatMul(n, u)
}"""


@pytest.mark.parametrize(
    "movers",
    [
        "d = Cast <to = 1> (a)",
        "c = Cast <to = 1> (a) t = Transpose <perm = [0,1,2]> (c) d = Identity(t)",
        "c = Concat <axis = -1> (a, a) p, d = Split <axis = -1, num_outputs = 2> (c)",
    ],
)
@pytest.mark.parametrize(("scale", "kept"), [(20_000.0, True), (1.0, False)])
def test_what_hands_on_an_overflow_is_kept_with_it(movers: str, scale: float, kept: bool, tmp_path: Path) -> None:
    """The product passes 65,504 and the norm is in fp32: what stands between them must not be half."""
    weights = {"w": (np.eye(16) * scale).astype(np.float32), "u": np.eye(16, dtype=np.float32)}
    source = saved(graphs.model(CARRIED % movers, weights), tmp_path)
    feeds = tmp_path / "real.npz"
    np.savez(feeds, x=np.random.default_rng(1).standard_normal((20, 3, 16)).astype(np.float32))
    document = answer(source, "--calibrate", feeds)
    assert document["comparisons"][0]["sound"] and document["comparisons"][0]["rel_l2"] < 5e-3
    assert ("a" in in_fp32(tmp_path / "model.fp16.onnx")) == kept


def test_a_model_that_overflows_everywhere_is_not_called_half(tmp_path: Path) -> None:
    """Keeping all of it in fp32 would verify, and convert nothing."""
    text = "g (float[b,4] x) => (float[b,4] y) { a = Mul(x, big) b_ = Mul(a, big) y = Mul(b_, big) }"
    source = saved(graphs.model(text, {"big": np.full(4, 6e4, np.float32)}), tmp_path)
    done = onnxfix("repair", source)
    assert done.returncode == 2 and "NaN or infinite values in output y" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_what_cannot_be_helped_names_the_worst_node_and_writes_nothing(tmp_path: Path) -> None:
    source = saved(stack(1.0), tmp_path)
    done = onnxfix("repair", source, "--max-error", "1e-5")
    assert done.returncode == 2 and "the worst node is" in done.stderr and "--search" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_comparison_states_every_measure(tmp_path: Path) -> None:
    document = answer(saved(stack(1.0), tmp_path))
    (first, *_) = document["comparisons"][0]["differences"]
    assert first["cosine"] > 0.9999 and first["nan"] == 0 and 0.9 < first["argmax_agreement"] <= 1.0
    assert first["max_abs"] > 0 and 0 < first["rel_l2"] < 5e-3


@pytest.mark.parametrize("option", [("--int8", "weight-only"), ("--precision", "fp32")])
def test_calibration_is_for_what_measures(option: tuple[str, str], tmp_path: Path) -> None:
    np.savez(tmp_path / "real.npz", x=np.zeros((1, 2, WIDTH), np.float32))
    done = onnxfix("repair", saved(stack(1.0), tmp_path), *option, "--calibrate", tmp_path / "real.npz")
    assert (
        done.returncode == 2
        and "--calibrate needs --precision fp16 or bf16, or --int8 static or dynamic" in done.stderr
    )


@pytest.mark.parametrize(
    ("options", "missing"),
    [(("--io-types", "half"), "--io-types"), (("--keep-fp32-like", "norms"), "--keep-fp32-like")],
)
def test_options_of_half_precision_are_refused_without_it(
    options: tuple[str, str], missing: str, tmp_path: Path
) -> None:
    done = onnxfix("repair", saved(stack(1.0), tmp_path), "--precision", "fp32", *options)
    assert done.returncode == 2 and missing in done.stderr


def test_a_table_of_texts_needs_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\nhello\n")
    done = onnxfix("repair", saved(stack(1.0), tmp_path), "--calibrate", tmp_path / "rows.csv")
    assert done.returncode == 2 and "--checkpoint" in done.stderr


def test_io_types_half_is_verified_and_declared(tmp_path: Path) -> None:
    document = answer(saved(stack(1.0), tmp_path), "--io-types", "half")
    result = Model.open(tmp_path / "model.fp16.onnx")
    assert [str(v.dtype) for v in (*result.graph.inputs, *result.graph.outputs)] == ["FLOAT16", "FLOAT16"]
    assert "relative L2 error at most" in document["verified"]


def test_an_input_that_is_an_output_becomes_half_with_the_others(tmp_path: Path) -> None:
    text = "g (float[b,32] x) => (float[b,32] x, float[b,32] y) { y = MatMul(x, w) }"
    model = graphs.model(text, {"w": RNG.normal(size=(32, 32)).astype(np.float32)})
    document = answer(saved(model, tmp_path), "--io-types", "half")
    result = Model.open(tmp_path / "model.fp16.onnx")
    assert [str(v.dtype) for v in (*result.graph.inputs, *result.graph.outputs)] == ["FLOAT16"] * 3
    assert "relative L2 error at most" in document["verified"]


def test_bf16_raises_the_operator_set_that_its_casts_need(tmp_path: Path) -> None:
    text = """g (float[b,32] x, int64[1] n) => (float[b,32] y) {
        h = MatMul(x, w)
        f = Cast<to = 1>(n)
        y = Mul(h, f)
    }"""
    model = graphs.model(text, {"w": RNG.normal(size=(32, 32)).astype(np.float32)}, opset=11, ir_version=6)
    answer(saved(model, tmp_path), "--precision", "bf16")
    assert Model.open(tmp_path / "model.bf16.onnx").opset == 13


def test_calibration_inputs_do_where_none_can_be_made_up(tmp_path: Path) -> None:
    """The model takes 777 columns in two inputs, which nothing says."""
    text = "g (float[b,n] x, float[b,m] z) => (float[b,8] y) { c = Concat <axis = 1> (x, z) y = MatMul(c, w) }"
    source = saved(graphs.model(text, {"w": RNG.normal(size=(777, 8)).astype(np.float32)}), tmp_path)
    assert onnxfix("repair", source).returncode == 2
    x, z = (RNG.normal(size=(3, n)).astype(np.float32) for n in (700, 77))
    np.savez(tmp_path / "real.npz", x=x, z=z)
    document = answer(source, "--calibrate", tmp_path / "real.npz")
    assert "on 1 feed" in document["verified"]


def planted(folder: Path, gain: float = 1e6) -> Path:
    """An activation beyond 65,504 in layer 2, under torch scopes; what else it takes to feed it is harmless."""
    model = stack(gain)
    for node in model.nodes():
        layer = (node.outputs[0].name or "")[-1].replace("y", str(LAYERS - 1))
        part = "mlp" if node.op_type != "Add" else "sum"
        node.metadata_props["pkg.torch.onnx.name_scopes"] = repr(["", f"model.layers.{layer}.{part}", "linear"])
    return saved(model, folder)


def test_search_finds_the_layer_that_overflows_and_nothing_else(tmp_path: Path) -> None:
    source = planted(tmp_path)
    document = answer(source, "--search", "--max-error", "5e-3")
    assert in_fp32(tmp_path / "model.fp16.onnx") == {"u2", "r2", "d2"}
    found = document["search"]
    assert found["scopes"] == ["model.layers.2.mlp"] and found["flags"] == ["--block-scope 'model.layers.2.mlp'"]
    assert found["runs"] <= 2 * np.log2(4 * LAYERS) + 10 and found["within"]
    flags = [part.strip("'") for flag in found["flags"] for part in flag.split(" ", 1)]
    answer(source, "-o", tmp_path / "again.onnx", *flags)
    assert in_fp32(tmp_path / "again.onnx") == {"u2", "r2", "d2"}


def test_search_resumes_where_it_was_cut_off(tmp_path: Path) -> None:
    source = planted(tmp_path)
    log = tmp_path / "runs.jsonl"
    first = answer(source, "--search", "--max-error", "5e-3", "--search-log", log)
    lines = log.read_text().splitlines()
    assert len(lines) == 1 + first["search"]["runs"]
    log.write_text("\n".join([*lines[:5], lines[5][:7]]))  # four runs, and half a line
    again = answer(source, "--search", "--max-error", "5e-3", "--search-log", log)
    assert again["search"]["nodes"] == first["search"]["nodes"]
    assert again["search"]["runs"] == first["search"]["runs"] - 4


def test_the_log_of_another_search_is_refused(tmp_path: Path) -> None:
    source = planted(tmp_path)
    log = tmp_path / "runs.jsonl"
    answer(source, "--search", "--max-error", "5e-3", "--search-log", log)
    done = onnxfix("repair", source, "--search", "--metric", "cosine", "--search-log", log)
    assert done.returncode == 2 and "is of another search" in done.stderr


@pytest.mark.parametrize(("metric", "limit"), [("cosine", "1e-4"), ("argmax", "0.05"), ("f1", "0.2")])
def test_search_by_other_metrics(metric: str, limit: str, tmp_path: Path) -> None:
    document = answer(planted(tmp_path), "--search", "--metric", metric, "--max-error", limit)
    assert in_fp32(tmp_path / "model.fp16.onnx") == {"u2", "r2", "d2"}
    assert document["search"]["error"] <= float(limit)


def test_search_that_nothing_satisfies_says_so(tmp_path: Path) -> None:
    done = onnxfix("repair", saved(stack(1.0), tmp_path), "--search", "--max-error", "1e-9")
    assert done.returncode == 2 and "only with every node in fp32 is the rel-l2 error within" in done.stderr


def rotary(theta: float = 10000.0) -> Model:
    """Attention scores with rotated queries and keys, on tokens and their positions."""
    dim = 16
    frequencies = (1.0 / theta ** (np.arange(0, dim, 2) / dim)).astype(np.float32)
    weights = {
        "table": RNG.standard_normal((50, dim)).astype(np.float32),
        "w": RNG.normal(0, 0.4, (dim, dim)).astype(np.float32),
        "inv_freq": np.tile(frequencies, 2),
        "shape_end": np.array([1]),
        "one": np.array(1),
        "zero": np.array(0),
        "scale": np.array(0.25, np.float32),
    }
    return graphs.model(
        """g (int64[batch,sequence] input_ids) => (float[batch,sequence,16] y)
        <int64[1] last = {1}, int64[1] half = {8}, int64[1] start = {0}, int64[1] width = {16}, int64[1] axis = {2}> {
        x = Gather(table, input_ids)
        h = MatMul(x, w)
        n = Shape <start = 1, end = 2> (input_ids)
        length = Squeeze(n)
        position = Range(zero, length, one)
        column = Unsqueeze(position, last)
        p = Cast <to = 1> (column)
        angle = Mul(p, inv_freq)
        c = Cos(angle)
        s = Sin(angle)
        a = Slice(h, start, half, axis)
        b = Slice(h, half, width, axis)
        nb = Neg(b)
        turned = Concat <axis = 2> (nb, a)
        hc = Mul(h, c)
        hs = Mul(turned, s)
        q = Add(hc, hs)
        qt = Transpose <perm = [0, 2, 1]> (q)
        raw = MatMul(q, qt)
        scores = Mul(raw, scale)
        weights = Softmax(scores)
        y = MatMul(weights, h)
    }""",
        weights,
    )


def broken_fp16(source: Path, folder: Path) -> Path:
    """What onnxconverter-common makes of a model: here with the types it leaves in conflict."""
    from onnxfix.surgery.engines import common_fp16

    return common_fp16(source, folder / "broken.onnx")


def test_a_broken_fp16_model_of_somebody_else_is_repaired(tmp_path: Path) -> None:
    """It does not load and its frequencies are rounded; the result is as good as one made from the fp32 original."""
    source = saved(rotary(), tmp_path)
    broken = broken_fp16(source, tmp_path)
    assert infer(Model.open(broken).ir).conflicts
    document = answer(broken, "--keep-rotary-fp32", "-o", tmp_path / "fixed.onnx")
    assert any("restored: theta 10,000" in note for note in document["notes"])
    assert any(note.startswith("arrived with") and "type conflict" in note for note in document["notes"])
    assert document["after"]["error"] == 0
    answer(source, "-o", tmp_path / "direct.onnx")
    feed = {"input_ids": RNG.integers(0, 50, (1, 2048))}
    reference = graphs.run(Model.open(source), feed)["y"]
    from onnxfix.eval.numerics.emulator import emulated

    errors = {
        name: graphs.rel_l2(reference, graphs.run(emulated(Model.open(tmp_path / name)), feed)["y"])
        for name in ("fixed.onnx", "direct.onnx")
    }
    assert errors["fixed.onnx"] < 1.2 * errors["direct.onnx"] < 5e-3


def test_rotary_angles_in_half_that_load_are_repaired_too(tmp_path: Path) -> None:
    source = saved(rotary(), tmp_path)
    made = onnxfix("repair", source, "--no-keep-rotary-fp32", "--no-verify", "-o", tmp_path / "half.onnx")
    assert made.returncode == 1 and "rotary-half-precision" in made.stdout
    diagnosed = onnxfix("diagnose", tmp_path / "half.onnx")
    assert diagnosed.returncode == 1 and "P002" in diagnosed.stdout
    document = answer(tmp_path / "half.onnx", "-o", tmp_path / "fixed.onnx")
    assert any(note.startswith("arrived with rotary angles in half precision") for note in document["notes"])
    assert onnxfix("diagnose", tmp_path / "fixed.onnx").returncode == 0


def test_a_checkpoint_names_the_theta(tmp_path: Path) -> None:
    source = saved(rotary(theta=10100.0), tmp_path)
    halved = ("--precision", "bf16", "--no-keep-rotary-fp32", "--no-verify", "-o", tmp_path / "half.onnx")
    assert onnxfix("repair", source, *halved).returncode == 1
    (tmp_path / "config.json").write_text(json.dumps({"rope_parameters": {"full_attention": {"rope_theta": 10100.0}}}))
    options = (tmp_path / "half.onnx", "--precision", "bf16", "--no-verify", "-o", tmp_path / "fixed.onnx")
    assert any("each within" in n and "10,100" not in n for n in answer(*options)["notes"])
    assert any("theta 10,100" in n for n in answer(*options, "--checkpoint", tmp_path)["notes"])
    done = onnxfix("repair", *options, "--checkpoint", tmp_path / "nowhere")
    assert done.returncode == 2 and "config.json cannot be read" in done.stderr


def test_a_sound_fp16_model_is_left_as_it_is(tmp_path: Path) -> None:
    answer(saved(rotary(), tmp_path), "--io-types", "half")
    document = answer(tmp_path / "model.fp16.onnx", "-o", tmp_path / "again.onnx")
    assert "widen-to-fp32" not in document["passes"]
    assert any("nothing was converted" in note for note in document["notes"])


def test_bf16_becomes_fp16_when_asked(tmp_path: Path) -> None:
    answer(saved(rotary(), tmp_path), "--precision", "bf16")
    document = answer(tmp_path / "model.bf16.onnx", "-o", tmp_path / "model.fp16.onnx")
    assert any("another half precision" in note for note in document["notes"])
    types = set(infer(Model.open(tmp_path / "model.fp16.onnx").ir).of.values())
    assert "tensor(float16)" in types and "tensor(bfloat16)" not in types


@pytest.mark.parametrize("converter", ["onnxconverter-common", "onnxruntime"])
def test_other_converters_on_a_prepared_graph(converter: str, tmp_path: Path) -> None:
    """As they are they leave types in conflict, or angles in half; prepared they give what onnxfix gives."""
    source = saved(rotary(), tmp_path)
    document = answer(source, "--converter", converter, "-o", tmp_path / "theirs.onnx")
    assert "convert-with-library" in document["passes"] and "convert-to-half" not in document["passes"]
    ours = answer(source, "-o", tmp_path / "ours.onnx")
    assert document["comparisons"][0]["rel_l2"] <= 1.1 * ours["comparisons"][0]["rel_l2"]
    assert in_fp32(tmp_path / "theirs.onnx") >= {"angle", "c", "s"}
    assert document["after"]["error"] == 0


def test_other_converters_know_fp16_only(tmp_path: Path) -> None:
    done = onnxfix("repair", saved(rotary(), tmp_path), "--converter", "onnxruntime", "--precision", "bf16")
    assert done.returncode == 2 and "converts to fp16 only" in done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "kept"),
    [
        ("--block-op", "Relu", {"r0", "r1", "r2", "r3", "r4"}),
        ("--block-node", "^MatMul_u1$", {"u1"}),
        ("--block-scope", "model.layers.3.mlp", {"u3", "r3", "d3"}),
    ],
)
def test_block_lists(flag: str, value: str, kept: set[str], tmp_path: Path) -> None:
    source = planted(tmp_path, gain=1.0)
    document = answer(source, flag, value)
    assert in_fp32(tmp_path / "model.fp16.onnx") == kept
    assert any(note.startswith(f"{flag} {value} caught {len(kept)} node") for note in document["notes"])


@pytest.mark.parametrize(("like", "kept"), [("softmax", {"scores", "weights"}), ("rotary", {"angle", "c", "s"})])
def test_places_kept_by_kind(like: str, kept: set[str], tmp_path: Path) -> None:
    options = ("--keep-fp32-like", like, "--no-keep-rotary-fp32", "--no-verify")
    onnxfix("repair", saved(rotary(), tmp_path), *options)
    assert kept <= in_fp32(tmp_path / "model.fp16.onnx")
    onnxfix("repair", tmp_path / "model.onnx", "--no-keep-rotary-fp32", "--no-verify")
    assert not kept & in_fp32(tmp_path / "model.fp16.onnx")


def test_rotary_angles_are_fp32_unless_told_otherwise(tmp_path: Path) -> None:
    source = saved(rotary(), tmp_path)
    answer(source, "--keep-rotary-fp32", "--no-verify")  # verification would keep them in fp32 by their error
    assert {"angle", "c", "s"} <= in_fp32(tmp_path / "model.fp16.onnx")
    onnxfix("repair", source, "--no-keep-rotary-fp32", "--no-verify")
    assert not {"angle", "c", "s"} & in_fp32(tmp_path / "model.fp16.onnx")


def test_texts_of_a_table_are_tokenised_by_the_checkpoint(tmp_path: Path) -> None:
    """The bundled classifier's own tokenizer and holdout, on a graph that takes what the tokenizer makes."""
    from onnxfix.eval.demo import CHECKPOINT, HOLDOUT

    text = """g (int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask) => (float[batch,sequence,4] y) {
        e = Gather(table, input_ids) f = Cast <to = 1> (attention_mask) m = Unsqueeze(f, last) h = Mul(e, m)
        y = MatMul(h, w) }"""
    weights = {
        "table": RNG.standard_normal((50_368, 4)).astype(np.float32),
        "w": RNG.standard_normal((4, 4)).astype(np.float32),
        "last": np.array([2]),
    }
    source = saved(graphs.model(text, weights), tmp_path)
    options = ("--checkpoint", CHECKPOINT, "--text", "text")
    document = answer(source, "--calibrate", HOLDOUT, *options)
    assert "calibrated on 8 feeds: 0 nodes kept in fp32" in document["notes"]
    feeds = {d["feed"] for d in document["comparisons"][0]["differences"]}
    assert {"texts 1", "texts 2", "long"} <= feeds
    done = onnxfix("repair", source, "--calibrate", HOLDOUT, "--checkpoint", CHECKPOINT, "--text", "nothing")
    assert done.returncode == 2 and "nothing" in done.stderr
