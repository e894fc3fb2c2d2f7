"""Attention written out → one operator, without Transposes and guards against NaN around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.sites.attention import attention_cores
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore
from onnxfix.surgery.sites.attention.caches import appended
from onnxfix.surgery.sites.attention.empty_rows import EmptyRows
from onnxfix.surgery.sites.attention.operators.fused_attention import FusedAttention
from onnxfix.surgery.sites.attention.refusal import Refusal, by_reason
from onnxfix.surgery.sites.attention.written_out.operands import Operand
from onnxfix.surgery.written.scores_added import Made, bias_of
from onnxfix.surgery.written.zeros import with_zeros

SWAP = (0, 2, 1, 3)
DOMAIN = "com.microsoft"
STANDARD = 23  # ai.onnx has an Attention of its own


@dataclass(frozen=True)
class FuseAttention:
    """Compute softmax(query · keyᵀ · scale + mask) · value in one operator.

    It is `Attention` from operator set 23 on, and com.microsoft's `MultiHeadAttention` below; ONNX Runtime 1.31.1 is
    faster in the former on a CPU. Exporters write two products, a Softmax, up to four Transposes, and an IsNaN and a
    Where over all scores, which put zeros where a row has no key to see: together 28 % of the time of a ModernBERT-base
    with int8 linears on a CPU, 12 % for the last two alone. In self-attention a row without a key is a token of
    padding; it gets the mean of all values instead, where nobody reads it. Where somebody may, as a mean over all
    tokens does, rows that see nothing are made zeros behind the operator, where there are as many numbers as features
    and not as many as keys. Several masks with numbers of their own stay as written where they may hide a
    row together and somebody may read it: what it then is depends on whose number is higher.
    `packed`: tokens will be, and the first or the last of a row is taken for a real one. In
    attention to other tokens, a decoder's to its encoder's, such a row is an answer.

    Attention over a cache is for `fuse-grouped-query-attention`: `MultiHeadAttention` wants a cache turned, and heads
    repeated, which for one query behind 512 keys ran at 0.87 times the speed of what is written out, and behind 1,536
    at 0.75; such attention stays as written.

    What computes what is read, at two sets of sizes, and no order of operators: heads may be split, turned and joined
    in any way, queries, keys and values be one product, numbers stand on any of them, anything be added to the scores
    and mask them. Keys of fewer heads are named to `Attention`, and repeated for `MultiHeadAttention`. What is not read
    stays as written, and the report says which node stands against it.

    Measure: attentions that are written out.
    """

    name: ClassVar[str] = "fuse-attention"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ("F002",)
    packed: bool = False

    def apply(self, editor: Editor) -> None:
        if editor.model.opset < SHAPE_OF_AN_AXIS:
            return
        rows = EmptyRows(editor.model)
        cores, refusals = self._found(editor.model, rows)
        order = {node: index for index, node in enumerate(editor.model.graph.all_nodes())}
        made, zeros = Made(), {core.softmax for core in cores if self._gets_zeros(core, rows)}
        for core in sorted(cores, key=lambda core: order[last_node(core)]):
            _fuse(editor, core, made, core.softmax in zeros)
        if cores:
            guarded = f", {len(zeros)} with zeros where a row sees nothing" if zeros else ""
            editor.notes.append(
                f"{len(cores)} of {plural(len(cores) + len(refusals), 'attention')} in one operator each{guarded}"
            )
        for reason, nodes in by_reason(refusals).items():
            editor.notes.append(f"{plural(len(nodes), 'attention')} as written, where {nodes[0]} {reason}")

    def measure(self, model: Model) -> float:
        return float(len(self._found(model, EmptyRows(model))[0]))

    def _found(self, model: Model, rows: EmptyRows) -> tuple[list[AttentionCore], list[Refusal]]:
        """Those that one operator says."""
        types = infer(model.ir) if model.graph else None
        cores, refusals = [], []
        for site in attention_cores.sites(model):
            if isinstance(site, FusedAttention):
                continue
            if isinstance(site, Refusal):
                refusals.append(site)
            elif why := self._against(site, model, types, rows):
                refusals.append(Refusal(site.softmax, site.softmax, why))
            else:
                cores.append(site)
        return cores, refusals

    def _against(self, site: AttentionCore, model: Model, types: ElementTypes | None, rows: EmptyRows) -> str:
        """Why an attention stays as written; half holds no mask as low as this pass's."""
        if model.opset < STANDARD and appended(site.key.value) is not None:
            return "is of an attention over a cache, which would be turned"
        if types is None or not all(types.is_float32(v) for v in _floats(site)):
            return "is of an attention that is not in fp32"
        if rows.are_of_several(site, packed=self.packed):
            return "is of scores that several masks hide, whose rows of nothing somebody may read"
        return ""

    def _gets_zeros(self, core: AttentionCore, rows: EmptyRows) -> bool:
        """Whether it puts zeros into rows that see nothing, and somebody may read them."""
        return core.guarded and bool(core.terms) and rows.matter(core, packed=self.packed)


def _floats(core: AttentionCore) -> list[ir.Value]:
    added = [term.value for term in core.terms if term.keeps is None]
    return [core.query.value, core.key.value, core.value.value, *added]


def last_node(core: AttentionCore) -> ir.Node:
    node = core.result.value.producer()
    assert node is not None
    return node


def _fuse(editor: Editor, core: AttentionCore, made: Made, zeros: bool) -> None:
    write = Writer(editor, core.result.value.name or "attention", last_node(core))
    standard = editor.model.opset >= STANDARD
    query, key, value = (
        _operand(write, operand, what, made, repeat=not standard)
        for operand, what in ((core.query, "query"), (core.key, "key"), (core.value, "value"))
    )
    keep_shapes(editor, core, made)
    bias = [bias_of(write, core, made, query, key)] if core.terms else []
    if standard:
        numbers: dict[str, int | float] = {
            "q_num_heads": core.heads, "kv_num_heads": core.key.heads, "scale": core.scale
        }  # fmt: skip
        attention = write("Attention", [query, key, value, *bias], "attention", attributes=numbers)
    else:
        numbers = {"num_heads": core.heads, "scale": core.scale}
        inputs = [query, key, value, None, None, *bias] if bias else [query, key, value]
        attention = write("MultiHeadAttention", inputs, "attention", attributes=numbers, domain=DOMAIN)
        editor.import_domain(DOMAIN, 1)
    last = last_node(core)
    result = placed_result(write, core, with_zeros(write, core, attention, made) if zeros else attention)
    editor.replace_uses(core.result.value, result)
    made.instead[core.result.value] = result
    for node in (last, *(shape.node for shape in core.shapes)):
        editor.remove_dead(node)


def joined(write: Writer, operand: Operand, value: ir.Value, what: str) -> ir.Value:
    """`value`, which stands for the operand's, as [batch, sequence, heads * size]."""
    width = operand.heads * operand.size
    if operand.start is not None:
        bounds = [write.integers("bound", [n]) for n in (operand.start, operand.start + operand.size, -1)]
        value = write("Slice", [value, *bounds], f"{what}_part")
    if operand.perm is not None:
        value = write("Transpose", [value], f"{what}_upright", attributes={"perm": operand.perm})
    if not operand.joined:
        return write("Reshape", [value, write.integers("joined_heads", [0, 0, width])], what)
    if value.shape is None or not isinstance(value.shape[-1], int):
        # the inference of ONNX Runtime 1.31.1 takes an unknown width for 0 in Attention-23, and refuses the model
        write.editor.set_shape(value, [None, None, width])
    return value


def _operand(write: Writer, operand: Operand, what: str, made: Made, *, repeat: bool) -> ir.Value:
    """An operand with its heads repeated for the operator that cannot do it."""
    value = joined(write, operand, made.instead.get(operand.value, operand.value), what)
    width = operand.heads * operand.size
    if operand.repeats == 1 or not repeat:
        return value
    apart = write.integers("split_heads", [0, 0, operand.heads, 1, operand.size])
    times = write.integers("repeats", [1, 1, 1, operand.repeats, 1])
    repeated = write("Expand", [write("Reshape", [value, apart], f"{what}_apart"), times], f"{what}_repeated")
    return write(
        "Reshape", [repeated, write.integers("joined_heads", [0, 0, width * operand.repeats])], f"{what}_joined"
    )


def keep_shapes(
    editor: Editor, core: AttentionCore, made: Made, keys: Callable[[Writer], ir.Value] | None = None
) -> None:
    """Shapes and types of scores that something else reads, from queries and keys; `keys` writes how many of these
    there are, where that is not to be read from them."""
    for node in core.types:
        editor.replace_input(node, 1, made.instead.get(core.query.value, core.query.value))
    for shape in core.shapes:
        write = Writer(editor, shape.node.outputs[0].name or "shape", shape.node)
        sources = {"batch": (core.query, 0), "queries": (core.query, 1), "keys": (core.key, 1)}
        parts: list[ir.Value | None] = []
        for size in shape.chosen:
            if isinstance(size, int):
                parts.append(write.integers("size", [size]))
                continue
            if size == "keys" and keys is not None:
                parts.append(keys(write))
                continue
            operand, axis = sources["batch" if size == "rows" else size]
            axis = axis if operand.perm is None else operand.perm[axis]
            value = made.instead.get(operand.value, operand.value)
            part = write("Shape", [value], size, attributes={"start": axis, "end": axis + 1})
            parts.append(write("Mul", [part, write.integers("heads", [core.heads])], size) if size == "rows" else part)
        editor.replace_uses(shape.node.outputs[0], write("Concat", parts, "known", attributes={"axis": 0}))


def placed_result(write: Writer, core: AttentionCore, attention: ir.Value) -> ir.Value:
    result = core.result
    if result.joined:
        return attention
    if result.rows:
        return write("Flatten", [attention], "rows", attributes={"axis": 2})
    heads = write("Reshape", [attention, write.integers("split_heads", [0, 0, core.heads, core.value.size])], "heads")
    return write("Transpose", [heads], "turned", attributes={"perm": SWAP}) if result.turned else heads
