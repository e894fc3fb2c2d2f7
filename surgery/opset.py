"""Raising a graph's operator set version, by the converter that comes with onnx."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.site import label
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.opening import plain
from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.nouns.types.type_strings import data_type
from onnxfix.surgery.sites.attention.masks.computed.grid import BASE, Grid

from .adoption import adopt
from .editor import Editor

LARGEST_BYTES = 1 << 31  # of one protobuf, which is all that the converter takes
SHAPE_OF_AN_AXIS = 15
"""Shape knows a start and an end from there on: what passes that write graphs anew to be faster ask sizes with."""
_SOFTMAX_OF_ONE_AXIS = 13  # before, it is of that axis and all behind it, and the last one where the rank is not known
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
_TAKEN_OUT = "tf_half_pixel_for_nn"


def raise_opset(editor: Editor, wanted: int, why: str) -> None:
    """Let the model import at least version `wanted` of ai.onnx, its nodes written as that version has them.

    Raises OnnxfixError where onnx's converter fails: it works in memory, up to 2 GiB, and does not know the operators
    that ONNX Runtime alone has in ai.onnx.
    """
    if editor.model.opset < wanted:
        convert_opset(editor, wanted, why)


def convert_opset(editor: Editor, wanted: int, why: str) -> None:
    """The same to exactly that version, older or newer, but for functions, which the converter does not know."""
    from onnx import version_converter

    model, before = editor.model, editor.model.opset
    editor.name_all()
    try:
        if model.ir.functions and wanted < before:
            raise ValueError("it does not convert local functions")
        if model.weights_bytes >= LARGEST_BYTES:
            raise ValueError(f"its weights have {model.weights_bytes:,} bytes and {LARGEST_BYTES:,} is its limit")
        copy = model.ir.clone()
        if before < _SOFTMAX_OF_ONE_AXIS <= wanted:
            _declare_ranks(copy)
        _require_meanings(copy, before, wanted)
        ir.external_data.load_to_model(copy)
        made = version_converter.convert_version(plain.to_proto(copy), wanted)
    except Exception as error:  # it raises RuntimeError, ValueError and protobuf's own
        raise OnnxfixError(
            f"{why} needs operator set {wanted}; this model has {before} and onnx's version converter fails: "
            f"{one_line(error)}",
            f"export it with opset {wanted}{' or newer' if wanted > before else ''}",
        ) from error
    adopt(editor, plain.from_proto(made), f"for operator set {wanted}")
    editor.notes.append(f"operator set {before} → {wanted}, which {why} needs")


def _require_meanings(model: ir.Model, before: int, wanted: int) -> None:
    """Raise ValueError for a node that means something else in the other set and that the converter leaves as it is: on
    the way up a Hardmax of several axes, on the way down a Softmax of one that is not the last (onnx 1.23), and a
    Resize whose rounding of places was taken out of the standard."""
    low, high = sorted((before, wanted))
    if not low < _SOFTMAX_OF_ONE_AXIS <= high:
        return
    grid, left = Grid(model.graph), {"Hardmax"} if before < wanted else _SOFTMAXES
    for node in model.graph.all_nodes():
        if not is_standard(node):
            continue
        if node.op_type in left and not _is_of_the_last_axis(node, grid, before):
            raise ValueError(f"it leaves {node.op_type} '{label(node)}' as it is, which is of other axes there")
        if node.op_type == "Resize" and attribute(node, "coordinate_transformation_mode", "") == _TAKEN_OUT:
            raise ValueError(
                f"it leaves Resize '{label(node)}' as it is, which operator set 13 has no {_TAKEN_OUT} for"
            )


def _is_of_the_last_axis(node: ir.Node, grid: Grid, version: int) -> bool:
    """And says so, for what is not said is another axis in the other set."""
    axis = integer(node, "axis", -1 if version >= _SOFTMAX_OF_ONE_AXIS else 1)
    data = node.inputs[0]
    shape = (data.shape or grid.shape(data, BASE[0])) if data is not None else None
    if axis != -1 and (shape is None or axis != len(shape) - 1):
        return False
    node.attributes["axis"] = ir.AttrInt64("axis", -1)
    return True


def _declare_ranks(model: ir.Model) -> None:
    """Of what a Softmax reads: onnx infers none behind a Reshape to computed sizes, and the converter writes a Flatten
    and a Reshape around it then, which nobody reads as attention."""
    grid, types = Grid(model.graph), infer(model)
    for node in model.graph.all_nodes():
        scores = node.inputs[0] if node.op_type in _SOFTMAXES and is_standard(node) else None
        if scores is None or scores.shape is not None:
            continue
        walked, kind = grid.shape(scores, BASE[0]), types.get(scores) or ""
        if walked is not None and kind.startswith("tensor("):
            scores.shape = ir.Shape([None] * len(walked))
            scores.type = ir.TensorType(ir.DataType(data_type(kind)))
