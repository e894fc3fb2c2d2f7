"""Attention written out → one operator, without Transposes and guards against NaN around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.attention import attention_cores
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore

DOMAIN = "com.microsoft"
OLDEST_OPSET = 15  # Shape with a start and an end
STANDARD = 23  # ai.onnx has an Attention of its own
# Nothing that is added to a score changes it, and exp of it is 0: as -inf, but for a row that holds nothing else, which
# is the mean of all values then and not NaN.
LOWEST = np.float32(-1e30)


@dataclass(frozen=True)
class FuseAttention:
    """Compute softmax(query · keyᵀ · scale + mask) · value in one operator.

    It is `Attention` from operator set 23 on, and com.microsoft's `MultiHeadAttention` below; ONNX Runtime 1.31.1 is
    faster in the former on a CPU. Exporters write two products, a Softmax, up to four Transposes, and an IsNaN and a
    Where over all scores, which put zeros where a row has no key to see: together 28 % of the time of a ModernBERT-base
    with int8 linears on a CPU, 12 % for the last two alone. In self-attention a row without a key is a token of
    padding; it gets the mean of all values instead, which nothing reads. Elsewhere the guard stays, with its attention.

    Measure: attentions that are written out.
    """

    name: ClassVar[str] = "fuse-attention"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        if editor.model.opset < OLDEST_OPSET:
            return
        masks: dict[ir.Value, ir.Value] = {}
        for core in _found(editor.model):
            _fuse(editor, core, masks)

    def measure(self, model: Model) -> float:
        return float(len(_found(model)))


def _found(model: Model) -> list[AttentionCore]:
    """Those in fp32: half holds no mask as low as this pass's."""
    types = infer(model.ir)
    return [core for core in attention_cores.find(model) if types.is_float32(core.query)]


def _fuse(editor: Editor, core: AttentionCore, masks: dict[ir.Value, ir.Value]) -> None:
    last, name = core.output, core.output.outputs[0].name

    def node(op_type: str, inputs: Sequence[ir.Value | None], what: str, **more: Any) -> ir.Value:
        return editor.new_node(op_type, inputs, last, outputs=[f"{name}_{what}"], **more).outputs[0]

    width = _integers(editor, "joined_heads", [0, 0, -1])
    joined: list[ir.Value | None] = [
        node("Reshape", [value, width], what)
        for value, what in ((core.query, "query"), (core.key, "key"), (core.value, "value"))
    ]
    bias: list[ir.Value | None] = []
    if core.mask is not None:
        if core.mask not in masks:
            masks[core.mask] = node("Max", [core.mask, editor.add_initializer("lowest", ir.tensor(LOWEST))], "mask")
        one = _integers(editor, "one", [1])
        lengths = [
            node("Shape", [value], f"{what}_length", attributes={"start": 1, "end": 2})
            for value, what in ((core.query, "query"), (core.key, "key"))
        ]
        shape = node("Concat", [one, one, *lengths], "scores_shape", attributes={"axis": 0})
        bias = [node("Expand", [masks[core.mask], shape], "bias")]  # the kernels do not repeat a mask themselves
    if editor.model.opset >= STANDARD:
        numbers: dict[str, int | float] = {"q_num_heads": core.heads, "kv_num_heads": core.heads, "scale": core.scale}
        attention = node("Attention", [*joined, *bias], "attention", attributes=numbers)
    else:
        numbers = {"num_heads": core.heads, "scale": core.scale}
        inputs = [*joined, None, None, *bias] if bias else joined
        attention = node("MultiHeadAttention", inputs, "attention", attributes=numbers, domain=DOMAIN)
        editor.import_domain(DOMAIN, 1)
    split = _integers(editor, "split_heads", [0, 0, core.heads, -1])
    editor.replace_uses(last.outputs[0], node("Reshape", [attention, split], "heads"))
    editor.remove_dead(last)


def _integers(editor: Editor, name: str, numbers: list[int]) -> ir.Value:
    return editor.add_initializer(name, ir.tensor(np.array(numbers, dtype=np.int64)))
