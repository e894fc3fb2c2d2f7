"""One product whose result is cut into parts → a product for each part, all of which read one input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.layouts import packed_products
from onnxfix.surgery.sites.layouts.packed_products import PackedProduct, Part
from onnxfix.surgery.sites.linear import linears


@dataclass(frozen=True)
class SplitPackedProducts:
    """Multiply by the columns of queries, keys and values, or of a gate and what it gates, one after the other.

    A product by all of them is followed by a Split or Slices, which copy every number of the result: 5 % of the time of
    a ModernBERT-base with int8 linears on a CPU (8 × 512, 40 % full), 2 % in fp32. Where linears are int8, the parts
    quantize their common input once. Each column is summed as before, over the same input, so that a part is what was
    cut out.

    Measure: products whose result is cut.
    """

    name: ClassVar[str] = "split-packed-products"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    selection: Selection = ALL
    """What a quantizer will take: what stays in float keeps the name by which it does."""

    def apply(self, editor: Editor) -> None:
        found = self._found(editor.model)
        for site in found:
            for part in site.parts:
                _alone(editor, site, part)
            for producer in [part.value.producer() for part in site.parts]:
                editor.remove_dead(producer)
        if found:
            parts = sum(len(site.parts) for site in found)
            editor.notes.append(f"{plural(len(found), 'product')} of several parts as {parts} of one")

    def measure(self, model: Model) -> float:
        return float(len(self._found(model)))

    def _found(self, model: Model) -> list[PackedProduct]:
        wanted = {linear.node for linear in self.selection.of(linears.find(model), model)}
        return [site for site in packed_products.sites(model) if site.product in wanted]


def _alone(editor: Editor, site: PackedProduct, part: Part) -> None:
    source, weight = site.product.inputs
    tensor, columns = constant_tensor(weight), part.columns.reshape(-1)
    cut = part.value.producer()
    assert tensor is not None and weight is not None and cut is not None
    write = Writer(editor, part.value.name or "part", cut)  # the shape may be computed behind the product
    kept = editor.add_lazy_initializer(
        f"{weight.name}_of_{part.value.name}", tensor.dtype, [tensor.shape.numpy()[0], columns.size],
        lambda: np.ascontiguousarray(tensor.numpy()[:, columns]),
    )  # fmt: skip
    value = write("MatMul", [source, kept], "product")
    if site.bias is not None:
        added = site.bias.inputs[1 - list(site.bias.inputs).index(site.product.outputs[0])]
        bias = constant_tensor(added)
        assert bias is not None and added is not None
        held = write.array(f"{added.name}_of_{part.value.name}", bias.numpy()[columns])
        value = write("Add", [value, held], "with_bias")
    whole = site.whole
    if whole.reshape is not None:
        value = write("Reshape", [value, _shape(write, site, part)], "shaped")
    if whole.transpose is not None:
        value = write("Transpose", [value], "turned", attributes={"perm": whole.order})
    if part.squeezed is not None:
        value = write("Squeeze", [value, write.integers("part_axis", [part.squeezed])], "squeezed")
    editor.replace_uses(part.value, value)


def _shape(write: Writer, site: PackedProduct, part: Part) -> ir.Value:
    """What the whole was reshaped to, with the features of the part."""
    assert site.whole.reshape is not None
    shape, lead = site.whole.reshape.inputs[1], site.whole.lead
    known = constant_tensor(shape)
    if known is not None:
        return write.integers("part_shape", [*known.numpy()[:lead].tolist(), *part.columns.shape])
    ends = [write.integers("part_axis", [number]) for number in (0, lead)]
    first = write("Slice", [shape, *ends], "lead")
    return write("Concat", [first, write.integers("part_shape", part.columns.shape)], "shape", attributes={"axis": 0})
