"""Moves islands of a graph into local functions that are right whatever floating type surrounds their calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.site import Site
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.half.fp32_islands import Island
from onnxfix.surgery.sites.half.half_plan import FLOAT
from onnxfix.surgery.sites.half.island_borders import Borders, Entry, Exit

DOMAIN = "onnxfix.fp32"
DOUBLE = "tensor(double)"
# On a Constant node of a function: the name of the constant that it repeats.
REPEATS = "onnxfix.repeats"


class Outline:
    """Turns each island into one call. `like` is the constant whose type says what the graph around computes in."""

    def __init__(self, editor: Editor, types: ElementTypes, islands: Sequence[Island]) -> None:
        self.editor = editor
        self.types = types
        self.islands = islands
        self.borders = Borders(editor.model, types, islands)
        self._like: ir.Value | None = None

    def run(self) -> None:
        """Outline all islands. Raises OnnxfixError when a sequence of floats passes in or out of one."""
        for number, island in enumerate(self.islands):
            self._outline(island, f"island_{number}")
        if self.islands:
            model = self.editor.model.ir
            model.opset_imports[DOMAIN] = 1
            model.ir_version = max(model.ir_version, 10)  # functions since 8, metadata of their nodes since 10
            self.editor.model.graph.sort()

    def like(self) -> ir.Value:
        """The constant that a converter turns into half with all others; made when first asked for."""
        if self._like is None:
            self._like = self.editor.add_initializer("onnxfix_like", ir.tensor(np.zeros(1, np.float32)))
        return self._like

    def _outline(self, island: Island, name: str) -> None:
        entries, exits = self.borders.entries(island), self.borders.exits(island)
        passed = [e for e in entries if e.constant is None]
        actual = [e.value for e in passed]
        if any(e.kind == "like" for e in exits):
            actual.append(self.like())
        call = self._call(island, name, actual, exits)
        formal = [ir.Value(name=self.editor.unique(f"{v.name}_in")) for v in actual]
        imports = {d: v for d, v in self.editor.model.ir.opset_imports.items() if d != DOMAIN}
        self.editor.model.graph.remove(island.nodes)
        body = ir.Graph(formal, [], nodes=island.nodes, name=name, opset_imports=imports)
        for entry in entries:
            self._enter(entry, formal[passed.index(entry)] if entry.constant is None else None, body)
        body.outputs.extend(self._leave(e, formal) for e in exits)
        function = ir.Function(DOMAIN, name, graph=body, attributes=[])
        self.editor.model.ir.functions[function.identifier()] = function
        self.editor.record("outline", Site.of_node(call), f"{len(island.nodes)} nodes")
        self.borders.island_of[call] = island

    def _call(self, island: Island, name: str, inputs: Sequence[ir.Value], exits: Sequence[Exit]) -> ir.Node:
        """The node that stands for an island from now on; readers outside read its outputs."""
        kinds = [DOUBLE if e.kind == "double" else self._tensor_type(e.value) for e in exits]
        names = [f"{e.value.name}_{'double' if e.kind == 'double' else 'out'}" for e in exits]
        last = island.nodes[-1]
        call = self.editor.new_node(name, inputs, last, outputs=names, types=kinds, domain=DOMAIN, after=last)
        for leaving, made, kind in zip(exits, call.outputs, kinds, strict=True):
            made.shape = leaving.value.shape
            if kind is not None:
                self.types.of[made] = kind
            if leaving.kind == "double":
                self.borders.doubles.add(made)
            for node, index in leaving.uses:
                self.editor.replace_input(node, index, made)
            if leaving.kind != "double" and leaving.value.is_graph_output():
                self.editor.reroute_output(leaving.value, made)
        return call

    def _enter(self, entry: Entry, formal: ir.Value | None, body: ir.Graph) -> None:
        """Let the nodes of a function read its own constant, or its input, in fp32 where they need that."""
        source = formal
        if entry.constant is not None:
            source = self._at_front("Constant", entry, [], {"value": entry.constant}, body)
        elif entry.wide:
            source = self._at_front("Cast", entry, [formal], {"to": ir.DataType.FLOAT}, body)
        for node, index in entry.uses:
            self.editor.replace_input(node, index, source)
        self._drop_unread(entry.value)

    def _at_front(
        self,
        op_type: str,
        entry: Entry,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, ir.DataType | ir.TensorProtocol],
        body: ir.Graph,
    ) -> ir.Value:
        node = self.editor.new_node(
            op_type,
            inputs,
            entry.uses[0][0],
            attributes=attributes,
            outputs=[f"{entry.value.name}_float"],
            types=[FLOAT],
            graph=body,
        )
        if op_type == "Constant":
            node.metadata_props[REPEATS] = entry.value.name or ""
        return node.outputs[0]

    def _leave(self, leaving: Exit, formal: Sequence[ir.Value]) -> ir.Value:
        value, maker = leaving.value, leaving.value.producer()
        assert maker is not None
        if leaving.kind == "like":
            names = [f"{value.name}_like"]
            return self.editor.new_node("CastLike", [value, formal[-1]], maker, outputs=names, after=maker).outputs[0]
        if leaving.kind == "double":
            names, to = [f"{value.name}_wide"], {"to": ir.DataType.DOUBLE}
            cast = self.editor.new_node(
                "Cast", [value], maker, attributes=to, outputs=names, types=[DOUBLE], after=maker
            )
            return cast.outputs[0]
        return value

    def _drop_unread(self, value: ir.Value) -> None:
        if value.uses() or value.is_graph_output():
            return
        if value.is_initializer():
            self.editor.drop_initializer(value)
        elif (producer := value.producer()) is not None and producer.op_type == "Constant":
            self.editor.remove(producer)

    def _tensor_type(self, value: ir.Value) -> str | None:
        kind = self.types.get(value)
        return kind if kind is not None and kind.startswith("tensor(") else None
