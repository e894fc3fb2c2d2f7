"""The worker of `compiler`: reads one JSON request a line, writes one answer a line, ends with its input.

A request names the `source` graph, the `result` to write, custom operator `libraries`, and whether it is to be `fused`;
the answer is the runtime's message in `error`, empty when it did what was asked. Only the runtime is imported here, so
that it starts fast.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from onnxfix.nouns.errors import one_line

# Tensors past this size are written nowhere: they were holes, or were folded from some.
INLINE_BYTES = 1024


def main() -> None:
    import onnxruntime

    for line in sys.stdin:
        request = json.loads(line)
        error = ""
        try:
            work = _fuse if request["fused"] else _compile
            work(onnxruntime, request["source"], request["result"], request["libraries"])
        except Exception as raised:  # one class per status code, with no common base of their own
            error = one_line(raised)
        sys.stdout.write(json.dumps({"error": error}) + "\n")
        sys.stdout.flush()


def _options(onnxruntime: Any, libraries: list[str]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(library)
    return options


def _fuse(onnxruntime: Any, source: str, result: str, libraries: list[str]) -> None:
    """The graph after extended optimisations, which a session writes on its way; external weights stay where they
    are."""
    options = _options(onnxruntime, libraries)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = result
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _compile(onnxruntime: Any, source: str, result: str, libraries: list[str]) -> None:
    def location(name: str, value: Any, known: Any) -> Any:
        size = value.tensor_size_in_bytes() if known is None and value.is_tensor() else 0
        return onnxruntime.OrtExternalInitializerInfo("folded.data", 0, size) if size > INLINE_BYTES else known

    compiler = onnxruntime.ModelCompiler(
        _options(onnxruntime, libraries),
        source,
        graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        get_initializer_location_func=location,
    )
    compiler.compile_to_file(result)


if __name__ == "__main__":
    main()
