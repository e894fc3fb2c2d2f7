"""What a repair was asked to pack and could not."""

from __future__ import annotations

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.surgery.editor import MADE_BY
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.sites.tokens import padding, stream


def why_not(result: Model) -> str:
    """The reason why no token was packed; empty where some are."""
    if any(node.metadata_props.get(MADE_BY) == PackTokens.name for node in result.nodes()):
        return ""
    if result.opset < SHAPE_OF_AN_AXIS:
        return f"nothing was packed: operator set {result.opset} has no Shape of one axis, and {SHAPE_OF_AN_AXIS} has"
    found = padding.find(result)
    if found is None:
        return "nothing was packed: no single input [batch, length] with free sizes hides tokens from attention"
    told = stream.find(result, found).told
    if told:
        return f"nothing was packed: {told[0].op_type} {label(told[0])} reads what stands at tokens of padding"
    return "nothing was packed: no product with weights lies among nodes that are of one token each"


def require_packed(result: Model) -> None:
    """Raises OnnxfixError where no token was packed, with the reason."""
    if why := why_not(result):
        raise OnnxfixError(why, f"nothing was written; leave out {arg('pack_tokens')}")
