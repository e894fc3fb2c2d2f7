"""ONNX Runtime's quantizers as passes call them: which linears they may take, and their result as our graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxfix.nouns.errors import TRACEBACK, OnnxfixError, one_line
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.site import label
from onnxfix.surgery.adoption import adopt
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.engines import quiet
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import heads, linears

PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class Selection:
    """Which linears a quantization takes. `blocked`: labels of nodes that stay in float; `heads`: those that decide the
    classes too, which cost nothing in float."""

    blocked: tuple[str, ...] = ()
    heads: bool = False

    def of(self, found: Collection[linears.Linear], model: Model) -> list[linears.Linear]:
        """Those that are in float and may be quantized, of all linears of a model."""
        kept = set() if self.heads else heads.find(found, model.graph)
        return [x for x in found if not x.quantized and label(x.node) not in self.blocked and x.node not in kept]

    def in_float32(self, model: Model) -> list[linears.Linear]:
        """Those whose weight is a float32 matrix on the right: what ONNX Runtime's quantizers and kernels accept."""
        return [x for x in self.of(linears.find(model), model) if _is_float32(x) and _is_matrix(x)]


ALL = Selection()
"""Every linear but the heads."""


def quantize(editor: Editor, why: str, convert: Callable[[Path, Path], object]) -> None:
    """Let the model be what `convert` makes of its file: from the first path, to the second.

    Large weights lie beside the first in a file `.data`, and have to beside the second. Raises OnnxfixError when the
    quantizer fails.
    """
    with Scratch() as folder:
        detached = Model(editor.model.ir, Path("float.onnx"), editor.model.external_files)
        source, result = detached.write(folder / "float.onnx"), folder / "int8.onnx"
        try:
            with quiet():
                convert(source, result)
        except OnnxfixError:
            raise
        except Exception as error:  # the quantizers raise bare exceptions and assertion errors
            raise OnnxfixError(
                f"ONNX Runtime's quantizer failed: {one_line(error)}",
                TRACEBACK,
            ) from error
        made = Model.open(result).ir
        ir.external_data.load_to_model(made)  # the files vanish with the folder
        adopt(editor, made, why)


def has_side_file(source: Path) -> bool:
    """Whether the weights of a saved model lie in a file of their own."""
    return source.with_name(source.name + ".data").exists()


def _is_float32(linear: linears.Linear) -> bool:
    tensor = constant_tensor(linear.weight.source)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT


def _is_matrix(linear: linears.Linear) -> bool:
    tensor = constant_tensor(linear.weight.source)
    path, right = linear.weight.path, linear.node.inputs[1]
    stands = right is (path[-1].outputs[0] if path else linear.weight.source)
    return linear.node.op_type in PRODUCTS and stands and tensor is not None and len(tensor.shape) == 2
