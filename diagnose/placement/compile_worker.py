"""The worker of `compiler`: reads one JSON request a line, writes one answer a line, ends with its input.

A request names the `source` graph, the `result` to write, and custom operator `libraries`; the answer is the runtime's
message in `error`, empty when it did what was asked. Only the runtime is imported here, so that it starts fast.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from onnxfix.errors import one_line

# Tensors past this size are written nowhere: they were holes, or were folded from some.
INLINE_BYTES = 1024


def main() -> None:
    import onnxruntime

    for line in sys.stdin:
        request = json.loads(line)
        error = ""
        try:
            _compile(onnxruntime, request["source"], request["result"], request["libraries"])
        except Exception as raised:  # one class per status code, with no common base of their own
            error = one_line(raised)
        sys.stdout.write(json.dumps({"error": error}) + "\n")
        sys.stdout.flush()


def _compile(onnxruntime: Any, source: str, result: str, libraries: list[str]) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(library)

    def location(name: str, value: Any, known: Any) -> Any:
        size = value.tensor_size_in_bytes() if known is None and value.is_tensor() else 0
        return onnxruntime.OrtExternalInitializerInfo("folded.data", 0, size) if size > INLINE_BYTES else known

    compiler = onnxruntime.ModelCompiler(
        options,
        source,
        graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        get_initializer_location_func=location,
    )
    compiler.compile_to_file(result)


if __name__ == "__main__":
    main()
