"""All attentions of a model with their CUDA kernels: operators, and those that are written out."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.attention_kernels import AttentionKernels, Kernel, KernelChoice, Refused, Taken
from onnxfix.nouns.site import Site, label
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.sites.attention import attention_cores
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore
from onnxfix.surgery.sites.attention.masked_keys import ALIGNED, Tried
from onnxfix.surgery.sites.attention.operators.fused_attention import FusedAttention
from onnxfix.surgery.sites.attention.refusal import Refusal
from onnxfix.surgery.sites.constants import trace
from onnxfix.surgery.sites.layouts.ground import Ground, grounds

from .cases import Case
from .choice import ARCHITECTURES, REFERENCE, kernel_choice
from .least_times import least_times
from .reading.cases_of_operators import ELEMENTS, read_case
from .remedies import remedy, unfused

STANDARD = "ai.onnx.Attention"
STANDARD_OPSET = 23
"""ai.onnx has an Attention of its own from here on; fuse-attention writes com.microsoft's MultiHeadAttention below."""
WRITTEN = Kernel.WRITTEN_OUT.value
PRODUCTS = frozenset({"MatMul", "Einsum", "FusedMatMul"})
MOVERS = frozenset("Cast CastLike Dropout Where Identity Mul Reshape Transpose Unsqueeze Squeeze".split())
_FAR = 8


def attention_kernels(
    model: Model, types: ElementTypes, rows: int = 64, tokens: int = 512
) -> tuple[AttentionKernels, ...]:
    """In graph order, those of bodies included, with the least times of `rows` × `tokens`.

    Operators with one kernel only, as LongformerAttention, are left out, and ONNX Runtime's own fusion of a few legacy
    exports of BERT when it loads a model is not foreseen.
    """
    known: tuple[Ground, Ground] | None = None
    tried: Tried | None = None
    found: list[AttentionKernels] = []
    for site in attention_cores.sites(model):
        if isinstance(site, FusedAttention):
            known = known or grounds(model)
            case = read_case(site.node, known, types)
            if case is not None and case.operator == STANDARD and case.bias and case.keys is None:
                tried = tried or Tried(model.graph)
                case = replace(case, aligned=tried.is_multiple(site.node.inputs[1], 1, ALIGNED))
            if case is not None:
                found.append(replace(_of_operator(site.node, case), least=least_times(case, rows, tokens)))
        elif isinstance(site, AttentionCore):
            case = _case_of_core(site, model.opset, types)
            found.append(replace(_of_core(site, case), least=least_times(case, rows, tokens)))
        elif _weighs(site.site):
            found.append(_of_refusal(site, types))
    return tuple(found)


@functools.lru_cache(maxsize=256)
def choices(case: Case) -> dict[int, KernelChoice]:
    """By architecture, with the settings of a session that nobody changed."""
    return {sm: kernel_choice(case, sm) for sm in ARCHITECTURES}


def _of_operator(node: ir.Node, case: Case) -> AttentionKernels:
    return AttentionKernels(
        Site.of_node(node), node.op_type, case.element, choices(case), unfused=unfused(case), remedy=remedy(case)
    )


def _case_of_core(core: AttentionCore, opset: int, types: ElementTypes) -> Case:
    """Of the operator that fuse-attention would put in its place."""
    element = ELEMENTS.get(types.get(core.query.value) or "", "")
    standard = opset >= STANDARD_OPSET
    return Case(
        STANDARD if standard else "com.microsoft.MultiHeadAttention",
        element, core.heads, core.key.heads if standard else core.heads, core.key.size, core.value.size,
        bias=bool(core.terms),
    )  # fmt: skip


def _of_core(core: AttentionCore, case: Case) -> AttentionKernels:
    """With the kernel of the operator that would stand in its place."""
    said = f"as one {case.operator.rpartition('.')[2]}: {choices(case)[REFERENCE].words()}"
    return AttentionKernels(Site.of_node(core.softmax), WRITTEN, case.element, _written_out(""), said)


def _of_refusal(refusal: Refusal, types: ElementTypes) -> AttentionKernels:
    softmax = refusal.site
    element = ELEMENTS.get(types.get(softmax.inputs[0]) or "", "")
    return AttentionKernels(
        Site.of_node(softmax), WRITTEN, element, _written_out(f"{label(refusal.node)} {refusal.reason}")
    )


def _written_out(reason: str) -> dict[int, KernelChoice]:
    against = (Refused(Kernel.UNFUSED, (reason,)),) if reason else ()
    choice = KernelChoice((Taken(Kernel.WRITTEN_OUT),), against)
    return dict.fromkeys(ARCHITECTURES, choice)


def _weighs(softmax: ir.Node) -> bool:
    """Whether the result of a Softmax meets an activation in a product: scores of attention, and no gate or head."""
    pending, seen = [(softmax, 0)], set[ir.Node]()
    while pending:
        node, far = pending.pop()
        for reader in _readers(node):
            if reader.op_type in PRODUCTS and all(v is None or trace(v) is None for v in reader.inputs):
                return True
            if reader.op_type in MOVERS and far < _FAR and reader not in seen:
                seen.add(reader)
                pending.append((reader, far + 1))
    return False


def _readers(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.outputs:
        yield from value.consumers()
