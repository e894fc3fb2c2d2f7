"""Brings outlined islands back into a graph that a library has converted around them, without needless casts."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import onnx_ir.passes.common as common

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import elem_string
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import constant_tensor

from .function_outline import DOMAIN, REPEATS

Originals = Mapping[str, ir.Node]


def return_from_functions(result: Model, source: Model, pass_name: str) -> None:
    """Inline the functions of `result`, name types in casts again, and leave out casts that only lose or only undo.

    `source` is the graph before it was prepared: its nodes get their metadata back, its constants their names and its
    values their shapes.
    """
    result.graph.sort()  # the libraries put their casts behind everything else
    common.InlinePass(criteria=lambda function: function.domain == DOMAIN)(result.ir)
    result.ir.opset_imports.pop(DOMAIN, None)
    editor = Editor(result, pass_name)
    originals = {n.name: n for n in source.nodes() if n.name}
    _name_types(editor, originals)
    _share_constants(editor, source)
    _leave_out_casts(editor, originals)
    _restore_metadata(result, originals)
    _declare(editor, source)


def _name_types(editor: Editor, originals: Originals) -> None:
    """CastLike → Cast, whose kernels every runtime has; what it was like is no longer needed."""
    for node in list(editor.model.graph):
        original = originals.get(node.name or "")
        if node.op_type != "CastLike" or (original is not None and original.op_type == "CastLike"):
            continue
        like = node.inputs[1]
        editor.set_operator(node, "Cast", {"to": ir.DataType.FLOAT16}, inputs=1)
        if like is not None and like.is_initializer() and not like.uses():
            editor.drop_initializer(like)


def _share_constants(editor: Editor, source: Model) -> None:
    """Constants that functions held become what they were in the source, one for all, under the old name if free."""
    producers = {v.name: n for n in source.graph for v in n.outputs}
    shared: dict[str, ir.Value] = {}
    for node in list(editor.model.graph):
        name = node.metadata_props.pop(REPEATS, None)
        tensor = constant_tensor(node.outputs[0])
        if name is None or tensor is None:
            continue
        if name not in shared and name in producers:
            node.name = editor.unique(producers[name].name or node.name or "Constant")
            node.outputs[0].name = editor.unique(name)
            shared[name] = node.outputs[0]
            continue
        if name not in shared:
            shared[name] = _named_as_before(editor, name, tensor)
        editor.replace_uses(node.outputs[0], shared[name])
        editor.remove(node)


def _named_as_before(editor: Editor, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """The fp32 weight has the source's name; one that half nodes read as well says that it is in half."""
    half = editor.model.graph.initializers.get(name)
    if half is not None:
        half.name = editor.unique(f"{name}_float16")
    made = editor.add_initializer(name, tensor)
    made.name = name
    return made


def _leave_out_casts(editor: Editor, originals: Originals) -> None:
    """Of the casts made for the conversion: those to the type that is there, those back to what a cast came from, and
    second ones of one value. fp32 → fp16 → fp32 between two fp32 nodes is not rounded then, as in the source."""
    types = infer(editor.model.ir)
    seen: dict[tuple[ir.Value, str], ir.Value] = {}
    casts = [n for n in editor.model.graph if n.op_type == "Cast"]
    made = {n for n in casts if n.name not in originals}
    for node in casts:
        value, wanted = node.inputs[0], elem_string(ir.DataType(node.attributes["to"].as_int()))
        assert value is not None
        before, better = value.producer(), node.outputs[0]
        earlier = before.inputs[0] if before is not None and before in made else None
        if node not in made:
            if earlier is not None and types.get(value) == wanted:
                editor.replace_input(node, 0, earlier)  # the source's own cast now does what the made one did
            continue
        if types.get(value) == wanted:
            better = value
        elif earlier is not None and types.get(earlier) == wanted:
            better = earlier
        else:
            better = seen.setdefault((value, wanted), better)
        if better is not node.outputs[0] and _may_replace(node.outputs[0], better):
            editor.replace_uses(node.outputs[0], better)
    for node in reversed(casts):
        if node in made:
            editor.remove_dead(node)


def _may_replace(old: ir.Value, new: ir.Value) -> bool:
    """A graph output can move to a value that has no name of its own to keep."""
    return not old.is_graph_output() or (new.producer() is not None and not new.is_graph_output())


def _restore_metadata(result: Model, originals: Originals) -> None:
    """Inlining adds the metadata of the call to every node of the function."""
    for node in result.nodes():
        original = originals.get(node.name or "")
        if original is not None:
            node.metadata_props.clear()
            node.metadata_props.update(original.metadata_props)


def _declare(editor: Editor, source: Model) -> None:
    """Types as they are now; shapes as the source declares them where the library dropped them."""
    types = infer(editor.model.ir)
    declared = {v.name: v for n in source.nodes() for v in n.outputs if v.shape is not None}
    for value in (v for node in editor.model.nodes() for v in node.outputs):
        known = types.get(value)
        if known is None or not known.startswith("tensor("):
            continue
        original = declared.get(value.name)
        if value.shape is None and original is not None:
            value.shape = original.shape
        if value.type is not None or value.shape is not None:
            editor.set_type(value, known)
