"""What the CUDA provider leaves although it has a kernel for the types: by attributes, and arithmetic on shapes.

Source: the provider's own checks when it claims nodes (cuda_execution_provider.cc, GetCapability).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region
from onnxfix.nouns.types.operators import attribute

from .forecaster import Forecaster
from .shape_chain import cpu_preferred

_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}


class CudaForecaster(Forecaster):
    """Kernels, less what their attributes and GetCapability leave to the CPU."""

    def claim(self, region: Region, lookup: Lookup) -> None:
        found = {n: self.kernel(n, lookup) for n in region.nodes if not n.provider}
        tentative = {node: kernel for node, kernel in found.items() if kernel is not None}
        moved = cpu_preferred(region, tentative, lookup)
        for node, kernel in tentative.items():
            if node in moved:
                node.reason = _chain_reason(node)
            else:
                node.provider, node.kernel = self.provider.runtime_name, kernel

    def rejection(self, node: PlannedNode, lookup: Lookup) -> str:
        check, schema = _CHECKS.get(node.op_type), lookup.schema(node)
        return check(node, schema.since) if check and schema else ""


def _chain_reason(node: PlannedNode) -> str:
    where = f" from {node.root}" if node.root is not None and node.root is not node else ""
    return f"it reads only values that are in host memory{where}, so ONNX Runtime computes it there"


def _recurrent(node: PlannedNode, since: int) -> str:
    for name in ("activation_alpha", "activation_beta", "clip"):
        if name in node.attributes:
            return f"attribute {name}"
    wanted = _ACTIVATIONS[node.op_type]
    given: Sequence[str] = attribute(node, "activations", ())
    for index, activation in enumerate(given):
        if activation.lower() != wanted[index % len(wanted)]:
            return f"activation {activation}"
    if node.op_type == "LSTM" and attribute(node, "input_forget", 0):
        return "attribute input_forget"
    if node.op_type == "LSTM" and len(node.inputs) > 7 and node.inputs[7] is not None:
        return "peephole weights"
    if node.op_type == "GRU" and attribute(node, "linear_before_reset", 1) != 1:
        return "attribute linear_before_reset = 0"
    return ""


def _transposed_convolution(node: PlannedNode, since: int) -> str:
    if str(attribute(node, "auto_pad", "")) in ("SAME_UPPER", "SAME_LOWER"):
        return "automatic SAME padding"
    pads = list(attribute(node, "pads", ()))
    half = len(pads) // 2
    return "asymmetric padding" if pads[:half] != pads[half:] else ""


def _arg_extremum(node: PlannedNode, since: int) -> str:
    return "attribute select_last_index" if since >= 12 and attribute(node, "select_last_index", 0) else ""


def _cast(node: PlannedNode, since: int) -> str:
    return "strings" if attribute(node, "to", 0) == ir.DataType.STRING else ""


_CHECKS: dict[str, Callable[[PlannedNode, int], str]] = {
    "ArgMax": _arg_extremum,
    "ArgMin": _arg_extremum,
    "Cast": _cast,
    "ConvTranspose": _transposed_convolution,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "RNN": _recurrent,
}
