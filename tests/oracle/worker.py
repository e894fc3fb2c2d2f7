"""The oracle's child process: a request a line on stdin ({"model", "level"}), an answer a line on stdout, as JSON.

Copies by name stand only in the runtime's log, which it writes to file descriptor 2; that descriptor is a file here.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from typing import IO, Any

PROVIDERS = ["CUDAExecutionProvider", "CPUExecutionProvider"]
COPY = re.compile(r"Add Memcpy(FromHost|ToHost) (?:after|before) (.+?) for CUDAExecutionProvider")
TOTAL = re.compile(r"(\d+) Memcpy nodes are added to the graph .*? for CUDAExecutionProvider")
DIRECTIONS = {"FromHost": "from_host", "ToHost": "to_host"}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        for line in sys.stdin:
            request = json.loads(line)
            json.dump(answer(request["model"], request["level"], log), answers)
            answers.write("\n")
            answers.flush()


def answer(model: str, level: str, log: IO[bytes]) -> dict[str, Any]:
    log.seek(0)
    log.truncate()
    nodes: list[list[str]] = []
    error = ""
    try:
        nodes = assigned(model, level)
    except Exception as failure:  # one class per status code, with no common base of their own
        error = str(failure) or type(failure).__name__
    log.seek(0)
    text = log.read().decode(errors="replace")
    if "Failed to create CUDAExecutionProvider" in text or "Failed to load library" in text:
        return {"fatal": "the CUDA provider does not load with the stub libraries"}
    copies = [] if error else [(DIRECTIONS[kind], value) for kind, value in COPY.findall(text)]
    total = sum(int(count) for count in TOTAL.findall(text))
    if not error and total != len(copies):
        return {"fatal": f"the log counts {total} copies and names {len(copies)}"}
    return {"nodes": nodes, "copies": copies, "error": error}


def assigned(model: str, level: str) -> list[list[str]]:
    """(provider, name, operator) of every node of the model, planned and not built: no kernel is made."""
    import onnxruntime

    # the wrapper class asks for the model's metadata, which a session that was only planned refuses to tell
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 1
    options.graph_optimization_level = {"basic": levels.ORT_ENABLE_BASIC, "all": levels.ORT_ENABLE_ALL}[level]
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry("session.compile_only", "1")
    session = runtime.InferenceSession(options, model, True, False)
    session.initialize_session(PROVIDERS, [{} for _ in PROVIDERS], set())
    parts = session.get_provider_graph_assignment_info()
    return [[part.ep_name, node.name, node.op_type] for part in parts for node in part.get_nodes()]


if __name__ == "__main__":
    main()
