"""`onnxfix repair` to half precision: what running the model adds to what structure says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from terminal import onnxfix

from onnxfix.element_types import infer
from onnxfix.model import Model

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
    assert any("overflows: its result reaches" in note for note in document["notes"])
    assert "calibrated on 1 feed: 3 nodes kept in fp32" in document["notes"]
    assert {d["feed"] for d in document["comparisons"][0]["differences"]} >= {"real"}


def test_what_overflows_on_made_up_inputs_is_kept_without_being_asked(tmp_path: Path) -> None:
    document = answer(saved(stack(1e6), tmp_path))
    assert in_fp32(tmp_path / "model.fp16.onnx") >= {"u2", "r2", "d2"}
    assert not {"u0", "r1", "d4"} & in_fp32(tmp_path / "model.fp16.onnx")
    assert any("error NaN → " in note for note in document["notes"])


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


@pytest.mark.parametrize("option", [("--int8", "dynamic"), ("--precision", "fp32")])
def test_calibration_is_for_half_precision(option: tuple[str, str], tmp_path: Path) -> None:
    np.savez(tmp_path / "real.npz", x=np.zeros((1, 2, WIDTH), np.float32))
    done = onnxfix("repair", saved(stack(1.0), tmp_path), *option, "--calibrate", tmp_path / "real.npz")
    assert done.returncode == 2 and "--calibrate needs --precision fp16 or bf16" in done.stderr


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


def planted(folder: Path) -> Path:
    """An activation beyond 65,504 in layer 2, under torch scopes; what else it takes to feed it is harmless."""
    model = stack(1e6)
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
