"""A bench that was cut off goes on where it was; what is finished is not measured again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import bench_models as models
import onnx
import pytest

from onnxfix.eval.bench import digest
from onnxfix.eval.bench.bench import BenchReport, Course, Variant, run_bench
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch
from onnxfix.nouns.errors import OnnxfixError

pytest.importorskip("torch")
ROUNDS = 2
NAMES = ["torch a", "torch b", "torch c"]
AGAIN = """
import sys
sys.path[:] = {path!r}
import test_bench_resume as here
here.bench(here.Path({folder!r}), {fatal!r}, {loads})
"""


def variants(folder: Path, fatal: str, loads: int) -> list[Variant]:
    log = folder / "log"
    dying = {fatal: partial(models.fatal_classifier, log, fatal, loads)}
    return [Variant(name, PyTorch(), dying.get(name, partial(models.counted_classifier, log, name))) for name in NAMES]


def bench(folder: Path, fatal: str, loads: int, resume: bool = False) -> BenchReport:
    given = variants(folder, fatal, loads)
    course = Course((Point(8),), ROUNDS, threads=1, at_once=1, folder=folder / "bench", resume=resume)
    return run_bench(given, models.workload(16), course)


def cut_off(folder: Path, fatal: str, loads: int) -> Counter[str]:
    """How often each variant was loaded by a bench that ends when `fatal` is loaded for the time given."""
    code = AGAIN.format(path=sys.path, folder=str(folder), fatal=fatal, loads=loads)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    return loaded(folder)


def loaded(folder: Path) -> Counter[str]:
    return Counter((folder / "log").read_text().splitlines())


def test_cut_off_while_answers_are_taken(tmp_path: Path) -> None:
    assert cut_off(tmp_path, "torch b", 1) == {"torch a": 1, "torch b": 1}
    report = bench(tmp_path, "torch b", 1, resume=True)
    assert all(row.measured and len(row.round_ms) == ROUNDS for row in report.rows)
    # once for its answers and once in its group; the baseline in the second group as well
    assert loaded(tmp_path) == {"torch a": 3, "torch b": 3, "torch c": 2}


def test_cut_off_while_times_are_taken(tmp_path: Path) -> None:
    before = cut_off(tmp_path, "torch c", 2)
    assert before == {"torch a": 3, "torch b": 2, "torch c": 2}
    report = bench(tmp_path, "torch c", 2, resume=True)
    assert all(row.measured for row in report.rows)
    assert loaded(tmp_path) - before == {"torch a": 1, "torch c": 1}, "the baseline beside what was not finished"
    assert report.rows[0].ratio == 1.0


def test_a_finished_bench_measures_nothing_again(tmp_path: Path) -> None:
    first = bench(tmp_path, "", 0)
    before = loaded(tmp_path)
    second = bench(tmp_path, "", 0, resume=True)
    assert loaded(tmp_path) == before
    assert json.dumps(first.as_dict()["rows"]) == json.dumps(second.as_dict()["rows"])


def test_a_changed_file_is_measured_again(tmp_path: Path) -> None:
    paths = [models.save_onnx(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    given = [Variant(path.stem, OnnxRuntime(), path) for path in paths]
    course = Course((Point(8),), 1, threads=1, folder=tmp_path / "bench")
    before = run_bench(given, models.workload(16), course)
    models.save_onnx(paths[1], kernel_factor=-1.0)
    after = run_bench(given, models.workload(16), replace(course, resume=True))
    # its time in milliseconds is one through the baseline, which ran again beside the changed file
    assert before.rows[0].round_ms == after.rows[0].round_ms
    assert before.rows[0].round_ratios == after.rows[0].round_ratios
    assert before.rows[1].round_ms != after.rows[1].round_ms
    assert before.rows[1].rel_l2_logits < 1e-5 and after.rows[1].rel_l2_logits > 1


def test_another_workload_is_not_taken_up(tmp_path: Path) -> None:
    given = [Variant("a", OnnxRuntime(), models.save_onnx(tmp_path / "a.onnx"))]
    course = Course((Point(8),), 1, threads=1, folder=tmp_path / "bench")
    run_bench(given, models.workload(16), course)
    with pytest.raises(OnnxfixError, match="another data"):
        run_bench(given, models.workload(24), replace(course, resume=True))


def test_a_changed_reference_is_what_others_are_compared_with(tmp_path: Path) -> None:
    paths = [models.save_onnx(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    given = [Variant(path.stem, OnnxRuntime(), path) for path in paths]
    course = Course((Point(8),), 1, threads=1, folder=tmp_path / "bench")
    run_bench(given, models.workload(16), course)
    models.save_onnx(paths[0], kernel_factor=-1.0)
    after = run_bench(given, models.workload(16), replace(course, resume=True))
    assert after.method.reference == "a" and after.rows[1].rel_l2_logits > 1
    with pytest.raises(OnnxfixError, match="another baseline"):
        run_bench(given, models.workload(16), replace(course, resume=True, baseline="b"))


def test_a_failure_is_tried_again(tmp_path: Path) -> None:
    marker = tmp_path / "there"
    given = [
        Variant("a", OnnxRuntime(), models.save_onnx(tmp_path / "a.onnx")),
        Variant("late", PyTorch(), partial(models.waiting_classifier, marker)),
    ]
    course = Course((Point(8),), 1, threads=1, folder=tmp_path / "bench")
    before = run_bench(given, models.workload(16), course)
    assert "there is missing" in before.rows[1].failure
    marker.touch()
    after = run_bench(given, models.workload(16), replace(course, resume=True))
    assert after.rows[1].measured and after.rows[1].ratio > 0


def _swap(file: Path, content: bytes) -> None:
    """Other content in a file of the same size and times, as `cp -p` and rsync leave it."""
    status = file.stat()
    assert len(content) == status.st_size
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("changed", ["b.onnx.data", "b.onnx"])
def test_other_weights_of_the_same_size_and_time_are_measured_again(changed: str, tmp_path: Path) -> None:
    """A negated kernel: the verdict of the first bench would be that of a model which is not there any more."""
    for name, factor in (("a", 1.0), ("b", 1.0), ("negated/b", -1.0)):
        path = tmp_path / f"{name}.onnx"
        path.parent.mkdir(exist_ok=True)
        model = onnx.load(models.save_onnx(path, kernel_factor=factor))
        if changed.endswith(".data"):
            onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    given = [Variant(name, OnnxRuntime(), tmp_path / f"{name}.onnx") for name in ("a", "b")]
    course = Course((Point(8),), 2, threads=1, folder=tmp_path / "bench")
    before = run_bench(given, models.workload(16), course)
    same = run_bench(given, models.workload(16), replace(course, resume=True))
    assert [row.round_ms for row in same.rows] == [row.round_ms for row in before.rows], "nothing is measured again"
    _swap(tmp_path / changed, (tmp_path / "negated" / changed).read_bytes())
    after = run_bench(given, models.workload(16), replace(course, resume=True))
    assert before.rows[1].sound and not after.rows[1].sound
    assert after.rows[1].rel_l2_logits > 1 and after.rows[0].round_ms == before.rows[0].round_ms


def test_a_checkpoint_and_code_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "modules.json").write_text('[{"path": ""}, {"path": "1_Pooling"}]')
    code = tmp_path / "own_factory.py"
    files = [folder / "tokenizer.json", folder / "1_Pooling" / "config.json", code]
    for file in files:
        file.write_text("one")
    monkeypatch.chdir(tmp_path)
    seen = {(digest.of_checkpoint(folder), digest.of_code("own_factory:make"))}
    for file in files:
        _swap(file, b"two")
        seen.add((digest.of_checkpoint(folder), digest.of_code("own_factory:make")))
    assert len(seen) == 4, "each file counts"
    (folder / "bench").mkdir()
    (folder / "bench" / "summary.json").write_text("{}")
    assert (digest.of_checkpoint(folder), digest.of_code("own_factory:make")) in seen, "a report beside it does not"


def test_other_padding_is_another_workload(tmp_path: Path) -> None:
    given = [Variant("a", OnnxRuntime(), models.save_onnx(tmp_path / "a.onnx"))]
    course = Course((Point(8),), 1, threads=1, folder=tmp_path / "bench")
    run_bench(given, models.workload(16), course)
    padded = replace(models.workload(16), padding={"input_ids": 7})
    with pytest.raises(OnnxfixError, match="another data"):
        run_bench(given, padded, replace(course, resume=True))
