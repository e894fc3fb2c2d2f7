"""Einsum with a constant operand as the linear layer that it is: what is summed over, and what the weight adds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, is_standard
from onnxfix.surgery.sites.constants import Trace, constant_tensor, trace

REST = "..."


@dataclass(frozen=True)
class EinsumLinear:
    """An Einsum of an activation and a weight. `given`, `stored`, `made`: labels of the axes of activation, weight and
    result, `...` being one of them; `index`: that of the weight among the inputs."""

    node: ir.Node
    weight: Trace
    index: int
    given: tuple[str, ...]
    stored: tuple[str, ...]
    made: tuple[str, ...]

    @property
    def summed(self) -> tuple[str, ...]:
        """Labels of both operands that the result lacks, as the activation has them."""
        return tuple(x for x in self.given if x in self.stored and x not in self.made)

    @property
    def added(self) -> tuple[str, ...]:
        """Labels that only the weight brings, as the result has them."""
        return tuple(x for x in self.made if x in self.stored and x not in self.given)

    @property
    def kept(self) -> tuple[str, ...]:
        """Labels of the activation that the result keeps."""
        return tuple(x for x in self.given if x not in self.summed)

    @property
    def is_matrix(self) -> bool:
        """Whether one matrix serves all: no label of the weight is one of activation and result, too, and none of the
        activation's is summed over alone."""
        shared = [x for x in self.stored if x in self.given and x in self.made]
        alone = [x for x in self.given if x not in self.stored and x not in self.made]
        return bool(self.added) and not shared and not alone


def find(node: ir.Node) -> EinsumLinear | None:
    """The linear layer that an Einsum is: two operands, one of them constant with two axes or more, and something they
    are summed over. None for any other."""
    if node.op_type != "Einsum" or not is_standard(node) or len(node.inputs) != 2:
        return None
    terms = _terms(str(attribute(node, "equation", "")))
    if terms is None:
        return None
    for index in (1, 0):
        weight = trace(node.inputs[index])
        tensor = constant_tensor(weight.source) if weight is not None else None
        if weight is None or tensor is None or len(tensor.shape) < 2 or REST in terms[index]:
            continue
        found = EinsumLinear(node, weight, index, terms[1 - index], terms[index], terms[2])
        return found if found.summed else None
    return None


def _terms(equation: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None:
    """Labels of both operands and of the result; None where a label stands twice in one of them."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = [_labels(term) for term in left.split(",")]
    if len(operands) != 2:
        return None
    if arrow:
        made = _labels(right)
    else:  # without an arrow: what stands once, in the order of the alphabet
        counts = Counter(x for term in operands for x in term if x != REST)
        rest = (REST,) if any(REST in term for term in operands) else ()
        made = (*rest, *sorted(x for x, count in counts.items() if count == 1))
    terms = (operands[0], operands[1], made)
    return None if any(len(set(term)) < len(term) for term in terms) else terms


def _labels(term: str) -> tuple[str, ...]:
    before, dots, after = term.partition(REST)
    return (*before, *((REST,) if dots else ()), *after)
