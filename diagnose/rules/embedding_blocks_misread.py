"""W002: a quantized embedding table that CUDA reads with the scales of other rows, or with another zero point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.linear import table_blocks
from onnxfix.surgery.sites.linear.table_blocks import BlockTable


class EmbeddingBlocksMisread:
    """A table of `GatherBlockQuantized` whose rows are no whole number of blocks, or whose zero points are left out.

    The CPU starts each row with a block of its own. ONNX Runtime's CUDA kernel divides the flat index by the block
    size (microsoft/onnxruntime#32663): in a table of width 96 with blocks of 128 most rows get the scale of another
    row, and nothing is said; outputs were wrong by 72 %. Where `zero_points` is left out the CPU takes the middle of
    the range and CUDA kernels before the fix of microsoft/onnxruntime#31692 take 0, so that every number is shifted.

    Repair: `onnxfix repair` cuts the blocks smaller, to the same numbers, and writes the zero points. Rows that no
    block of 16 divides have to be quantized anew, in float or by another operator.
    """

    code: ClassVar[str] = "W002"
    name: ClassVar[str] = "embedding-blocks-misread"

    def check(self, subject: Subject) -> Iterator[Finding]:
        kernels = subject.target.tabled
        if kernels is None or not kernels.flat_blocks:
            return
        for table in table_blocks.find(subject.model):
            if table.mixes_rows or table.guesses_zero:
                repairable = table.finer is not None or not table.mixes_rows
                yield Finding(
                    code=self.code,
                    name=self.name,
                    severity=Severity.ERROR if table.mixes_rows else Severity.WARNING,
                    site=Site.of_node(table.node),
                    message=_message(table),
                    evidence={
                        "block_size": table.block,
                        "width": table.width,
                        "zero_points": not table.guesses_zero,
                        "block_that_fits": table.finer,
                    },
                    repair="onnxfix repair --precision fp32" if repairable else "quantize the float original again",
                    applicability=Applicability.EXACT if repairable else Applicability.MANUAL,
                )


def _message(table: BlockTable) -> str:
    said = []
    if table.axis != table.rank - 1:
        said.append(f"its blocks lie along axis {table.axis}, and CUDA's kernel takes them along the last")
    elif table.mixes_rows:
        said.append(
            f"its rows of {table.width} are no whole number of blocks of {table.block}, and CUDA's kernel takes the "
            "scales of other rows"
        )
    if table.guesses_zero:
        said.append(f"it has no zero points: the CPU takes {1 << (table.bits - 1)} for them, older CUDA kernels 0")
    return "; ".join(said)
