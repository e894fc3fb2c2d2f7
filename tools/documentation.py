"""docs/rules.md and docs/passes.md, generated from the docstrings that `onnxfix explain` prints, and
docs/attention-kernels.md, from the conditions that decide.

`python tools/documentation.py docs` writes them; a test fails when they are stale.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path


def rules_page() -> str:
    """One section a rule, in code order."""
    from onnxfix.diagnose.registry import all_rules

    parts = ["# Rules", "What `onnxfix diagnose` looks for. Generated from the rules' own documentation."]
    for code, rule in all_rules().items():
        parts += [f"## {code} {rule.name}", inspect.cleandoc(rule.__doc__ or "")]
    return "\n\n".join(parts) + "\n"


def passes_page() -> str:
    """One section a pass, by name."""
    from onnxfix.surgery.graph_pass import all_passes

    parts = ["# Passes", "What `onnxfix repair` can do to a graph. Generated from the passes' own documentation."]
    for name, kind in sorted(all_passes().items()):
        silences = f"; silences {', '.join(kind.repairs)}" if kind.repairs else ""
        parts += [f"## {name}", f"*{kind.applicability}*{silences}", inspect.cleandoc(kind.__doc__ or "")]
    return "\n\n".join(parts) + "\n"


def kernels_page() -> str:
    """One table an operator: the CUDA kernels of attention in the order in which they are tried."""
    from onnxfix.diagnose.kernels import __doc__ as read_from
    from onnxfix.diagnose.kernels.table import conditions_of, operators
    from onnxfix.render import markdown

    parts = [
        "# Kernels of attention on CUDA",
        KERNELS,
        inspect.cleandoc(read_from or "").partition("\n\n")[2],
        SETTINGS,
    ]
    for operator in operators():
        types = ", ".join(operator.elements)
        parts += [f"## {operator.domain or 'ai.onnx'} {operator.name}", f"In {types}. Source: `{operator.source}`"]
        parts.append(markdown.table(conditions_of(operator)))
    return "\n\n".join(parts) + "\n"


KERNELS = """Which kernel ONNX Runtime's CUDA provider takes for an operator of attention, as `onnxfix diagnose --target
cuda` says it for each node and rule F001 judges it. A kernel takes a node if all that stands beside it holds; the first
one that does is taken. Generated from the code that decides; every condition has its test.

An attention that is written out, as exporters do below operator set 23, has no such choice: a kernel for each product,
each sum and the softmax, with all scores in memory, as the unfused kernel has them."""
SETTINGS = """A session disables kernels by `ORT_DISABLE_FLASH_ATTENTION`, `ORT_DISABLE_MEMORY_EFFICIENT_ATTENTION`,
`ORT_DISABLE_FUSED_ATTENTION`, `ORT_DISABLE_TRT_FLASH_ATTENTION` and `ORT_DISABLE_FUSED_CROSS_ATTENTION` (each `=1`),
and by `ORT_ENABLE_XQA=0`. `ORT_ENABLE_CUDNN_FLASH_ATTENTION` is 1 to have cuDNN from sm 80 on and 0 to never have it.
The provider option `sdpa_kernel` is a sum that names what may be taken instead: 1 flash, 2 memory-efficient, 4
TensorRT, 8 cuDNN, 16 unfused, 32 TensorRT for 385 tokens and more, 64 TensorRT cross. `diagnose` supposes that none of
these is set."""


def write(folder: Path) -> None:
    (folder / "rules.md").write_text(rules_page(), encoding="utf-8")
    (folder / "passes.md").write_text(passes_page(), encoding="utf-8")
    (folder / "attention-kernels.md").write_text(kernels_page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
