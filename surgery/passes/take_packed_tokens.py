"""Batches of rows with a mask → tokens one behind the other, and where each row ends, as inputs of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import listed
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.sites.constants import small_array
from onnxfix.surgery.sites.tokens.packed import packing
from onnxfix.surgery.sites.tokens.packed.interface import ENDS, MASK, PLACES, TOKENS
from onnxfix.surgery.sites.tokens.packed.packing import Packing, unpacked
from onnxfix.surgery.written.unpacked import Batch, write_batch


@dataclass(frozen=True)
class TakePackedTokens:
    """Let a packed model be given its real tokens alone, so that no padding is ever made.

    A graph that packs by its mask finds out in each run how many tokens there are, which a device has to wait for, and
    which no CUDA graph can capture. Here inputs of tokens become [packed_tokens, …], and `cu_seqlens` and
    `token_offset`, both int32, say where rows end and where their tokens lie in a batch; they take the mask's place.
    Outputs of tokens that are packed come as [packed_tokens, …], all others as before; so do inputs that are not
    packed, as a decoder's beside its encoder's. Rows begin with their first token: padding at the left and holes cannot
    be said.

    Measure: inputs of batches of tokens, the mask among them.
    """

    name: ClassVar[str] = "take-packed-tokens"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        found = _found(editor.model)
        if isinstance(found, str):
            return
        site, inputs = found
        mask = editor.model.ir.metadata_props[MASK] = str(_mask(site).name)
        batch, rows = _inputs(editor, site, inputs)
        _replace_places(editor, site, batch)
        for value, row in rows.items():
            _give_rows(editor, value, row, batch)
        outputs = [name for value in list(editor.model.graph.outputs) if (name := _give_tokens(editor, value, batch))]
        said = f"takes {listed([str(value.name) for value in rows.values()])} of tokens one behind the other"
        gives = f", and gives {listed(outputs)} so" if outputs else ""
        editor.notes.append(f"{said}, with {ENDS} and {PLACES} in the place of {mask}{gives}")

    def measure(self, model: Model) -> float:
        found = _found(model)
        return 0.0 if isinstance(found, str) else float(len(found[1]) + 1)


def why_not(model: Model) -> str:
    """What stands against packed inputs of a model whose tokens are packed, empty where nothing does."""
    found = _found(model)
    return found if isinstance(found, str) else ""


def _mask(site: Packing) -> ir.Value:
    mask = packing.given(site.mask)
    assert mask is not None
    return mask


def _found(model: Model) -> tuple[Packing, list[ir.Value]] | str:
    """Where real tokens are gathered, and the inputs that they are gathered of; or why there are none."""
    site = packing.find(model)
    mask = packing.given(site.mask) if site is not None else None
    if site is None or mask is None or not mask.is_graph_input() or mask.shape is None or len(mask.shape) != 2:
        return "no tokens are packed by an input [rows, length]"
    batch, length = mask.shape
    if not (isinstance(batch, ir.SymbolicDim) and isinstance(length, ir.SymbolicDim)):
        return f"the sizes of {mask.name} are not both free"
    names = {str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)}
    sizes = {
        size.value for value in model.graph.inputs for size in value.shape or () if isinstance(size, ir.SymbolicDim)
    }
    if TOKENS in sizes or names & {ENDS, PLACES}:
        return f"{TOKENS}, {ENDS} or {PLACES} is the name of something else"
    others = [value for value in model.graph.inputs if value is not mask and value.name not in model.graph.initializers]
    of_tokens = [v for v in others if _has(v, 0, batch) and _has(v, 1, length) and _is_gathered(v, site)]
    if not of_tokens:
        return f"no input of the sizes of {mask.name} is gathered"
    seen = next(((v, name) for v in of_tokens if (name := _reaches(v, site))), None)
    return (site, of_tokens) if seen is None else f"{seen[1]} is made of {seen[0].name} at padding, too"


def _is_gathered(value: ir.Value, site: Packing) -> bool:
    """Whether the stream takes tokens of an input, and so those alone that the mask shows."""
    rows = (n for n in value.consumers() if n.op_type == "Reshape" and is_standard(n))
    return any(_takes(node, site) for row in rows for node in row.outputs[0].consumers())


def _takes(node: ir.Node, site: Packing) -> bool:
    return node.op_type == "Gather" and node.inputs[1] is site.taken and integer(node, "axis", 0) == 0


def _reaches(value: ir.Value, site: Packing) -> str:
    """The first output that is made of a batch of tokens without the choice of those that are real, empty for none."""
    seen, pending = {value}, [value]
    while pending:
        current = pending.pop()
        if current.is_graph_output():
            return str(current.name)
        for node in current.consumers():
            if node.op_type == "Shape" or (_takes(node, site) and node.inputs[0] is current):
                continue
            new = [made for made in node.outputs if made not in seen]
            seen.update(new)
            pending.extend(new)
    return ""


def _has(value: ir.Value, axis: int, size: ir.SymbolicDim) -> bool:
    return value.shape is not None and len(value.shape) > axis and value.shape[axis] == size


def _inputs(editor: Editor, site: Packing, inputs: list[ir.Value]) -> tuple[Batch, dict[ir.Value, ir.Value]]:
    """Where the tokens of the model's new inputs lie, and by what each former one, which is a batch of these now, is
    given."""
    mask, write = _mask(site), Writer(editor, "batch", editor.model.graph[0])
    assert mask.shape is not None and mask.dtype is not None
    places = editor.take_input(PLACES, ir.DataType.INT32, list(mask.shape), mask)
    ends = editor.take_input(ENDS, ir.DataType.INT32, ["rows_and_one"], places)
    rows = {}
    for value in inputs:
        sizes = [TOKENS, *list(value.shape or ())[2:]]
        rows[value] = editor.take_input(str(value.name), value.dtype or ir.DataType.INT64, sizes, value)
    batch = write_batch(write, next(iter(rows.values())), ends, places)
    editor.replace_uses(mask, write("Cast", [batch.real], "mask", attributes={"to": mask.dtype}))
    editor.drop_input(mask)
    return batch, {_batch_of(write, value, row, batch): row for value, row in rows.items()}


def _batch_of(write: Writer, value: ir.Value, row: ir.Value, batch: Batch) -> ir.Value:
    """[rows, length, …] in the place of a former input."""
    assert value.dtype is not None
    features, real = len(value.shape or ()) - 2, batch.real
    if features:
        real = write("Unsqueeze", [real, write.integers("features", list(range(2, 2 + features)))], "is_shown")
    padding = write.array("padding", np.array(_padding_of(value), dtype=value.dtype.numpy()))
    put = write("Where", [real, write("Gather", [row, batch.back], "in_places"), padding], "batch_of_tokens")
    write.editor.replace_uses(value, put)
    return put


def _padding_of(value: ir.Value) -> int:
    """What the graph takes for a token of padding, where it looks for one, else 0."""
    for node in value.consumers():
        number = small_array(node.inputs[1], limit=1) if node.op_type == "Equal" and is_standard(node) else None
        if number is not None and number.size == 1:
            return int(number.reshape(-1)[0])
    return 0


def _replace_places(editor: Editor, site: Packing, batch: Batch) -> None:
    for before, after in ((site.taken, batch.taken), (site.back, batch.back)):
        editor.replace_uses(before, after)
        editor.remove_dead(before.producer())


def _give_rows(editor: Editor, put: ir.Value, row: ir.Value, batch: Batch) -> None:
    """To those that gather real tokens of a batch what they gather."""
    for reshape in list(put.consumers()):
        gathers = reshape.outputs[0].consumers() if reshape.op_type == "Reshape" and is_standard(reshape) else ()
        for gather in list(gathers):
            if gather.op_type == "Gather" and gather.inputs[1] is batch.taken and integer(gather, "axis", 0) == 0:
                editor.replace_uses(gather.outputs[0], row)
                editor.remove_dead(gather)
    editor.remove_dead(put.producer())


def _give_tokens(editor: Editor, value: ir.Value, batch: Batch) -> str:
    """Make an output that is put back into its batch one of tokens: its name, empty where it is none."""
    node = value.producer()
    cast = node if node is not None and node.op_type == "Cast" and is_standard(node) else None
    found = unpacked(cast.inputs[0] if cast is not None else value)
    if node is None or found is None or found.places is not batch.back or value.shape is None:
        return ""
    row = found.row
    if cast is not None:
        kind = {"to": cast.attributes["to"].as_int()}
        row = Writer(editor, str(value.name), cast)("Cast", [row], "of_tokens", attributes=kind)
    sizes = [TOKENS, *list(value.shape)[2:]]
    editor.reroute_output(value, row)
    editor.set_shape(row, sizes)
    editor.remove_dead(node)
    return str(row.name)
