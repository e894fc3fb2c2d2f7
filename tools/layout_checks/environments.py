"""Environments of the libraries, each alone: what they bring of ONNX Runtime and transformers does not fit together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = {"optimum": "optimum[onnxruntime]", "sentence-transformers": "sentence-transformers[onnx]"}
"""What to install for a library, behind torch."""
NODE = "@huggingface/transformers"
# its installer would fetch CUDA libraries, which nothing here needs
_NODE_SETTINGS = {"ONNXRUNTIME_NODE_INSTALL": "skip", "ONNXRUNTIME_NODE_INSTALL_CUDA": "skip"}


def interpreter(library: str, folder: Path, python: str) -> str:
    """The interpreter of a library's environment, made where it is not there yet."""
    place = folder / library
    ready = place / ".ready"
    found = str(place / "bin" / "python")
    if not ready.is_file():
        _done([python, "-m", "venv", "--clear", str(place)], folder)
        install = [found, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        # first and by its exact version: an open range brings gigabytes of CUDA packages
        torch = next(line for line in (ROOT / "constraints.txt").read_text().split() if line.startswith("torch=="))
        _done([*install, torch], folder)
        _done([*install, PYTHON[library], torch], folder)
        ready.touch()
    return found


def node_modules(folder: Path) -> Path:
    """The folder of transformers.js and its runtimes, made where it is not there yet."""
    place = folder / "transformers.js"
    ready = place / ".ready"
    if not ready.is_file():
        place.mkdir(exist_ok=True)
        (place / "package.json").write_text('{"private": true}')
        _done(["npm", "install", "--no-audit", "--no-fund", NODE], place, **_NODE_SETTINGS)
        ready.touch()
    return place / "node_modules"


def _done(command: list[str], folder: Path, **more: str) -> None:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
