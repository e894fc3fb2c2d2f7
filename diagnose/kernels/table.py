"""The conditions of all kernels as tables, for the documentation."""

from __future__ import annotations

from onnxfix.nouns.runtime.attention_kernels import Kernel
from onnxfix.render.table import Table, table

from .operators import OPERATORS, Operator

REST = {
    Kernel.UNFUSED: "everything else: all scores in memory",
    Kernel.NONE: "everything else ends in an error when the model runs",
}


def conditions_of(operator: Operator) -> Table:
    """The kernels of an operator in the order in which they are tried, and all that must hold for each."""
    tried = [
        (
            " ".join(filter(None, (str(each.kernel), each.where))),
            "; ".join(condition.needs for condition in each.conditions),
        )
        for each in operator.tried
    ]
    return table(("kernel", "takes"), [*tried, (str(operator.otherwise), REST[operator.otherwise])])


def operators() -> list[Operator]:
    return list(OPERATORS.values())
