"""Peak rates of this machine in ONNX Runtime: operations and bytes a second of the provider and threads of a run.

Each is the best of several short runs of one large operator, so that it is what the runtime can do and not what the
data sheet says: a square product in fp32, fp16, bf16 and int8, an addition, and a maximum, which only reads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from onnxfix.eval.run import session
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.provider import named

SIDES = {"": (512, 1024), "GPU": (4096, 8192)}
"""Of the matrices, by device; which is fastest depends on caches. 512 was, on 2 cores of a Xeon, and 2048 never."""
SECONDS = 0.4
LEAST_RUNS = 3
CACHE_BYTES = 64 << 20  # where the system does not say how large the last cache is
LARGEST_BYTES = 1 << 30


@dataclass(frozen=True)
class Peaks:
    """Operations a second by type (`fp32`, `fp16`, `bf16`, `int8`), those that the provider has, and bytes a second,
    read and written, the better of an addition and a maximum over numbers that no cache holds."""

    provider: str
    threads: int
    flops_per_s: Mapping[str, float]
    bytes_per_s: float

    def flops(self, kind: str) -> float:
        """Operations a second of a type. A provider without kernels for a type computes in fp32."""
        return self.flops_per_s.get(kind) or self.flops_per_s["fp32"]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"flops_per_s": dict(self.flops_per_s)}


def measure_peaks(provider: Literal["cpu", "cuda"] = "cpu", threads: int = 0) -> Peaks:
    """Measure them, in some 3 s on a CPU. `threads` 0 leaves the number of CPU threads to the runtime.

    Raises OnnxfixError where the provider is missing.
    """
    # halves on the CPU provider run as fp32; CUDA has int8 products of int8 with int8 only
    pairs = {"fp32": (ir.DataType.FLOAT,) * 2}
    on_host = named(provider).is_host
    if not on_host:
        pairs |= {"fp16": (ir.DataType.FLOAT16,) * 2, "bf16": (ir.DataType.BFLOAT16,) * 2}
    pairs["int8"] = (ir.DataType.UINT8 if on_host else ir.DataType.INT8, ir.DataType.INT8)
    rates = {name: rate for name, types in pairs.items() if (rate := _product_rate(*types, provider, threads))}
    if "fp32" not in rates:
        raise OnnxfixError(f"ONNX Runtime multiplies no fp32 matrices on {provider}", f"use {arg('provider', 'cpu')}")
    return Peaks(provider, threads, rates, _bandwidth(provider, threads))


def _product_rate(
    first: ir.DataType, second: ir.DataType, provider: Literal["cpu", "cuda"], threads: int
) -> float | None:
    """Operations a second of the best size, None where the provider has no such product."""
    op_type = "MatMulInteger" if second.is_integer() else "MatMul"
    rates = []
    for side in SIDES[named(provider).device]:
        seconds = _best(_model(op_type, first, _random(side, second)), _random(side, first), provider, threads)
        rates += [2 * side**3 / seconds] if seconds is not None else []
    return max(rates, default=None)


def _bandwidth(provider: Literal["cpu", "cuda"], threads: int) -> float:
    rows = _array_bytes() // (4 << 10)
    array = np.ones((rows, 1 << 10), np.float32)
    one, axis = np.float32(1), np.array([1], np.int64)
    operators = {
        2 * array.nbytes: _model("Add", ir.DataType.FLOAT, one),
        array.nbytes + 4 * rows: _model("ReduceMax", ir.DataType.FLOAT, axis),
    }
    found = []
    for nbytes, model in operators.items():
        seconds = _best(model, array, provider, threads)
        found += [nbytes / seconds] if seconds is not None else []
    if not found:
        raise OnnxfixError(f"no bandwidth could be measured on {provider}", "free some memory")
    return max(found)


def _array_bytes() -> int:
    """As large as the last cache, so that an array and its result are twice that; 64 MB at least."""
    sizes = [_kilobytes(p.read_text()) for p in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return min(max([CACHE_BYTES, *sizes]), LARGEST_BYTES)


def _kilobytes(text: str) -> int:
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text.strip()[-1:], 1)
    digits = text.strip().rstrip("KM")
    return int(digits) * unit if digits.isdigit() else 0


def _random(side: int, dtype: ir.DataType) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    if dtype.is_integer():
        return rng.integers(0, 100, (side, side)).astype(dtype.numpy())
    return rng.standard_normal((side, side), dtype=np.float32).astype(dtype.numpy())


def _model(op_type: str, dtype: ir.DataType, second: np.ndarray[Any, Any] | np.generic) -> Model:
    """One operator of an input `x` and a constant."""
    x = ir.Value(name="x", type=ir.TensorType(dtype), shape=ir.Shape([None, None]))
    constant = ir.Value(name="w", const_value=ir.tensor(np.asarray(second)))
    made = ir.Value(name="y", type=ir.TensorType(ir.DataType.INT32 if op_type == "MatMulInteger" else dtype),
                    shape=ir.Shape([None, None]))  # fmt: skip
    node = ir.Node("", op_type, [x, constant], outputs=[made], name=op_type)
    graph = ir.Graph([x], [made], nodes=[node], initializers=[constant], opset_imports={"": 20}, name="peak")
    return Model(ir.Model(graph, ir_version=10), Path("peak.onnx"))


def _best(model: Model, array: np.ndarray[Any, Any], provider: Literal["cpu", "cuda"], threads: int) -> float | None:
    """Seconds of the fastest run, input and result where the provider computes; None where it has no kernel."""
    with session.on_disk(model) as path:
        opened = session.open_session(path, session.options("basic", threads), provider)
        try:
            binding = opened.io_binding()
            binding.bind_ortvalue_input("x", session.to_ort(array))
            binding.bind_output("y", provider)
            return min(_seconds(opened, binding))
        except Exception:  # one class per status code, with no common base
            return None


def _seconds(opened: Any, binding: Any) -> list[float]:
    """Of some runs within half a second, at least three; the first, which allocates, is not timed."""
    opened.run_with_iobinding(binding)
    found: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(found) < LEAST_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        opened.run_with_iobinding(binding)
        found.append(time.perf_counter() - start)
    return found
