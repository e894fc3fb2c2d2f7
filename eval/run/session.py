"""ONNX Runtime sessions: options, providers, values and the one line worth reading of its error messages."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg, one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.runtime.onnx_runtime import runtime
from onnxfix.nouns.runtime.provider import named

Level = Literal["all", "extended", "basic", "none"]
LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC"}
FATAL = 4  # log severity; errors reach us as exceptions already
# Types that numpy has only through ml_dtypes and that the Python binding moves as raw bytes.
EXTENSION_TYPES = {
    np.dtype(ml_dtypes.bfloat16): ir.DataType.BFLOAT16,
    np.dtype(ml_dtypes.float8_e4m3fn): ir.DataType.FLOAT8E4M3FN,
    np.dtype(ml_dtypes.float8_e5m2): ir.DataType.FLOAT8E5M2,
}
ORT_EXTENSION_NAMES = {
    "tensor(bfloat16)": np.dtype(ml_dtypes.bfloat16),
    "tensor(float8e4m3fn)": np.dtype(ml_dtypes.float8_e4m3fn),
    "tensor(float8e5m2)": np.dtype(ml_dtypes.float8_e5m2),
}

FLOAT_TYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(bfloat16)": np.dtype(ml_dtypes.bfloat16),
    "tensor(double)": np.dtype(np.float64),
}


def options(level: Level = "all", threads: int = 0, custom_op_libraries: Sequence[Path] = ()) -> Any:
    """Quiet SessionOptions. `threads` is the number of intra-op CPU threads, 0 for the runtime's default."""
    onnxruntime = runtime()

    chosen = onnxruntime.SessionOptions()
    chosen.log_severity_level = FATAL
    chosen.intra_op_num_threads = threads
    chosen.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS.get(level, "ORT_DISABLE_ALL"))
    if level == "none":
        # The default order computes all that needs weights alone first, such as fp32 forms of every half weight, and
        # holds it: 3.8 GB for an emulated ModernBERT-large on 2,048 tokens, 2.8 GB with each right before its reader.
        chosen.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        # Planning which dead buffer a value may take costs the square of the number of values whose sizes are
        # symbols: 59 s for 11,600 nodes, 1.8 s without. The arena hands freed memory on all the same, and results are
        # still made in place (microsoft/onnxruntime#7359).
        chosen.enable_mem_reuse = False
    for library in custom_op_libraries:
        try:
            # a bare name is looked for where the system keeps its libraries, and not here
            chosen.register_custom_ops_library(str(library.resolve() if library.exists() else library))
        except Exception as error:
            raise OnnxfixError(f"operator library {library} cannot be loaded: {one_line(error)}") from error
    return chosen


def open_session(model: Path, chosen: Any, provider: str = "cpu") -> Any:
    """An InferenceSession that really has the provider asked for; OnnxfixError otherwise.

    What TensorRT does not take runs on CUDA, as ONNX Runtime's documentation advises.
    """
    onnxruntime = runtime()

    asked = named(provider)
    wanted = asked.runtime_name
    if wanted not in onnxruntime.get_available_providers():
        raise OnnxfixError(
            f"this ONNX Runtime has no {wanted}", f"install onnxruntime-gpu or use {arg('provider', 'cpu')}"
        )
    if asked.device:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            onnxruntime.preload_dlls()  # the CUDA libraries of pip packages, where there are any; prints what it misses
    chain = [each.runtime_name for each in asked.chain]
    session = onnxruntime.InferenceSession(str(model), chosen, providers=chain)
    if wanted not in session.get_providers():
        raise OnnxfixError(
            f"ONNX Runtime could not start {wanted} and fell back to the CPU",
            "check that a CUDA device and the CUDA libraries of this ONNX Runtime are installed",
        )
    return session


def bound(session: Any, feed: Mapping[str, np.ndarray[Any, Any]], device: Literal["cpu", "cuda"]) -> Any:
    """An IOBinding: the feed lies on the device, and outputs are made and stay there.

    bfloat16 and float8 inputs stay on the host: the Python binding moves only what numpy knows.
    """
    onnxruntime = runtime()

    binding = session.io_binding()
    for name, array in feed.items():
        value = to_ort(array)
        if array.dtype not in EXTENSION_TYPES and device != "cpu":
            value = onnxruntime.OrtValue.ortvalue_from_numpy(np.require(array, requirements="C"), device, 0)
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, device, 0)
    return binding


def give_back_memory() -> None:
    """Return what freed sessions held to the system: glibc keeps up to 1.6 GB of a closed ModernBERT-large."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has another allocator
        ctypes.CDLL(None).malloc_trim(0)


def run_options(*, shrink: bool = False) -> Any:
    """Quiet RunOptions. `shrink` gives the arena's memory back after a run: a session that ran on
    short feeds first needs no more for the longest than one that ran on that alone (3.0 and not 3.3 GB)."""
    onnxruntime = runtime()

    chosen = onnxruntime.RunOptions()
    chosen.log_severity_level = FATAL
    if shrink:
        chosen.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return chosen


def to_ort(array: np.ndarray[Any, Any]) -> Any:
    """An OrtValue on the CPU; bfloat16 and float8 pass by their ONNX type number."""
    onnxruntime = runtime()

    contiguous = np.require(array, requirements="C")  # keeps rank 0, which ascontiguousarray does not
    extension = EXTENSION_TYPES.get(contiguous.dtype)
    if extension is None:
        return onnxruntime.OrtValue.ortvalue_from_numpy(contiguous)
    raw = contiguous.view(np.uint16 if contiguous.itemsize == 2 else np.uint8)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, int(extension))


def from_ort(value: Any) -> np.ndarray[Any, Any]:
    """A numpy copy of an OrtValue; the binding itself refuses to convert bfloat16 and float8."""
    extension = ORT_EXTENSION_NAMES.get(value.data_type())
    if extension is None:
        return np.array(value.numpy())  # not a view, which would keep all memory of a closed session
    size = int(np.prod(value.shape(), dtype=np.int64)) * extension.itemsize
    raw = ctypes.string_at(value.data_ptr(), size)
    return np.frombuffer(raw, dtype=extension).reshape(value.shape())


def unpacked(names: Sequence[str], values: Sequence[Any]) -> dict[str, np.ndarray[Any, Any]]:
    """What a session of the Python binding returns, as arrays: sequences and maps are lists and dicts there.

    Maps with equal keys are one array, a row a map, others one of all their values in turn; beside either is one of
    keys, as `NAME keys`.
    """
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, value in zip(names, values, strict=True):
        maps = [value] if isinstance(value, dict) else value
        if isinstance(maps, list) and maps and all(isinstance(each, dict) for each in maps):
            found |= _of_maps(name, maps)
        elif isinstance(value, list):
            found |= {f"{name}[{index}]": np.asarray(each) for index, each in enumerate(value)}
        elif value is not None:  # an optional that holds nothing
            found[name] = np.asarray(value)
    return found


def _of_maps(name: str, maps: Sequence[Mapping[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    keys = sorted(maps[0])
    if all(sorted(each) == keys for each in maps):
        return {f"{name} keys": np.array(keys), name: np.array([[each[key] for key in keys] for each in maps])}
    pairs = [(index, key, each[key]) for index, each in enumerate(maps) for key in sorted(each)]
    return {
        f"{name} keys": np.array([f"{index} {key}" for index, key, _ in pairs]),
        name: np.array([v for *_, v in pairs]),
    }


@contextlib.contextmanager
def on_disk(model: Model) -> Iterator[Path]:
    """A temporary file holding the model as it is in memory, for runtimes that load paths."""
    with Scratch() as folder:
        yield model.write(folder / "model.onnx")


@contextlib.contextmanager
def beside(model: Model, file: Path) -> Iterator[Path]:
    """A temporary file for another version of the model in `file`, in its folder where it shares that model's data."""
    if not model.external_files:
        with on_disk(model) as path:
            yield path
        return
    path = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        path.write_bytes(model.ir_bytes())
        yield path
    finally:
        path.unlink(missing_ok=True)
