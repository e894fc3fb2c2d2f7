"""Batches with padding → one row of their real tokens, wherever each token is computed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import integer
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.opset import SHAPE_OF_AN_AXIS
from onnxfix.surgery.sites.constants import trace
from onnxfix.surgery.sites.tokens import padding, stream
from onnxfix.surgery.sites.tokens.padding import Padding
from onnxfix.surgery.sites.tokens.per_token import is_read_whole
from onnxfix.surgery.sites.tokens.stream import PRODUCTS, Stream, products
from onnxfix.surgery.written.places import Behind, Places


@dataclass(frozen=True)
class PackTokens:
    """Compute linears, norms and all else that is of one token on the real tokens of a batch alone.

    A batch of 8 texts of up to 512 tokens is often 40 % full, and everything but the attention is computed for the
    other 60 % as well. Here the tokens that the mask shows are gathered once into one row, [1, tokens, …], put back in
    their places before each attention, and gathered again behind it. What leaves the model at a token of padding is 0.
    No token's result changes, as nothing that is packed reads another token's (see `surgery/sites/tokens`).

    `clean_keys`: zeros stand at keys of padding. Without them a token of another row stands there, which the mask
    hides, but for NaN and infinity: kernels of GPUs want keys as they are gathered.

    Measure: products with weights that are computed of padding too.
    """

    clean_keys: bool = True

    name: ClassVar[str] = "pack-tokens"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ("F004",)

    def apply(self, editor: Editor) -> None:
        found = _found(editor.model)
        if found is not None and found[1].nodes:
            _pack(editor, *found, self.clean_keys)
            read = [node.inputs[1] for node in editor.model.graph if node.op_type in PRODUCTS]
            every = plural(sum(_is_weight(value) for value in read), "product")
            editor.notes.append(f"{len(products(found[1]))} of {every} with weights computed of real tokens alone")
            if told := found[1].told:
                more = f", and so {'do' if len(told) > 2 else 'does'} {plural(len(told) - 1, 'other')}" * (
                    len(told) > 1
                )
                said = f"{told[0].op_type} {label(told[0])} reads what stands at tokens of padding{more}"
                editor.notes.append(f"what is computed before is of all tokens: {said}")

    def measure(self, model: Model) -> float:
        found = _found(model)
        return float(len(products(found[1]))) if found else 0.0


def _is_weight(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    stored = node.inputs[0] if node is not None and node.op_type == "DequantizeLinear" else value
    return trace(stored) is not None


def _found(model: Model) -> tuple[Padding, Stream] | None:
    if model.opset < SHAPE_OF_AN_AXIS:
        return None
    hides = padding.find(model)
    return None if hides is None else (hides, stream.find(model, hides))


def _pack(editor: Editor, hides: Padding, found: Stream, clean_keys: bool) -> None:
    places = Places(editor, hides, editor.model.graph[0])
    inside = set(found.nodes)
    types = infer(editor.model.ir)
    for value in found.exits:
        _leave(editor, places, value, inside, found, types, clean_keys)
    for value in found.entries:
        packed = _entered(editor, places, value, found)
        for reader, index in list(value.uses()):
            if reader in inside and not is_read_whole(reader, index, found.layout):
                editor.replace_input(reader, index, packed)
    tables: dict[tuple[ir.Value, ir.Value], ir.Value] = {}
    for node in found.nodes:
        if node.op_type == "Reshape":
            _reshape(editor, places, node, found)
        if node.op_type == "RotaryEmbedding":
            _turn(editor, places, node, tables)
        for value in node.outputs:
            editor.drop_declaration(value)


def _entered(editor: Editor, places: Places, value: ir.Value, found: Stream) -> ir.Value:
    """A value as the stream reads it: of its real tokens, or of their positions."""
    axes, features = found.layout.axes(value), found.layout.features(value)
    assert axes is not None
    there = Behind(editor, value.producer(), places.like, value.name or "")
    if axes.batch is None:
        return there.node("Gather", [value, places.position()], "of_tokens", attributes={"axis": axes.token})
    if axes.merged:
        return there.node("Gather", [value, places.taken], "of_tokens")
    assert features is not None
    flat = there.node("Reshape", [value, places.integers([-1, *features])], "in_a_row")
    taken = there.node("Gather", [flat, places.taken], "of_tokens")
    return there.node("Unsqueeze", [taken, places.integers([0])], "as_one_row")


def _declare(editor: Editor, value: ir.Value, kind: str | None, sizes: list[int | ir.SymbolicDim | None]) -> None:
    """How wide tokens are, which nobody can tell where how many there are is a count."""
    if kind is not None:
        editor.set_type(value, kind)
        editor.set_shape(value, sizes)


def _leave(
    editor: Editor,
    places: Places,
    value: ir.Value,
    inside: set[ir.Node],
    found: Stream,
    types: ElementTypes,
    clean_keys: bool,
) -> None:
    """Give everything outside the stream a value in its old places."""
    axes, features = found.layout.axes(value), found.layout.features(value)
    assert axes is not None and features is not None
    readers = [(node, index) for node, index in value.uses() if node not in inside]
    if not axes.merged:
        readers = [(node, index) for node, index in readers if not _sized(editor, places, node, features)]
    if not readers and not value.is_graph_output():
        return
    there = Behind(editor, value.producer(), places.like, value.name or "")
    row = value if axes.merged else there.node("Squeeze", [value, places.integers([0])], "of_tokens")
    put = there.node("Gather", [row, places.back], "in_places")
    if axes.merged:
        put = there.node("Reshape", [put, places.integers([-1, *features])], "in_a_row")
    else:
        _declare(editor, put, types.get(value), [*(places.mask.shape or (None, None)), *features])
    # what a query of padding sees is nobody's; its key would be a token of another row, and no mask hides NaN
    hidden = [(n, i) for n, i in readers if n.op_type in padding.ATTENTION and (i == 0 or not clean_keys)]
    elsewhere = [each for each in readers if each not in hidden]
    for node, index in hidden:
        editor.replace_input(node, index, put)
    if not elsewhere and not value.is_graph_output():
        return
    shown = (
        there.node("Reshape", [places.real, places.integers([-1, *[1] * len(features)])], "real")
        if axes.merged
        else there.node("Unsqueeze", [places.real, places.integers(list(range(2, 2 + len(features))))], "real")
    )
    zero = there.node("CastLike", [places.integers(0), put], "zero")
    clean = there.node("Where", [shown, put, zero], "or_zero")
    if not axes.merged:
        _declare(editor, clean, types.get(value), [*(places.mask.shape or (None, None)), *features])
    for node, index in elsewhere:
        editor.replace_input(node, index, clean)
    if value.is_graph_output():
        editor.reroute_output(value, clean)


def _sized(editor: Editor, places: Places, node: ir.Node, features: tuple[int, ...]) -> bool:
    """A Shape of [batch, length, features…] without what it is of: whoever walks sizes cannot say how many tokens are
    real, and so of no value behind them."""
    if node.op_type != "Shape":
        return False
    rank = 2 + len(features)
    start, end = integer(node, "start", 0), integer(node, "end", rank)
    first, last, _ = slice(start, end).indices(rank)
    write = Writer(editor, node.outputs[0].name or "shape", node)
    parts: list[ir.Value | None] = []
    if first < 2:
        bounds = {"start": first, "end": min(last, 2)}
        parts.append(write("Shape", [places.mask], "of_tokens", attributes=bounds))
    if last > 2:
        parts.append(places.integers(features[max(first - 2, 0) : last - 2]))
    if last <= first or (first >= 2 and not parts):
        return False
    whole = parts[0] if len(parts) == 1 else write("Concat", parts, "known", attributes={"axis": 0})
    assert whole is not None
    editor.replace_uses(node.outputs[0], whole)
    editor.remove_dead(node)
    return True


def _reshape(editor: Editor, places: Places, node: ir.Node, found: Stream) -> None:
    """The shape that one row has: its length is whatever there is."""
    value = node.outputs[0]
    axes, features = found.layout.axes(value), found.layout.features(value)
    assert axes is not None and features is not None
    before = node.inputs[1]
    editor.replace_input(node, 1, places.integers([-1, *features] if axes.merged else [1, -1, *features]))
    if before is not None and before.is_initializer() and not before.uses() and not before.is_graph_output():
        editor.drop_initializer(before)
    elif before is not None:
        editor.remove_dead(before.producer())


def _turn(editor: Editor, places: Places, node: ir.Node, tables: dict[tuple[ir.Value, ir.Value], ir.Value]) -> None:
    """Tables with a row for each token: com.microsoft's RotaryEmbedding takes no row of tokens that is longer than its
    tables, and all rows of a batch are one now."""
    write = Writer(editor, node.outputs[0].name or "rotary", node)
    positions, *given = node.inputs[1:4]
    assert positions is not None
    for index, table in enumerate(given, 2):
        assert table is not None
        if (positions, table) not in tables:
            row = write("Squeeze", [positions, places.integers([0])], "rows")
            tables[positions, table] = write("Gather", [table, row], "of_tokens")
        editor.replace_input(node, index, tables[positions, table])
    editor.replace_input(node, 1, places.numbered())
