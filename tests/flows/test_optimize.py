"""A model written anew to be fast: right on real tokens, said what was done and what not, measured where asked."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import graphs
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from encoder_graphs import HEAD, MLP, WEIGHTS, agree, encoder, feeds, seeing
from terminal import onnxfix as typed

import onnxfix
from onnxfix.eval.run.runners import RunFailure
from onnxfix.flows.repair.fastest import asked, measured
from onnxfix.flows.repair.fastest.names import NAMES, shorter
from onnxfix.flows.repair.verification.check import Check
from onnxfix.flows.repair.verification.verdict import AnotherGraphError
from onnxfix.flows.repair.verification.verification import Verification
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Writer
from onnxfix.surgery.written import blocks
from onnxfix.surgery.written.blocks import Band
from onnxfix.surgery.written.bodies import Body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return seeing("a band").save(tmp_path / "model.onnx")


def test_all_of_it_on_a_cpu(path: Path) -> None:
    """The second layer in blocks, the first a row at a time, all products of real tokens alone."""
    done = onnxfix.optimize(path)
    assert done.output is not None and "error at most" in done.verified
    said = " ".join(done.outcome.notes)
    assert "2 of 2 attentions in one operator each" in said and "12 of 12 products with weights" in said
    assert "1 attention of a band in blocks" in said and "1 attention computed a row" in said
    made = Model.open(done.output)
    agree(seeing("a band"), made, 4, 33)
    assert made.opset == 23 and graphs.op_types(made).count("Attention") == 1, "ai.onnx's, the faster one in blocks"


def test_a_wide_band_in_rows_and_in_blocks_as_well(tmp_path: Path) -> None:
    """Rows of 512 tokens cost less as they are: what blocks compute is compared besides."""
    source = seeing("a band", 400)
    done = onnxfix.optimize(source.save(tmp_path / "model.onnx"))
    assert done.output is not None and "; with bands in blocks throughout by at most" in done.verified
    made = Model.open(done.output)
    assert graphs.op_types(made).count("If") == 1
    agree(source, made, 2, 9)
    narrow = onnxfix.optimize(seeing("a band", 64).save(tmp_path / "narrow.onnx"), dry_run=True)
    assert "throughout" not in narrow.verified


def test_what_blocks_compute_otherwise_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On feeds that are too short for blocks to be chosen; in rows it is the source."""
    source = seeing("a band", 64).save(path.with_name("wide.onnx"))
    feeds_file = path.with_name("feeds.npz")
    np.savez(feeds_file, **feeds(2, 40)[0])
    assert "throughout by at most" in onnxfix.optimize(source, feeds=feeds_file, dry_run=True).verified
    cut = blocks._cut

    def early(on: Writer | Body, band: Band, *more: ir.Value) -> list[ir.Value]:
        return cut(on, replace(band, before=band.before + 100, after=band.after - 100), *more)

    monkeypatch.setattr(blocks, "_cut", early)
    with pytest.raises(AnotherGraphError, match="what was written anew is not the source"):
        onnxfix.repair(source, target="cpu", precision="fp32", feeds=feeds_file, recipe="fastest", dry_run=True)


def test_short_rows_get_no_blocks(path: Path) -> None:
    done = onnxfix.optimize(path, max_seq=32)
    assert "blocks" not in " ".join(done.outcome.notes) and done.output is not None
    assert Model.open(done.output).opset == Model.open(path).opset


def test_queries_keys_and_values_are_products_of_their_own(tmp_path: Path) -> None:
    """In fp32 as well, on ONNX Runtime's CPU provider; what OpenVINO makes of parts nobody has measured."""
    packed = HEAD.replace(
        "q0 = MatMul(n, wq) k0 = MatMul(n, wk) v0 = MatMul(n, wv)",
        "all = MatMul(n, wqkv) q0, k0, v0 = Split<axis = -1, num_outputs = 3>(all)",
    )
    weights = {"wqkv": np.concatenate([WEIGHTS[name] for name in ("wq", "wk", "wv")], axis=1)}
    source = encoder(MLP, packed, **weights)
    done = onnxfix.optimize(source.save(tmp_path / "model.onnx"))
    assert done.output is not None and "1 product of several parts as 3 of one" in " ".join(done.outcome.notes)
    made = Model.open(done.output)
    assert "Split" not in graphs.op_types(made)
    agree(source, made, 3, 20)
    elsewhere = onnxfix.optimize(tmp_path / "model.onnx", target="openvino", dry_run=True)
    assert "several parts" not in " ".join(elsewhere.outcome.notes)


def test_linears_in_int8_as_well(path: Path) -> None:
    done = onnxfix.optimize(path, int8="dynamic", max_error=0.2)
    assert done.output is not None
    found = graphs.op_types(Model.open(done.output))
    assert "DynamicQuantizeLinear" in found and "Loop" in found and "; in fp32 the same graph errs by" in done.verified


def test_what_cannot_be_is_said_and_the_rest_is_done(tmp_path: Path) -> None:
    """No mask says what is padding, so that nothing is packed; attention is one operator all the same."""
    text = (HEAD + MLP).replace(", int64[batch,sequence] attention_mask)", ")").replace(
        "Cast<to = 9>(attention_mask)", "GreaterOrEqual(input_ids, first)").replace(
        "ends = ", "first = Constant<value_int = 0>() ends = ", 1)  # fmt: skip
    done = onnxfix.optimize(encoder("", text).save(tmp_path / "model.onnx"), dry_run=True)
    said = " ".join(done.outcome.notes)
    assert (
        "1 of 1 attention in one operator" in said
        and "nothing was packed: no padding is known from the mask at" in said
    )
    assert "reads the numbers of token ids (input_ids)" in said


def test_a_mask_of_floats_is_a_mask(tmp_path: Path) -> None:
    """0 and 1 as floats: what a result makes of padding is not compared then either."""
    text = HEAD.replace("int64[batch,sequence] attention_mask", "float[batch,sequence] attention_mask")
    done = onnxfix.optimize(encoder("", text + MLP).save(tmp_path / "model.onnx"))
    assert "6 of 6 products with weights" in " ".join(done.outcome.notes) and "padding not compared" in done.verified


def test_a_class_beside_scores_of_the_first_token(tmp_path: Path) -> None:
    """Of a row that is padded at the left both are of padding."""
    rest = MLP.replace("y = Add(r, d)", "z = Add(r, d) at = Constant<value_int = 0>() y = Gather<axis = 1>(z, at) "
                       "classes = ArgMax<axis = -1, keepdims = 0>(y)")  # fmt: skip
    head = HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y, int64[batch] classes")
    done = onnxfix.optimize(encoder(rest, head).save(tmp_path / "model.onnx"))
    assert "6 of 6 products with weights" in " ".join(done.outcome.notes)


def test_one_number_a_token_is_compared_at_real_tokens(tmp_path: Path) -> None:
    """[batch, sequence], as of where an answer begins: 0 at padding, which is no error."""
    rest = MLP.replace("y = Add(r, d)", "z = Add(r, d) s9 = MatMul(z, one) y = Squeeze(s9, last) "
                       "classes = ArgMax<axis = -1, keepdims = 0>(z)")  # fmt: skip
    head = HEAD.replace("float[batch,sequence,24] y", "float[batch,sequence] y, int64[batch,sequence] classes")
    numbers = np.random.default_rng(3).normal(size=(24, 1))
    done = onnxfix.optimize(encoder(rest, head, one=numbers).save(tmp_path / "model.onnx"))
    assert "7 of 7 products with weights" in " ".join(done.outcome.notes)
    assert "padding not compared" in done.verified
    assert all(d.rel_l2 < 1e-5 for c in done.comparisons for d in c.differences)


def test_who_reads_padding_is_named(tmp_path: Path) -> None:
    rest = MLP.replace("y = Add(r, d)", "z = Add(r, d) y = ReduceMean<keepdims = 0>(z, ends)")
    model = encoder(rest, HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y"))
    done = onnxfix.optimize(model.save(tmp_path / "model.onnx"), dry_run=True)
    assert "nothing was packed: ReduceMean ReduceMean_y reads what stands at tokens of padding" in done.outcome.notes


def test_a_gpu_without_kernels_to_verify_gets_packed_tokens_alone(path: Path) -> None:
    done = onnxfix.optimize(path, target="tensorrt", dry_run=True)
    assert done.kind == "fp16" and "12 of 12 products" in " ".join(done.outcome.notes)
    assert "in one operator" not in " ".join(done.outcome.notes)


def test_the_fastest_measured_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what was timed, whichever that is; one that is not right gives way to the next."""
    timed: list[list[str]] = []
    real = measured._times

    def times(files: dict[str, Path], *rest: object) -> dict[str, float]:
        found = real(files, *rest)  # type: ignore[arg-type]
        assert set(found) == set(files) and all(ms > 0 for ms in found.values())
        timed.append(list(files))
        return {name: 1.0 if name == "packed" else 2.0 + index for index, name in enumerate(files)}

    monkeypatch.setattr(measured, "_times", times)
    done = onnxfix.optimize(path, measure=True, dry_run=True, max_seq=48)
    assert timed == [["as it is", "fused", "packed", "packed-rows"]], "blocks are none at 48 tokens"
    said = " ".join(done.outcome.notes)
    assert "12 of 12 products" in said and "row of the batch" not in said
    assert "the fastest first: packed 2.00" in said


def test_a_recipe_contains_those_that_do_a_part_of_it() -> None:
    assert set(shorter("fastest")) == set(NAMES) and shorter("fastest")[-1] == "fastest"
    assert shorter("packed-rows") == ("fused", "packed", "packed-rows")


def test_a_recipe_of_repair(path: Path) -> None:
    done = onnxfix.repair(path, target="cpu", precision="fp32", recipe="fused", dry_run=True)
    assert "2 of 2 attentions" in " ".join(done.outcome.notes)
    # a mask of whole rows, whose keys are no multiple of four, would leave the kernel that keeps all scores
    with pytest.raises(OnnxfixError, match="recipe='fused' needs target='cpu'"):
        onnxfix.repair(path, target="cuda", precision="fp16", recipe="fused", dry_run=True)
    with pytest.raises(OnnxfixError, match="max_seq needs recipe"):
        onnxfix.repair(path, target="cpu", precision="fp32", max_seq=64, dry_run=True)


def test_in_a_terminal(path: Path) -> None:
    done = typed("optimize", path.name, "--max-seq", "64", cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 products with weights computed of real tokens alone" in done.stdout
    written = Model.open(path.with_name("model.fastest.onnx"))
    feed = {"input_ids": np.ones((2, 5), np.int64), "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])}
    assert not graphs.run(written, feed)["y"][1, 1:].any()


def test_a_classifier_that_reads_the_first_token(tmp_path: Path) -> None:
    """Its answer to a row that begins with padding is of padding, in the source as well."""
    rest = MLP.replace("y = Add(r, d)", "z = Add(r, d) y = Gather<axis = 1>(z, first)").replace(
        "m = ", "first = Constant<value_int = 0>() m = ", 1)  # fmt: skip
    model = encoder(rest, HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y"))
    done = onnxfix.optimize(model.save(tmp_path / "model.onnx"))
    assert "6 of 6 products" in " ".join(done.outcome.notes) and done.output is not None
    fast = Model.open(done.output)
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 1, 1]])
    feed = {"input_ids": np.arange(12).reshape(3, 4), "attention_mask": mask}
    assert np.allclose(graphs.run(model, feed)["y"], graphs.run(fast, feed)["y"], atol=2e-5)


def test_layers_that_int8_harms_stay_in_float(tmp_path: Path) -> None:
    """By themselves, and named: where all of them together err by more than the limit."""
    path = encoder().save(tmp_path / "model.onnx")
    every = onnxfix.optimize(path, int8="dynamic", dry_run=True)
    worst = max(difference.rel_l2 for each in every.comparisons for difference in each.differences)
    done = onnxfix.optimize(path, int8="dynamic", max_error=0.7 * worst)
    assert max(difference.rel_l2 for each in done.comparisons for difference in each.differences) <= 0.7 * worst
    assert any(note.startswith("searched in") for note in done.outcome.notes)
    quantized = int(done.linears()[1].split()[0])
    assert 0 < quantized < 6 and not list(tmp_path.glob("*.jsonl"))


def test_heads_stay_in_float_behind_packed_tokens(tmp_path: Path) -> None:
    """A token classifier's last linear, whose result is put back in its places, with zeros elsewhere."""
    rest = MLP.replace("y = Add(r, d)", "z = Add(r, d) y0 = MatMul(z, classes) y = Add(y0, bias)")
    inner = np.random.default_rng(1).normal(0, 0.1, (24, 400))
    more = {"classes": np.ones((24, 2)), "bias": np.ones(2), "up": inner, "down": inner.T[::-1]}
    model = encoder(rest, HEAD.replace("float[batch,sequence,24] y", "float[batch,sequence,2] y"), **more)
    done = onnxfix.optimize(model.save(tmp_path / "model.onnx"), int8="dynamic", max_error=0.5)
    assert done.linears() == ("0 of 7", "6 of 7") and done.output is not None
    assert "7 of 7 products" in " ".join(done.outcome.notes)
    with pytest.raises(OnnxfixError, match=r"packs its tokens, .* of model.onnx could be held against"):
        onnxfix.diagnose(done.output, target="cpu", against=tmp_path / "model.onnx")


def test_nothing_is_left_that_nobody_reads(path: Path) -> None:
    """ONNX Runtime warns of each such weight whenever the file is loaded."""
    done = onnxfix.optimize(path)
    assert done.output is not None
    source, made = (
        {name for name, value in model.graph.initializers.items() if not value.uses()}
        for model in (Model.open(path), Model.open(done.output))
    )
    assert made <= source
    dead = [node.name for node in Model.open(done.output).graph if not any(value.uses() for value in node.outputs)]
    ends = {value.producer().name for value in Model.open(done.output).graph.outputs}  # type: ignore[union-attr]
    assert set(dead) <= ends, "nor computed: ONNX Runtime computes what nobody reads"


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"calibrate": "rows.csv"}, "calibrate needs measure=True, or int8='dynamic' or 'static'"),
        ({"precision": "bf16"}, "precision='bf16' is no faster on a CPU"),
        ({"max_seq": 0}, "max_seq"),
    ],
)
def test_what_does_not_fit_is_refused(path: Path, keywords: dict[str, object], said: str) -> None:
    with pytest.raises(OnnxfixError, match=said):
        onnxfix.optimize(path, **keywords)  # type: ignore[arg-type]


def test_a_folder_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (onnxfix.optimize, onnxfix.repair):
        with pytest.raises(OnnxfixError, match="is a folder"):
            call(".")


def test_static_integers_are_packed_and_held_to_their_own_rounding(tmp_path: Path) -> None:
    """With optimisation such a source rounds in other places than without, and errs by more than sums in another order
    do; a float one has no such excuse."""
    source = encoder().save(tmp_path / "model.onnx")
    made = onnxfix.repair(source, int8="static", calibrate=feeds(4, 20), max_error=0.5, quantize_heads=True).output
    assert made is not None
    done = onnxfix.optimize(made)
    assert done.output is not None and "6 of 6 products with weights" in " ".join(done.outcome.notes)
    for feed in feeds(3, 17):
        wanted, found = (graphs.run(Model.open(path), feed)["y"] for path in (made, done.output))
        real = feed["attention_mask"] > 0
        assert np.linalg.norm((wanted - found)[real]) < 0.1 * np.linalg.norm(wanted[real])
    for path, rounds in ((source, False), (made, True)):
        held = Verification(Model.open(path), path, Check(False, "fp32", 2e-5, "fp32"))
        assert (held.own_rounding > 2e-5) is rounds


def test_floats_are_held_to_what_their_weights_move_them_by(tmp_path: Path) -> None:
    """A sine of many turns: half a rounding of each weight moves it by more than the limit, as sums in another order
    do. Who asks for less gets less, and beyond 1e-4 it is another graph."""
    often = MLP.replace("y = Add(r, d)", "w = Add(r, d) z = Mul(w, often) y = Sin(z)")
    for turns, most in ((200.0, 1e-4), (2000.0, 2e-5)):
        path = encoder(often, often=np.array(turns)).save(tmp_path / f"of{turns:.0f}.onnx")
        held = Verification(Model.open(path), path, Check(False, "fp32", 2e-5, "fp32"))
        assert turns * 1e-7 < held.sensitivity < turns * 1e-6
        with contextlib.suppress(OnnxfixError) if turns == 2000 else contextlib.nullcontext():
            done = onnxfix.optimize(path)
            assert float(done.verified.split("error at most ")[1].split()[0]) < most
    with pytest.raises(OnnxfixError, match="differs from the source"):
        onnxfix.repair(tmp_path / "of200.onnx", target="cpu", precision="fp32", recipe="fastest", max_error=4e-5)


@pytest.mark.parametrize(("shape", "int8"), [((0, 20), None), ((2, 0), None), ((0, 20), "dynamic")])
def test_a_batch_of_nothing_is_answered_by_nothing(shape: tuple[int, int], int8: str | None, tmp_path: Path) -> None:
    source = encoder()
    path = source.save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path, int8=int8, max_error=0.5 if int8 else None)  # type: ignore[arg-type]
    assert done.output is not None
    feed = {"input_ids": np.zeros(shape, np.int64), "attention_mask": np.ones(shape, np.int64)}
    wanted, found = (graphs.run(model, feed)["y"] for model in (source, Model.open(done.output)))
    assert found.shape == wanted.shape == (*shape, wanted.shape[-1])


A_ROW = HEAD.replace("float[batch,sequence,", "float[batch,", 1)
LAST = """
    m = LayerNormalization<axis = -1>(r, scale)
    h = MatMul(m, up) a = Relu(h) d = MatMul(a, down) whole = Add(r, d)
    at = Constant<value_int = -1>()
    y = Gather<axis = 1>(whole, at)
}"""


def test_an_output_that_reads_padding_gets_the_part_that_keeps_it(tmp_path: Path) -> None:
    """The last position of a row is padding in some: packed, it is nothing. Fused, all is as it was."""
    source = encoder(LAST, A_ROW)
    path = source.save(tmp_path / "model.onnx")
    done = onnxfix.optimize(path)
    said = " ".join(done.outcome.notes)
    assert "faster and left: fastest, packed-rows, packed-bands, packed: the repaired model differs" in said
    assert "1 of 1 attention in one operator" in said and done.output is not None
    for feed in feeds(3, 17):
        if (feed["attention_mask"].any(1)).all():
            wanted, found = (graphs.run(model, feed)["y"] for model in (source, Model.open(done.output)))
            assert np.allclose(wanted, found, atol=2e-5)
    whole = onnxfix.optimize(encoder().save(tmp_path / "whole.onnx"))
    assert "left" not in " ".join(whole.outcome.notes)


def test_all_recipes_have_one_limit_of_time_and_the_commands_name(tmp_path: Path) -> None:
    path = encoder(LAST, A_ROW).save(tmp_path / "model.onnx")
    with pytest.raises(OnnxfixError, match=r"^optimize: .* did not end within 0\.4 s"):
        onnxfix.optimize(path, timeout=0.4)


def test_rows_of_a_length_are_made_up_without_a_tokenizer(tmp_path: Path) -> None:
    path = encoder().save(tmp_path / "model.onnx")
    how = ("--no-torch", "--batch", "2", "--seq", "16", "--rounds", "1", "--provider", "cpu", "-o", tmp_path / "bench")
    done = typed("bench", path, *how)
    assert done.returncode == 0 and "made-up rows of up to" in done.stdout, done.stderr
    text = "g (float[n,4] input_ids) => (float[n,4] y) { y = Tanh(input_ids) }"
    other = graphs.model(text).save(tmp_path / "other.onnx")
    done = typed("bench", other, *how, "--force")
    assert done.returncode == 2 and "needs rows of tokens" in done.stderr


def test_a_source_that_does_not_run_is_known_before_its_graph_is_written_anew(tmp_path: Path) -> None:
    """And an operator that nobody registered says how its library is named."""
    broken = encoder(
        LAST.replace("MatMul(m, up)", "MatMul(m, scale)"), HEAD.replace("float[batch,sequence,", "float[batch,", 1)
    )
    path = broken.save(tmp_path / "model.onnx")
    steps: list[str] = []
    with pytest.raises(OnnxfixError, match="fails in ONNX Runtime"):
        onnxfix.optimize(path, progress=steps.append)
    assert not any("fuse" in step for step in steps)
    text = "g (float[n,4] x) => (float[n,4] y) { z = Tanh(x) y = my.ops.Foo(z) }"
    proto = graphs.proto(text)
    proto.opset_import.add(domain="my.ops", version=1)
    onnx.save(proto, tmp_path / "own.onnx")
    with pytest.raises(OnnxfixError, match=r"custom_op_library='FILE\.so'"):
        onnxfix.repair(tmp_path / "own.onnx", precision="fp32")


@pytest.mark.parametrize("target", ["cuda", "tensorrt"])
def test_a_source_in_half_is_written_anew_from_its_numbers_in_fp32(target: str, tmp_path: Path) -> None:
    """Else the graph that is compared in fp32 would round what the source, in fp32, does not."""
    half = onnxfix.repair(
        seeing("a band").save(tmp_path / "model.onnx"), precision="fp16", output=tmp_path / "half.onnx"
    )
    assert half.output is not None
    done = onnxfix.optimize(half.output, target=target)
    said = " ".join(done.outcome.notes)
    assert "arrived with half precision: made fp32 and converted anew" in said
    assert "12 of 12 products with weights computed of real tokens alone" in said
    assert target != "cuda" or "in fp32 the same graph errs by at most" in done.verified


def test_features_with_a_mask_are_compared_with_padding(tmp_path: Path) -> None:
    """Made up, and of a caller's feed without any: where ids come in, or not."""
    head = HEAD.replace("int64[batch,sequence] input_ids", "float[batch,sequence,24] features")
    head = head.replace("Shape<start = 1, end = 2>(input_ids)", "Shape<start = 1, end = 2>(features)")
    path = encoder(MLP, head.replace("e0 = Gather(table, input_ids)", "e0 = Identity(features)")).save(
        tmp_path / "m.onnx"
    )
    arrays = {"features": np.ones((1, 8, 24), np.float32), "attention_mask": np.ones((1, 8), np.int64)}
    for given, count in ((None, 8), ([arrays], 4)):
        done = onnxfix.optimize(path, feeds=given, dry_run=True)
        assert f"on {count} feeds" in done.verified and "padding not compared" in done.verified


@pytest.mark.parametrize("name", ["valid", "zz"])
def test_a_mask_is_known_by_what_it_does_and_not_by_its_name(name: str, tmp_path: Path) -> None:
    """Padded in what is made up and in a caller's rows, and its padding not compared."""
    proto = graphs.proto_of(encoder())
    for node in proto.graph.node:
        node.input[:] = [name if given == "attention_mask" else given for given in node.input]
    next(value for value in proto.graph.input if value.name == "attention_mask").name = name
    path = graphs.opened(proto).save(tmp_path / "model.onnx")
    real = {"input_ids": np.arange(8).reshape(1, 8), name: np.ones((1, 8), np.int64)}
    for given, count in ((None, 8), ([real], 4)):
        done = onnxfix.optimize(path, feeds=given, dry_run=True)
        assert "6 of 6 products with weights computed of real tokens alone" in " ".join(done.outcome.notes)
        assert f"on {count} feeds" in done.verified and "padding not compared" in done.verified
        fused = onnxfix.repair(path, target="cpu", precision="fp32", fuse_attention=True, feeds=given, dry_run=True)
        assert f"on {count} feeds" in fused.verified


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_is_another_graph_or_fails_leaves_less_to_try(precision: str) -> None:
    """In any precision; an error of the source, or of what was asked, does not."""
    how = {"precision": precision, "int8": "dynamic" if precision == "fp32" else None}
    for error in (AnotherGraphError("it differs", "leave it"), RunFailure("it fails", "leave it")):
        assert asked._may_be_sound_in_part(error, how)
    assert not asked._may_be_sound_in_part(OnnxfixError("it does not fit", "leave it"), how)
