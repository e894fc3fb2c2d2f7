"""The bundled checkpoint exported three ways, once for all end-to-end tests."""

from __future__ import annotations

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

EXPORTS = ("legacy", "dynamo", "unoptimized")


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    for name in EXPORTS:
        exporter = "legacy" if name == "legacy" else "dynamo"
        path = folder / f"{name}.onnx"
        export(ExportSpec(CHECKPOINT, path, exporter=exporter, optimize=name != "unoptimized"))
    return {name: folder / f"{name}.onnx" for name in EXPORTS}


WEIGHT_ONLY = {"w8-cpu": ("cpu", "fp32", 8), "w8-cuda": ("cuda", "fp16", 8), "w4-cuda": ("cuda", "fp16", 4)}
"""Target, precision of activations and bits of weights."""


@pytest.fixture(scope="session")
def repaired(exports: dict[str, Path]) -> Callable[[str, str], Repaired]:
    """`repaired(name, kind)` with kind fp32, fp16, int8 or one of WEIGHT_ONLY, each made once."""
    made: dict[tuple[str, str], Repaired] = {}

    def get(name: str, kind: str) -> Repaired:
        if (name, kind) not in made:
            if kind in WEIGHT_ONLY:
                provider, precision, bits = WEIGHT_ONLY[kind]
                wish = Wish(Target.resolve(provider), precision, "weight-only", bits=bits)
            elif kind == "int8":
                wish = Wish(Target.resolve("cpu"), "fp32", "dynamic")
            else:
                wish = Wish(Target.resolve("cuda"), kind)
            made[name, kind] = repair(exports[name], wish, exports[name].with_name(f"{name}.{kind}.onnx"))
        return made[name, kind]

    return get
