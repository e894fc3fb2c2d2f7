"""The newest versions that the installed ONNX Runtime loads, found by asking it: a model of one node is loaded in less
than a millisecond. It knows schemas of operator sets that it refuses as "under development"."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

# What the oldest ONNX Runtime that onnxfix works with (1.23) knows: nobody needs to be asked.
OLDEST_IR, OLDEST_OPSETS = 11, {"": 23, "ai.onnx.ml": 5}


@dataclass(frozen=True)
class TooNew:
    """A version that a model states and the runtime does not know. `domain` is None for the version of the format."""

    domain: str | None
    stated: int
    known: int

    @property
    def is_defined(self) -> bool:
        """Whether the installed onnx knows what the stated version says; else nobody can tell what an older lacks."""
        import onnx

        if self.domain is None:
            return self.stated <= int(onnx.IR_VERSION)
        defined = [s.since_version for s in onnx.defs.get_all_schemas() if s.domain == self.domain]
        newest = onnx.defs.onnx_opset_version() if not self.domain else max(defined, default=0)
        return self.stated <= int(newest)

    def __str__(self) -> str:
        what = "IR version" if self.domain is None else f"operator set {self.domain or 'ai.onnx'}"
        return f"{what} {self.stated}"


def too_new(model: ir.Model) -> Iterator[TooNew]:
    """Versions of a model, and of its functions, that are newer than the runtime."""
    known = newest_ir(model.ir_version)
    if known < model.ir_version:
        yield TooNew(None, model.ir_version, known)
    stated: dict[str, int] = {}
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        for domain, version in canonical(imports).items():
            stated[domain] = max(version, stated.get(domain, 0))
    for domain, version in stated.items():
        known = newest_opset(domain, version)
        if known < version:
            yield TooNew(domain, version, known)


def canonical(imports: Mapping[str, int]) -> dict[str, int]:
    return {"" if domain == "ai.onnx" else domain: version for domain, version in imports.items()}


def newest_ir(stated: int) -> int:
    """The newest version of the format up to the stated one that loads."""
    return next((v for v in range(min(stated, 64), OLDEST_IR, -1) if _loads(v, "", 17)), min(stated, OLDEST_IR))


def newest_opset(domain: str, stated: int) -> int:
    """The newest version of ONNX's own operator sets up to the stated one that loads; of others the stated one."""
    oldest = OLDEST_OPSETS.get(domain)
    if oldest is None or stated <= oldest:
        return stated
    return next((v for v in range(min(stated, 128), oldest, -1) if _loads(8, domain, v)), oldest)


@functools.cache
def _loads(ir_version: int, domain: str, version: int) -> bool:
    import onnxruntime

    x, y = (ir.Value(name=n, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1])) for n in "xy")
    node = ir.Node("", "Identity", [x], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[node], opset_imports={"": 17, domain: version}, name="one")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    content = ir.to_proto(ir.Model(graph, ir_version=ir_version)).SerializeToString()
    try:
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # the runtime's own types, all direct subclasses of Exception
        return False
    return True
