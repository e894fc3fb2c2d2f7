"""The bundled checkpoint exported three ways, once for all end-to-end tests of all processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxfix.eval.demo import CHECKPOINT
from onnxfix.export.run import export
from onnxfix.export.spec import ExportSpec
from onnxfix.flows.repair.repair import repair
from onnxfix.flows.repair.repaired import Repaired
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish

EXPORTERS = {"legacy": "legacy", "dynamo": "dynamo", "unoptimized": "dynamo"}


class Exports(dict[str, Path]):
    """By name, each made when it is first asked for, by one of all processes that run tests."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def __missing__(self, name: str) -> Path:
        path = self.folder / f"{name}.onnx"
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                export(ExportSpec(CHECKPOINT, path, exporter=EXPORTERS[name], optimize=name != "unoptimized"))
        return self.setdefault(name, path)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    own = tmp_path_factory.getbasetemp()
    return Exports((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "exports")


WEIGHT_ONLY = {"w8-cpu": ("cpu", "fp32", 8), "w8-cuda": ("cuda", "fp16", 8), "w4-cuda": ("cuda", "fp16", 4)}
"""Target, precision of activations and bits of weights."""


@pytest.fixture(scope="session")
def repaired(exports: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Repaired]:
    """`repaired(name, kind)` with kind fp32, fp16, int8 or one of WEIGHT_ONLY, each made once."""
    made: dict[tuple[str, str], Repaired] = {}
    folder = tmp_path_factory.mktemp("repaired")

    def get(name: str, kind: str) -> Repaired:
        if (name, kind) not in made:
            if kind in WEIGHT_ONLY:
                provider, precision, bits = WEIGHT_ONLY[kind]
                wish = Wish(Target.resolve(provider), precision, "weight-only", bits=bits)
            elif kind == "int8":
                wish = Wish(Target.resolve("cpu"), "fp32", "dynamic")
            else:
                wish = Wish(Target.resolve("cuda"), kind)
            made[name, kind] = repair(exports[name], wish, folder / f"{name}.{kind}.onnx")
        return made[name, kind]

    return get
