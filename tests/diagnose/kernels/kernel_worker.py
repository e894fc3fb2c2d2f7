"""The chooser's child process: a request a line on stdin, on stdout what the runtime prints and then a line of JSON.

The CUDA libraries are stubs: memory of the device is the host's, and a kernel may fail once it is chosen.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import ml_dtypes
import node_of_case
import numpy as np
import onnxruntime

from onnxfix.diagnose.kernels.cases import Case, Layout, Mask


def main() -> None:
    onnxruntime.set_default_logger_severity(4)
    before: dict[str, str] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        for name in before:
            del os.environ[name]
        before = asked["environment"]
        os.environ.update(before | {"ONNXFIX_STUB_SM": str(asked["sm"])})
        fields = asked["case"]
        case = Case(**{**fields, "mask": Mask(fields["mask"]), "layout": Layout(fields["layout"])})
        os.write(1, (json.dumps({"answer": _run(case, asked["sdpa_kernel"])}) + "\n").encode())


def _run(case: Case, sdpa_kernel: int) -> str:
    """What went wrong, in the runtime's words."""
    model, feeds = node_of_case.node(case)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    chosen = {"sdpa_kernel": str(sdpa_kernel)} if sdpa_kernel else {}
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=[("CUDAExecutionProvider", chosen), "CPUExecutionProvider"]
        )
        values = {name: _on_device(array) for name, array in feeds.items()}
        binding = session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        # a cache is one buffer before and after, as decoding in place binds it
        in_place = case.operator.endswith("GroupQueryAttention")
        for result in session.get_outputs():
            past = values.get(result.name.replace("present", "past")) if in_place else None
            if past is not None:
                binding.bind_ortvalue_output(result.name, past)
            else:
                binding.bind_output(result.name, "cuda")
        session.run_with_iobinding(binding)
    except Exception as error:  # one class per status code, with no common base of their own
        return str(error) or type(error).__name__
    return ""


def _on_device(array: np.ndarray[Any, Any]) -> onnxruntime.OrtValue:
    if array.dtype == ml_dtypes.bfloat16:  # whose numbers nothing depends on
        kind = node_of_case.onnx_type(array)
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, kind, "cuda", 0)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0)


if __name__ == "__main__":
    main()
