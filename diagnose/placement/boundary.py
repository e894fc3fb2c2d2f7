"""The graph that ONNX Runtime partitions: model-local functions inlined and level-1 (basic) optimisations applied.

ONNX Runtime itself makes it, without a GPU and without the weights: `onnxruntime.ModelCompiler` writes the graph right
after partitioning on the CPU, before casts and copies go in. Placement looks at names, types, shapes and the values of
small constants only, so large weights are replaced by a hole in a sparse file of the right size (0.4 s and 80 MB
resident for a 1.6 GB model; 6 to 17 s and 3.1 GB with the weights).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxfix.errors import one_line
from onnxfix.model import Model

from .weightless import INLINE_BYTES, write_weightless

# ModelCompiler takes 1.6 s for a chain of 10,000 nodes, 3 s for 20,000 and more than 60 s for 50,000; transformers
# export 300 to 10,000. Graphs above the first limit are compiled apart, so that a timeout can end it.
ALONE_ABOVE, LARGEST_GRAPH, TIMEOUT_S = 5_000, 40_000, 60.0


@dataclass(frozen=True)
class Boundary:
    """`model` is the graph to plan; `error` is ONNX Runtime's message when it does not load the model, and then `model`
    is the file's own graph; `note` says what else makes the graph inexact."""

    model: ir.Model
    error: str = ""
    note: str = ""
    approximate: bool = False


def boundary(model: Model) -> Boundary:
    """The graph at the partition boundary of a session with basic optimisations."""
    count = sum(1 for _ in model.nodes())
    if count > LARGEST_GRAPH:
        return _approximate(model, f"{count:,} nodes are too many for ONNX Runtime's optimiser")
    with tempfile.TemporaryDirectory(prefix="onnxfix-") as folder:
        source, result = Path(folder) / "model.onnx", Path(folder) / "boundary.onnx"
        write_weightless(model, source)
        try:
            compiled = _compile_apart if count > ALONE_ABOVE else compile_here
            compiled(source, result, model.custom_op_libraries)
        except subprocess.TimeoutExpired:
            return _approximate(model, f"ONNX Runtime's optimiser was stopped after {TIMEOUT_S:.0f} s")
        except ChildProcessError as error:
            return _approximate(model, f"ONNX Runtime's optimiser {error}")
        except Exception as error:  # one class per status code, with no common base of their own
            return Boundary(_raw(model), error=one_line(error))
        return Boundary(_read(result))


def _approximate(model: Model, why: str) -> Boundary:
    from .approximate import approximate

    note = f"{why}; planned after an approximation of its basic optimisations"
    return Boundary(approximate(model), note=note, approximate=True)


def _compile_apart(source: Path, result: Path, libraries: tuple[Path, ...]) -> None:
    """Raises RuntimeError with the runtime's message, ChildProcessError if it crashes, subprocess.TimeoutExpired."""
    arguments = [sys.executable, "-m", "onnxfix.diagnose.placement.compile_worker", source, result, *libraries]
    ended = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if ended.returncode < 0:
        raise ChildProcessError(f"crashed with signal {-ended.returncode}")
    if ended.returncode:
        raise RuntimeError(ended.stderr)


def compile_here(source: Path, result: Path, libraries: tuple[Path, ...]) -> None:
    """Write to `result` what ONNX Runtime makes of the weightless graph at `source`. Raises its own exceptions."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    compiler = onnxruntime.ModelCompiler(
        options,
        str(source),
        graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        get_initializer_location_func=_location,
    )
    compiler.compile_to_file(str(result))


def _location(name: str, value: Any, known: Any) -> Any:
    """Where ONNX Runtime writes an initializer: nowhere, if it is large (it was a hole, or was folded from one)."""
    from onnxruntime import OrtExternalInitializerInfo

    size = value.tensor_size_in_bytes() if known is None and value.is_tensor() else 0
    return OrtExternalInitializerInfo("folded.data", 0, size) if size > INLINE_BYTES else known


def _read(path: Path) -> ir.Model:
    import onnx

    model: ir.Model = ir.from_proto(onnx.load_model(path, load_external_data=False))
    return model


def _raw(model: Model) -> ir.Model:
    """The file's own graph with what ONNX Runtime does on every load: Constant nodes become initializers."""
    from onnx_ir.passes import common

    copy = model.ir.clone()
    common.InlinePass()(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    return copy
