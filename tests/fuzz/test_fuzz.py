"""Five hundred broken models: each command ends, in time and in little memory, with a finding or one line of error.

`make fuzz N=20000 SEED=2` runs more of them, on an export of torch as well.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from fuzz.campaign import DIAGNOSE, REPAIRS, Worker, one, run
from fuzz.seeds import seeds
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model


def test_no_mutant_ends_in_an_internal_error_a_hang_or_much_memory() -> None:
    result = run(500, seed=1, often=60)
    assert result.is_sound, result.table()
    assert result.counts["diagnose: exit 1"] > 100, "the mutants are broken"
    assert sum(count for what, count in result.counts.items() if what.startswith("diagnose")) >= 500


def test_an_operator_of_another_domain_is_none_of_the_standards_and_may_read_nothing(tmp_path: Path) -> None:
    """One in thirty of the nodes of all seeds, each in turn under its name, in a domain of its own, without inputs."""
    worker, path, tried = Worker(), tmp_path / "model.onnx", 0
    commands = (DIAGNOSE, *REPAIRS)
    for number, data in enumerate(seeds()):
        for index in range(number % 30, len(onnx.load_model_from_string(data).graph.node), 30):
            model = onnx.load_model_from_string(data)
            node = model.graph.node[index]
            node.domain = "other"
            del node.input[:]
            model.opset_import.add(domain="other", version=1)
            path.write_bytes(model.SerializeToString())
            found = worker.ask([part.format(path) for part in commands[tried % len(commands)]])
            assert found["outcome"].startswith("exit"), (number, index, found)
            tried += 1
    worker.close()
    assert tried > 30


def test_a_mutant_is_made_from_its_number_alone() -> None:
    models = seeds()
    assert one(7, 3, models) == one(7, 3, seeds()) != one(8, 3, models)


def test_seeds_are_sound(tmp_path: Path) -> None:
    """Else what is found is no mutation's."""
    for data in seeds():
        (tmp_path / "m.onnx").write_bytes(data)
        try:
            assert not Model.look(tmp_path / "m.onnx").faults
        except OnnxfixError as error:
            pytest.fail(str(error))


def test_a_hang_and_an_internal_error_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(onnx.load_model_from_string(seeds()[0]), tmp_path / "m.onnx")
    worker = Worker()
    try:
        assert worker.ask([part.format(tmp_path / "m.onnx") for part in DIAGNOSE])["outcome"].startswith("exit")
        assert worker.ask(["diagnose", str(tmp_path / "m.onnx")], deadline_s=0.0)["outcome"] in (
            "hang",
            "exit 0",
            "exit 1",
        )
        (tmp_path / "fuzz_breaks.py").write_text(
            "from onnxfix.flows.diagnosis import asked as diagnose\n\n"
            "def broken(*args, **given):\n    raise IndexError('here')\n\n"
            "diagnose.diagnose = broken\nfrom fuzz.worker import main\nmain()\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr("fuzz.campaign.WORKER", "fuzz_breaks")
        worker.close()
        found = worker.ask([part.format(tmp_path / "m.onnx") for part in DIAGNOSE])
        assert found["outcome"] == "internal error" and "IndexError" in found["what"] and "broken" in found["what"]
    finally:
        worker.close()
