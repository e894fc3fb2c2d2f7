"""What a repair was asked to pack and could not."""

from __future__ import annotations

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.surgery.editor import MADE_BY
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.passes import take_packed_tokens
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.sites.tokens import padding, stream
from onnxfix.surgery.sites.tokens.packed import interface


def why_not(result: Model) -> str:
    """The reason why no token was packed; empty where some are."""
    if any(node.metadata_props.get(MADE_BY) == PackTokens.name for node in result.nodes()):
        return ""
    if result.opset < SHAPE_OF_AN_AXIS:
        return f"nothing was packed: operator set {result.opset} has no Shape of one axis, and {SHAPE_OF_AN_AXIS} has"
    found = padding.find(result)
    if found is None:
        return f"nothing was packed: {_unread(result)}"
    told = stream.find(result, found).told
    if told:
        return f"nothing was packed: {told[0].op_type} {label(told[0])} reads what stands at tokens of padding"
    return "nothing was packed: no product with weights lies among nodes that are of one token each"


def _unread(result: Model) -> str:
    """Why no mask of padding is known."""
    mask = padding.unread(result)
    if mask is not None:
        where = f"{mask.node.op_type} {label(mask.node)}: it " if mask.node is not None else "an attention, which "
        return f"no padding is known from the mask at {where}{mask.reason}"
    return "no single input [batch, length] with free sizes hides tokens from attention"


def require_packed_inputs(result: Model) -> None:
    """Raises OnnxfixError where a model was to take packed inputs, and takes others, with the reason."""
    if interface.find(result) is None:
        why = why_not(result) or take_packed_tokens.why_not(result)
        raise OnnxfixError(
            f"{arg('packed_inputs', True)}: {why}", f"nothing was written; leave out {arg('packed_inputs')}"
        )


def require_packed(result: Model) -> None:
    """Raises OnnxfixError where no token was packed, with the reason."""
    if why := why_not(result):
        raise OnnxfixError(why, f"nothing was written; leave out {arg('pack_tokens')}")
