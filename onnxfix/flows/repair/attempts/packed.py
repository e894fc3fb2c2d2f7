"""What a repair was asked to pack and could not."""

from __future__ import annotations

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import MADE_BY
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.sites.tokens import padding


def why_not(result: Model) -> str:
    """The reason why no token was packed; empty where some are."""
    if any(node.metadata_props.get(MADE_BY) == PackTokens.name for node in result.nodes()):
        return ""
    if padding.find(result) is None:
        return "nothing was packed: no single input [batch, length] with free sizes hides tokens from attention"
    return "nothing was packed: no product with weights lies among nodes that are of one token each"


def require_packed(result: Model) -> None:
    """Raises OnnxfixError where no token was packed, with the reason."""
    if why := why_not(result):
        raise OnnxfixError(why, f"nothing was written; leave out {arg('pack_tokens')}")
