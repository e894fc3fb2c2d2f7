"""Runs in a process of its own: makes the real session of a model file and tells what the runtime planned.

A process, because a provider's libraries may crash or hang, and because the runtime names its copies only in its log,
which it writes to the file descriptor of stderr.
"""

from __future__ import annotations

from typing import Any

from onnxfix.nouns.runtime import onnx_runtime

INFO = 1  # the copies by name are logged at this level


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """{"error", "absent", "assigned"} for {"model", "providers", "level" (basic or all), "libraries", "preload"}."""
    planning = request["level"] == "basic"
    # The wrapper class asks for the model's metadata, which a session that was only planned refuses to tell.
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    absent = sorted(set(request["providers"]) - set(runtime.get_available_providers()))
    if absent:
        return {"error": "", "absent": f"this ONNX Runtime was built without {', '.join(absent)}"}
    try:
        if request["preload"]:
            _preload()
        options = _options(request, planning)
        session = runtime.InferenceSession(options, request["model"], True, False)
        session.initialize_session(request["providers"], [{} for _ in request["providers"]], set())
    except Exception as error:  # one class per status code, with no common base of their own
        return {"error": str(error) or type(error).__name__}
    return {"error": "", "assigned": _assigned(session) if planning else []}


def _options(request: dict[str, Any], planning: bool) -> Any:
    onnxruntime = onnx_runtime.runtime()

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = INFO
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if planning else levels.ORT_ENABLE_ALL
    if planning:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # stops before kernels are made and weights go to the device
        options.add_session_config_entry("session.compile_only", "1")
    for library in request["libraries"]:
        options.register_custom_ops_library(library)
    return options


def _preload() -> None:
    """CUDA's libraries from NVIDIA's wheels, where torch brings them: the loader does not look there."""
    onnxruntime = onnx_runtime.runtime()

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def _assigned(session: Any) -> list[list[str]]:
    """(provider, name, operator type) of every node, sub-graphs included."""
    return [
        [part.ep_name, node.name, node.op_type]
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
