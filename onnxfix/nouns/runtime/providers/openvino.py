"""Intel's runtime on the host's processor. It has no list to forecast from: it is asked itself which nodes it takes."""

from __future__ import annotations

import importlib.util

from onnxfix.nouns.runtime.provider import Provider

from .cuda import no_dynamic


def _unmeasurable() -> tuple[str, str] | None:
    if importlib.util.find_spec("openvino") is not None:
        return None
    return "OpenVINO is not installed", "run: pip install 'onnxfix[openvino]'"


PROVIDER = Provider(
    name="openvino",
    runtime_name="OpenVINOExecutionProvider",
    label="OpenVINO",
    aliases=("ov", "intel"),
    colours=("#b8629a", "#dc8fc0"),
    behind=("cpu",),
    asks="onnxfix.diagnose.placement.measured.openvino:query",
    runner="onnxfix.eval.run.engines.openvino:OpenvinoRunner",
    faster=frozenset({"fuse", "pack", "bands"}),  # sequences, which loops over rows make, it does not take (2026.4)
    unmeasurable=_unmeasurable,
    refuses={"dynamic": no_dynamic("openvino")},
)
