"""Installs the wheel in empty environments and says what each does: `python tools/empty_environments.py [--only NAME]
[--python python3.13] [--tests tests/nouns ...]`.

An environment for no extra, one for each runtime, both runtimes together, and one in which a runtime is there already.
In each: what `pip check`, `onnxfix --version`, `doctor`, `diagnose` and `repair` print, the last line of each, and what
pytest says of tests that need no torch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = {
    "no extra": ["{wheel}"],
    "[cpu]": ["{wheel}[cpu]"],
    "[gpu]": ["{wheel}[gpu]"],
    "no extra, onnxruntime there": ["onnxruntime", "{wheel}"],
    "[gpu] beside onnxruntime": ["onnxruntime", "{wheel}[gpu]"],
    "[cpu,bench]": ["{wheel}[cpu,bench]"],
}
MODEL = """
import onnx
text = '<ir_version: 10, opset_import: ["" : 20]> g (float[b,4] x) => (float[b,4] y) { h = Relu(x) y = Exp(h) }'
onnx.save(onnx.parser.parse_model(text), "model.onnx")
"""


def wheel(folder: Path) -> Path:
    done = run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], folder)
    if done.returncode:
        sys.exit(f"no wheel was built: {last(done)}")
    return next(folder.glob("*.whl"))


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    return f"{lines[-1]} (exit {done.returncode})"


def tried(name: str, made: Path, folder: Path, interpreter: str, tests: list[str]) -> list[str]:
    """What an environment answers."""
    place = folder / "environment"
    run([interpreter, "-m", "venv", "--clear", str(place)], folder)
    python, command = str(place / "bin" / "python"), str(place / "bin" / "onnxfix")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for each in ENVIRONMENTS[name]:
        done = run([*install, each.format(wheel=made)], folder)
        if done.returncode:
            return [last(done)]
    run([python, "-c", MODEL], folder)
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    typed = ("--version", "doctor", "diagnose model.onnx", "repair model.onnx --precision fp32 --force")
    commands = [[python, "-m", "pip", "check"], *([command, *each.split()] for each in typed)]
    answers = [f"{size / 1e6:,.0f} MB", *(last(run(each, folder)) for each in commands)]
    if tests:
        run([*install, "pytest", "pytest-xdist", "jsonschema", "pyyaml"], folder)
        # not from the checkout, whose folders are not where the wheel has them
        pytest = [python, "-P", "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
        answers.append(last(run([*pytest, "-p", "no:cacheprovider", *(str(ROOT / each) for each in tests)], folder)))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(ENVIRONMENTS))
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environments")
    parser.add_argument("--tests", nargs="+", default=[], help="run these of the checkout's tests as well")
    given = parser.parse_args()
    labels = ("installed", "pip check", "--version", "doctor", "diagnose", "repair", "tests")
    with tempfile.TemporaryDirectory(prefix="onnxfix-environments-") as folder:
        made = wheel(Path(folder))
        for name in given.only or ENVIRONMENTS:
            sys.stdout.write(f"{name}\n")
            for label, said in zip(labels, tried(name, made, Path(folder), given.python, given.tests), strict=False):
                sys.stdout.write(f"  {label:10} {said}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
