"""Which kernels an ONNX Runtime release has: types, versions and the arguments that a kernel keeps in host memory.

Source: kernel definitions and operator schemas inside the released onnxruntime-gpu wheels for Linux x86-64, read by
tools/kernel_tables.py. Upstream's docs/OperatorKernels.md would not do: it lacks 15 of the CUDA op-versions and all
memory types. A table needs nothing else installed: it holds the schemas of all domains as its release sees them. In
the files a type is a bare name when it is a dense tensor (`float` = `tensor(float)`), `types` are numbers of
`type_lists`, and `until: null` is an open end.
"""

from __future__ import annotations

import functools
import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from onnxfix.nouns.runtime.onnx_runtime import runtime
from onnxfix.nouns.types import schemas

UNKNOWN_TYPE = ""
"""An argument that is there but whose type nothing tells; it matches every kernel. An omitted argument is None."""


@dataclass(frozen=True)
class Kernel:
    """One registration: `types` per constraint name, `host_inputs`/`host_outputs` by argument position."""

    op_type: str
    domain: str
    since: int
    until: int | None
    types: Mapping[str, frozenset[str]]
    host_inputs: frozenset[int] = frozenset()
    host_outputs: frozenset[int] = frozenset()

    def covers(self, since: int) -> bool:
        """An open-ended kernel serves its own schema version only: a newer revision needs its own registration."""
        return since == self.since or (self.until is not None and self.since <= since <= self.until)


@dataclass(frozen=True)
class KernelTable:
    """All kernels of one release. `requested` is the version asked for, `version` the nearest one there is."""

    version: str
    requested: str
    kernels: Mapping[tuple[str, str, str], tuple[Kernel, ...]] = field(repr=False)
    operators: Mapping[tuple[str, str], tuple[schemas.Schema, ...]] = field(repr=False)

    @staticmethod
    def load(version: str | None = None) -> KernelTable:
        """The table of a release, by default of the installed ONNX Runtime; the nearest one when it has none."""
        requested = version or _installed()
        nearest = min(available(), key=lambda name: _distance(name, requested))
        return _read(nearest, requested)

    @property
    def followed(self) -> bool:
        """Whether placement was checked against this release itself: 0 differences on 1.31, 1 in 130 random graphs on
        1.30; on 1.24 two of three graphs differ, whose own optimiser and partitioner are others."""
        return _numbers(self.requested) >= (1, 30, 0)

    @property
    def exact(self) -> bool:
        return self.version == self.requested

    @property
    def opset(self) -> int:
        """The newest ai.onnx operator set that the release knows."""
        return max(schema.since for (domain, _), found in self.operators.items() if domain == "" for schema in found)

    def candidates(self, provider: str, op_type: str, domain: str) -> tuple[Kernel, ...]:
        """Every kernel of an operator at any version: the ones to name when none fits."""
        return self.kernels.get((provider, schemas.canonical_domain(domain), op_type), ())

    def knows(self, op_type: str, domain: str) -> bool:
        """Whether the release defines the operator at all; custom operators are not in the tables' world."""
        return (schemas.canonical_domain(domain), op_type) in self.operators

    def schema(self, op_type: str, domain: str, opset: int) -> schemas.Schema | None:
        """The schema as the release sees it: never a revision newer than it knows (onnx 1.23 defines opset 28, ONNX
        Runtime 1.31 stops at 27), and with the few ai.onnx operators that only ONNX Runtime defines."""
        return schemas.newest(self.operators.get((schemas.canonical_domain(domain), op_type), ()), opset)

    def find(
        self, provider: str, schema: schemas.Schema, inputs: Sequence[str | None], outputs: Sequence[str | None]
    ) -> Kernel | None:
        """The kernel that ONNX Runtime would take for a node of these types (None: argument omitted)."""
        for kernel in self.candidates(provider, schema.op_type, schema.domain):
            if kernel.covers(schema.since) and _accepts(kernel, schema, inputs, outputs):
                return kernel
        return None


def available() -> tuple[str, ...]:
    """The releases that a table is shipped for."""
    suffix = ".json.xz"
    names = (entry.name for entry in resources.files("onnxfix.kernel_tables").iterdir())
    return tuple(sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix)))


def _accepts(
    kernel: Kernel, schema: schemas.Schema, inputs: Sequence[str | None], outputs: Sequence[str | None]
) -> bool:
    """Each type constraint is checked on the first argument it names that exists, the others are not looked at."""
    for name, allowed in kernel.types.items():
        actual = _constrained_type(name, schema, inputs, outputs)
        if actual and actual not in allowed:
            return False
    return True


def _constrained_type(
    name: str, schema: schemas.Schema, inputs: Sequence[str | None], outputs: Sequence[str | None]
) -> str | None:
    for formals, actuals in ((schema.inputs, inputs), (schema.outputs, outputs)):
        for index, formal in enumerate(formals):
            # ONNX Runtime keys a parameter by its type variable, or by its own name when its type is fixed
            key = formal.type_str if formal.type_str in schema.allowed else formal.name
            if key == name and index < len(actuals) and actuals[index] is not None:
                return actuals[index]
    return None


def _installed() -> str:
    version: str = runtime().__version__
    return version


def _distance(name: str, requested: str) -> tuple[int, ...]:
    ours, theirs = _numbers(name), _numbers(requested)
    return tuple(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def _numbers(version: str) -> tuple[int, int, int]:
    digits = [int("".join(c for c in part if c.isdigit()) or 0) for part in version.split("+")[0].split(".")]
    major, minor, patch = (*digits, 0, 0, 0)[:3]
    return major, minor, patch


@functools.cache
def _read(name: str, requested: str) -> KernelTable:
    packed = resources.files("onnxfix.kernel_tables").joinpath(f"{name}.json.xz").read_bytes()
    raw = json.loads(lzma.decompress(packed))
    lists = [frozenset(t if "(" in t else f"tensor({t})" for t in types) for types in raw["type_lists"]]
    kernels = {
        (provider, domain, op_type): tuple(k for row in rows for k in _kernels(op_type, domain, row, lists))
        for provider, domains in raw["kernels"].items()
        for domain, operators in domains.items()
        for op_type, rows in operators.items()
    }
    found = {
        (domain, op_type): tuple(_schema(domain, op_type, row, lists) for row in rows)
        for domain, operators in raw["schemas"].items()
        for op_type, rows in operators.items()
    }
    return KernelTable(name, requested, kernels, found)


def _kernels(op_type: str, domain: str, row: Mapping[str, Any], lists: Sequence[frozenset[str]]) -> Iterator[Kernel]:
    host_inputs, host_outputs = frozenset(row.get("host_inputs", ())), frozenset(row.get("host_outputs", ()))
    for variant in row["types"]:
        types = {name: lists[number] for name, number in variant.items()}
        yield Kernel(op_type, domain, row["since"], row["until"], types, host_inputs, host_outputs)


def _schema(domain: str, op_type: str, row: Mapping[str, Any], lists: Sequence[frozenset[str]]) -> schemas.Schema:
    return schemas.Schema(
        domain=domain,
        op_type=op_type,
        since=row["since"],
        inputs=tuple(schemas.Formal(*formal) for formal in row["inputs"]),
        outputs=tuple(schemas.Formal(*formal) for formal in row["outputs"]),
        allowed={name: lists[number] for name, number in row["types"].items()},
        deprecated=row.get("deprecated", False),
    )
