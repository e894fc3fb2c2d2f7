"""Doctor: versions, runtimes, providers and devices of this installation, and what is wrong with them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.runtime.extras import RUNTIME
from onnxfix.render.shown import Shown

if TYPE_CHECKING:
    from onnxfix.render.shown import Summary

SCHEMA = "onnxfix.doctor/1"
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn")
"""Packages of one module, which write over each other."""
PACKAGES = (
    "onnx", "onnx-ir", "onnx-graphsurgeon", "onnxconverter-common", "numpy", "ml-dtypes", "torch", "transformers",
    "onnxscript", "polars", "vl-convert-python", "sympy", "openvino", "torchao",
)  # fmt: skip


@dataclass(frozen=True)
class Installation(Shown):
    """`packages`: versions by name, empty for what is not installed; `providers`: of ONNX Runtime, in its order;
    `devices`: how many the CUDA driver sees; `table`: the release whose kernels forecasts here go by, empty without a
    runtime; `faults`: what is wrong, each with what to do."""

    python: str
    machine: str
    packages: dict[str, str]
    providers: tuple[str, ...]
    devices: int
    table: str
    faults: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "python": self.python,
            "machine": self.machine,
            "packages": self.packages,
            "providers": list(self.providers),
            "cuda_devices": self.devices,
            "kernel_table": self.table,
            "faults": list(self.faults),
        }

    def in_short(self) -> Summary:
        from onnxfix.render.shown import Summary

        rows = [("Python", self.python), ("machine", self.machine)]
        rows += [(name, version or "not installed") for name, version in self.packages.items()]
        rows += [
            ("providers", ", ".join(self.providers) or "none"),
            ("CUDA devices", str(self.devices)),
            ("kernels forecast", f"those of ONNX Runtime {self.table}" if self.table else "of no runtime"),
        ]
        return Summary.of("; ".join(self.faults) or "nothing is wrong with it", ("what", "version"), rows)


def doctor() -> Installation:
    """What is installed; imports ONNX Runtime and nothing else of size."""
    from onnxfix import __version__
    from onnxfix.nouns.errors import OnnxfixError
    from onnxfix.nouns.runtime.cuda_devices import cuda_devices
    from onnxfix.nouns.runtime.kernels import KernelTable
    from onnxfix.nouns.runtime.onnx_runtime import runtime

    faults = list(_doubled())
    providers: tuple[str, ...] = ()
    table = ""
    try:
        providers, table = tuple(runtime().get_available_providers()), KernelTable.load().version
    except OnnxfixError as error:
        faults.append(str(error))
    own = {"onnxfix": __version__}
    versions = own | {name: _version(name) for name in (*RUNTIMES[:2], *PACKAGES)}
    versions |= {name: found for name in RUNTIMES[2:] if (found := _version(name))}
    return Installation(
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        machine=f"{platform.system()} {platform.machine()}",
        packages=versions,
        providers=providers,
        devices=cuda_devices(),
        table=table,
        faults=tuple(faults),
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _doubled() -> Iterator[str]:
    found = [name for name in RUNTIMES if _version(name)]
    if len(found) > 1:
        yield (
            f"{' and '.join(found)} are installed together, and each has written over a part of the other; "
            f"pip uninstall {' '.join(found)}, and {RUNTIME}"
        )
