"""The action's step and the hook on a small repository: annotations, the summary, SARIF, exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import graphs
import numpy as np
import pytest
import yaml
from encoder_graphs import encoder

ROOT = Path(__file__).parents[2]
CHUNK = """g (float[batch,sequence,8] x) => (float[batch,sequence,4] y) {
    h = Relu(x) s = SplitToSequence<axis = -1>(h, four) a = SequenceAt(s, first) b = SequenceAt(s, second) y = Mul(a, b)
}"""
GOLDEN = (
    "::error file=models/chunk.onnx,title=onnxfix%3A K001 sequence-op-copies::SplitToSequence has no CUDA kernel: 2 "
    "copies between device and host at every run%0Arepair (exact): onnxfix repair models/chunk.onnx --precision fp32"
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    graphs.model(CHUNK, {"four": np.array(4), "first": np.array(0), "second": np.array(1)}).save(
        tmp_path / "models" / "chunk.onnx"
    )
    encoder().save(tmp_path / "models" / "encoder.onnx")
    return tmp_path


def step(folder: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """The step as the runner starts it, and the job's summary."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    (run,) = action["runs"]["steps"]
    summary = folder / "summary"
    given = {name: str(each.get("default", "")) for name, each in action["inputs"].items()} | {"install": ""} | inputs
    environment = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], value)
        for name, value in run["env"].items()
    }
    environment |= {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(summary)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", run["run"]], cwd=folder, env={**os.environ, **environment, "PATH": path}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    return done, summary.read_text() if summary.exists() else ""


def test_annotations_the_summary_and_sarif(repository: Path) -> None:
    done, summary = step(repository, paths="models", sarif="onnxfix.sarif")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines()[0] == GOLDEN
    assert "models/encoder.onnx" in summary and "2 models: 1 error" in summary
    (run,) = json.loads((repository / "onnxfix.sarif").read_text())["runs"]
    assert {result["ruleId"] for result in run["results"]} >= {"K001", "F002"}


def test_what_was_accepted_and_other_options(repository: Path) -> None:
    first, _ = step(repository, paths="models", baseline="accepted.json", args="--update-baseline")
    assert first.returncode == 0 and (repository / "accepted.json").exists()
    again, _ = step(repository, paths="models", baseline="accepted.json", **{"fail-on": "note"})
    assert again.returncode == 0 and "::error" not in again.stdout
    assert step(repository, paths="models/encoder.onnx", target="cpu", **{"fail-on": "note"})[0].returncode == 1


def test_inputs_are_not_run(repository: Path) -> None:
    done, _ = step(repository, paths="models $(touch ran)", args="; touch ran")
    assert done.returncode == 2 and not (repository / "ran").exists()


def test_the_hook_takes_files_and_fails_on_errors(repository: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    files = [path for path in ("models/chunk.onnx", "models/encoder.onnx", "a.py") if re.search(hook["files"], path)]
    assert files == ["models/chunk.onnx", "models/encoder.onnx"]
    program, *arguments = shlex.split(hook["entry"])
    command = [str(Path(sys.executable).parent / program), *arguments]
    codes = [subprocess.run([*command, f], cwd=repository, capture_output=True, check=False).returncode for f in files]
    assert codes == [1, 0]
