"""A graph and its data are replaced as one: whoever is killed at whatever step leaves the old pair or the new one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import onnxruntime
import pytest

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.scratch import clear
from onnxfix.nouns.weights import pairs

TEXT = "g (float[b,32] x) => (float[b,32] y) { h = MatMul(x, w) y = Tanh(h) }"
X = np.random.default_rng(9).normal(size=(3, 32)).astype(np.float32)
STEPS = ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "open")


def external(path: Path, seed: int) -> Path:
    """A model whose weights lie beside it, as another tool writes it."""
    weights = {"w": np.random.default_rng(seed).normal(0, 0.2, size=(32, 32)).astype(np.float32)}
    path.parent.mkdir(exist_ok=True)
    proto = graphs.proto_of(graphs.model(TEXT, weights))
    onnx.save(proto, path, save_as_external_data=True, location=f"{path.name}.bin", size_threshold=0)
    return path


def inline(path: Path, seed: int) -> Path:
    made = Model.open(external(path, seed))
    proto = onnx.load(made.path)
    onnx.save(proto, path)
    return path


def answer(path: Path) -> list[float]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: list[float] = session.run(None, {"x": X})[0].ravel().tolist()
    return found


def killed_at(step: int, source: Path, destination: Path) -> bool:
    """Save in another process, which is killed right before it touches a file for the nth time; whether it was."""
    model = Model.open(source)
    child = os.fork()
    if not child:
        left = [step]

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if event in STEPS:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            model.save(destination)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("old", "new"), [(None, external), (external, external), (inline, external), (external, inline)]
)
def test_death_at_any_step_leaves_the_old_pair_or_the_new_one(old: Any, new: Any, tmp_path: Path) -> None:
    source = new(tmp_path / "new" / "a.onnx", 2)
    start = tmp_path / "start"
    start.mkdir()
    answers = {tuple(answer(source))}
    if old is not None:
        earlier = old(tmp_path / "old" / "a.onnx", 1)
        Model.open(earlier).save(start / "out.onnx")
        answers.add(tuple(answer(earlier)))
    step, seen = 0, set()
    while True:
        folder = tmp_path / f"at-{step}"
        shutil.copytree(start, folder)
        dead = killed_at(step, source, folder / "out.onnx")
        before = tuple(answer(folder / "out.onnx")) if (folder / "out.onnx").exists() else None
        assert before in answers or (before is None and old is None), f"killed at step {step}"
        clear(folder)
        if before is not None:
            Model.open(folder / "out.onnx")
            assert tuple(answer(folder / "out.onnx")) == before
        data = pairs.data_of(folder / "out.onnx")
        there = {entry.name for entry in folder.iterdir()}
        assert there == ({"out.onnx", *data} if before else set()), f"killed at step {step}"
        seen.add(before)
        if not dead:
            break
        step += 1
    assert step > 5 and before == tuple(answer(source)) and len(seen) == 2


def test_the_data_bears_the_usual_name_and_the_old_data_goes(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    names = []
    for seed in (1, 2, 3):
        source = external(tmp_path / str(seed) / "a.onnx", seed)
        Model.open(source).save(out)
        assert answer(out) == answer(source)
        onnx.checker.check_model(str(out))
        names.append({each.name for each in tmp_path.glob("out.*")})
    assert names == [{"out.onnx", f"out.onnx{n}.data"} for n in ("", ".2", "")]
    Model.open(inline(tmp_path / "4" / "a.onnx", 4)).save(out)
    assert {each.name for each in tmp_path.glob("out.*")} == {"out.onnx"}


def test_data_of_somebody_else_stays(tmp_path: Path) -> None:
    source, out = external(tmp_path / "in" / "a.onnx", 1), tmp_path / "out.onnx"
    foreign = tmp_path / "out.onnx.data"
    foreign.write_text("precious\n")
    with pytest.raises(OnnxfixError, match=r"out\.onnx\.data.* exists and is no data of out\.onnx; use force=True"):
        Model.open(source).save(out)
    assert foreign.read_text() == "precious\n" and not out.exists()
    Model.open(inline(tmp_path / "in" / "b.onnx", 1)).save(out)  # one that needs no data file
    assert foreign.read_text() == "precious\n" and out.exists()
    Model.open(source).save(out, force=True)
    assert answer(out) == answer(source) and foreign.stat().st_size > 4000


def test_data_that_two_graphs_share_stays(tmp_path: Path) -> None:
    out, other = tmp_path / "out.onnx", tmp_path / "other.onnx"
    Model.open(external(tmp_path / "in" / "a.onnx", 1)).save(out)
    shutil.copy(out, other)
    before = answer(other)
    Model.open(external(tmp_path / "in" / "b.onnx", 2)).save(out)
    assert answer(other) == before and answer(out) != before


@pytest.mark.parametrize("whole", [True, False])
def test_a_graph_beside_other_data_is_noticed(whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "WHOLE", pairs.WHOLE if whole else 0)
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    for path, seed in ((first, 1), (second, 2)):
        Model.open(external(tmp_path / "in" / path.name, seed)).save(path)
        Model.open(path)
    data = tmp_path / "a.onnx.data"
    own = data.read_bytes()
    shutil.copy(tmp_path / "b.onnx.data", data)
    with pytest.raises(
        OnnxfixError, match=r"a\.onnx\.data is not the data that .* its content is another; copy the two"
    ):
        Model.open(first)
    data.write_bytes(own + b"more")
    with pytest.raises(OnnxfixError, match=f"it holds {len(own) + 4:,} bytes and not {len(own):,}"):
        Model.open(first)
    data.write_bytes(own)
    assert Model.open(first).external_files == {data}


def test_what_another_tool_wrote_anew_is_not_held_to_what_was(tmp_path: Path) -> None:
    """onnx keeps our metadata, and writes the same name, offsets and lengths around other numbers."""
    out = tmp_path / "out.onnx"
    Model.open(external(tmp_path / "in" / "a.onnx", 1)).save(out)
    proto = onnx.load(out)
    proto.graph.initializer[0].raw_data = (2 * onnx.numpy_helper.to_array(proto.graph.initializer[0])).tobytes()
    (tmp_path / "edited").mkdir()
    edited = tmp_path / "edited" / "out.onnx"
    onnx.save(proto, edited, save_as_external_data=True, location="out.onnx.data", size_threshold=0)
    assert pairs.KEY in {entry.key for entry in onnx.load(edited).metadata_props}
    assert Model.open(edited).path == edited and answer(edited) != answer(out)
    Model.open(edited).save(tmp_path / "again.onnx")
    assert Model.open(tmp_path / "again.onnx").external_files == {tmp_path / "again.onnx.data"}


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"a": 1}', '{"out.onnx.data": {"bytes": "x"}}', "null", '{"a": {"bytes": 1}}']
)
def test_text_of_somebody_else_under_our_key_is_no_record(text: str, tmp_path: Path) -> None:
    path = external(tmp_path / "a.onnx", 1)
    proto = onnx.load(path, load_external_data=False)
    proto.metadata_props.add(key=pairs.KEY, value=text)
    path.write_bytes(proto.SerializeToString())
    assert Model.open(path).external_files == {tmp_path / "a.onnx.bin"}
