"""What rules about speed read of attention, each thing once for all of them."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.rule import Subject
from onnxfix.surgery.sites.attention import attention_cores
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.tokens import padding, stream
from onnxfix.surgery.sites.tokens.padding import Padding


def cores(subject: Subject) -> list[AttentionCore]:
    """Attentions that are written out, in graph order."""
    return list(attention_cores.find(subject.model))


def masks(subject: Subject) -> SoftmaxMasks:
    return SoftmaxMasks(subject.model)


def hidden(subject: Subject) -> Padding | None:
    """Padding, where all masks mean the same."""
    return padding.find(subject.model, subject.once(masks))


def products(subject: Subject) -> list[ir.Node]:
    """Those with weights that can do without tokens of padding."""
    found = subject.once(hidden)
    return stream.products(stream.find(subject.model, found)) if found is not None else []
