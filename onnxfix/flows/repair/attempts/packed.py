"""What a repair was asked to pack and could not."""

from __future__ import annotations

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import MADE_BY
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.sites.tokens import padding


def require_packed(result: Model) -> None:
    """Raises OnnxfixError where no token was packed, with the reason."""
    if any(node.metadata_props.get(MADE_BY) == PackTokens.name for node in result.nodes()):
        return
    if padding.find(result) is None:
        why = "no single input [batch, length] with free sizes hides tokens from attention"
    else:
        why = "no product with weights lies among nodes that are of one token each"
    raise OnnxfixError(f"nothing was packed: {why}", f"nothing was written; leave out {arg('pack_tokens')}")
