"""The worker of `compiler`: writes the graph that it is asked for. It imports the runtime alone, to start fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxfix.nouns.runtime.onnx_runtime import runtime

onnxruntime = runtime()


def answer(request: tuple[Path, Path, list[Path], int | None]) -> None:
    """Of a `source` graph write the `result`, with libraries of custom operators: at the boundary, without tensors of
    more than so many bytes, or fused, with none said.

    Raises the runtime's errors: one class per status code, with no common base of their own.
    """
    source, result, libraries, most = request
    if most is None:
        _fuse(str(source), str(result), libraries)
    else:
        _compile(str(source), str(result), libraries, most)


def _options(libraries: list[Path]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    return options


def _fuse(source: str, result: str, libraries: list[Path]) -> None:
    """The graph after extended optimisations, which a session writes on its way; external weights stay where they
    are."""
    options = _options(libraries)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = result
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _compile(source: str, result: str, libraries: list[Path], most: int) -> None:
    def location(name: str, value: Any, known: Any) -> Any:
        size = value.tensor_size_in_bytes() if known is None and value.is_tensor() else 0
        return onnxruntime.OrtExternalInitializerInfo("folded.data", 0, size) if size > most else known

    compiler = onnxruntime.ModelCompiler(
        _options(libraries),
        source,
        graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        get_initializer_location_func=location,
    )
    compiler.compile_to_file(result)
