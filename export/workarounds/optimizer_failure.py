"""The dynamo exporter's optimizer fails after a sound translation; the graph is kept as it was before.

Seen as an InlinePass that trips over onnx_ir on ModernBERT. Without the optimizer the graph is correct but carries
the translation's own leavings (SplitToSequence, scalar arithmetic on shapes), which `onnxfix diagnose` names and
`onnxfix repair` removes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def optimize_or_keep(program: torch.onnx.ONNXProgram) -> str:
    """Optimize in place; on failure restore the graph and return the reason, else an empty string.

    The copy shares its weights, so it costs the graph only (a few MB). The optimizer works in place and a pass that
    fails half-way leaves a broken graph behind, hence the copy.
    """
    before = program.model.clone()
    try:
        program.optimize()
    except Exception as error:  # any pass of the optimizer, with any exception type
        program.model = before
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
    return ""
