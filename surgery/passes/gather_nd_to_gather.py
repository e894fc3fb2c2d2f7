"""GatherND at constant places of the first axis → Gather, which says that nothing else is taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import Array, small_array


@dataclass(frozen=True)
class GatherNdToGather:
    """Write a GatherND whose constant indices are of one axis as a Gather.

    torch's exporter writes `x[..., [-2], :]` as a Transpose, a GatherND and a Transpose: the keys and values that all
    heads of a Falcon share. A GatherND may take any element of any token; a Gather along an axis that is of none takes
    the same of each, so that products before it are known to be of one token each.
    """

    name: ClassVar[str] = "gather-nd-to-gather"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        for node, places in list(_found(editor.model)):
            indices = node.inputs[1]
            editor.set_operator(node, "Gather", {"axis": 0}, inputs=2)
            editor.replace_input(node, 1, editor.add_initializer("places", ir.tensor(places), _home(node)))
            if indices is not None and indices.is_initializer() and not indices.uses():
                editor.drop_initializer(indices)
            elif indices is not None:
                editor.remove_dead(indices.producer())


def _home(node: ir.Node) -> ir.Graph | None:
    return node.graph if isinstance(node.graph, ir.Graph) else None


def _found(model: Model) -> Iterator[tuple[ir.Node, Array]]:
    """With their places along the first axis, as Gather takes them."""
    for node in model.nodes():
        if node.op_type != "GatherND" or not is_standard(node) or integer(node, "batch_dims", 0):
            continue
        indices = small_array(node.inputs[1])
        if indices is not None and indices.ndim and indices.shape[-1] == 1:
            yield node, indices.reshape(indices.shape[:-1])
