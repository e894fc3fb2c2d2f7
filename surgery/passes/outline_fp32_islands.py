"""Parts that must stay in fp32 → local functions, which fp16 converters do not look into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Site
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import bodies, is_standard
from onnxfix.nouns.types.type_strings import declared_type
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.half.function_outline import DOMAIN, Outline
from onnxfix.surgery.opset import raise_opset
from onnxfix.surgery.sites.constants import constant_attribute_tensor
from onnxfix.surgery.sites.half import fp32_islands, half_plan
from onnxfix.surgery.sites.half.fp32_islands import Island
from onnxfix.surgery.sites.half.half_plan import FLOAT, HalfOptions, HalfPlan

CAST_LIKE_SINCE = 15


@dataclass(frozen=True)
class OutlineFp32Islands:
    """Prepare a graph for `convert_float_to_float16` of onnxconverter-common or onnxruntime.transformers.

    What must stay in fp32 (rotary angles, written-out norms, indices, control flow, operators that those libraries cast
    around) moves into functions of the domain `onnxfix.fp32`, with its constants. A function casts its inputs to fp32
    and its results to the type of a constant `like` of the graph, so that it is right in an fp32 graph and, once the
    library has converted `like`, in an fp16 one. Between two functions values pass as double, which no library touches.
    Casts to fp32 that remain become `CastLike`, because onnxconverter-common does not change their target (its issue
    320). Constants written as `value_float` become tensors, because neither library converts those. Operator sets
    before 15, which have no `CastLike`, are raised to it. Give onnxconverter-common `max_finite_val=65504` where
    weights pass 1e4: that is where it cuts them off by default.
    """

    name: ClassVar[str] = "outline-fp32-islands"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ()

    target: Target
    options: HalfOptions = field(default_factory=HalfOptions)

    def apply(self, editor: Editor) -> None:
        model = editor.model
        if any(domain == DOMAIN for domain, _, _ in model.ir.functions):
            return
        _refuse_overridable(model)
        types, plan, islands = self._find(model)
        if model.opset < CAST_LIKE_SINCE and (islands or any(_is_cast_to_float(n) for n in model.graph)):
            raise_opset(editor, CAST_LIKE_SINCE, "CastLike")
            types, plan, islands = self._find(model)
        _note(editor, plan, islands)
        outline = Outline(editor, types, islands)
        outline.run()
        _Tidy(editor, types, outline).run()

    def _find(self, model: Model) -> tuple[ElementTypes, HalfPlan, list[Island]]:
        types = infer(model.ir)
        plan = half_plan.plan(model, types, self.target, "tensor(float16)", self.options)
        return types, plan, fp32_islands.find(model, types, plan)


def _refuse_overridable(model: Model) -> None:
    floats = [v for v in model.graph.inputs if v.is_initializer() and declared_type(v) == FLOAT]
    if floats:
        raise OnnxfixError(
            f"{len(floats)} float initializers are graph inputs too ({floats[0].name}): converters change one and not "
            "the other",
            "export again with keep_initializers_as_inputs=False",
        )


def _is_cast_to_float(node: ir.Node) -> bool:
    return node.op_type == "Cast" and is_standard(node) and node.attributes["to"].as_int() == 1


def _note(editor: Editor, plan: HalfPlan, islands: Sequence[Island]) -> None:
    for entry, caught in plan.caught.items():
        editor.notes.append(f"{entry} caught {plural(caught, 'node')}")
    for reason, count in Counter(plan.keep.values()).most_common():
        editor.notes.append(f"kept in fp32: {plural(count, 'node')} ({reason})")
    inner = sum(len(body) for i in islands for n in i.nodes for body in bodies(n))
    if inner:
        editor.notes.append(f"bodies of control flow keep their types: {plural(inner, 'node')}")


class _Tidy:
    """What is left in the main graph is all converted; this puts it into words that both libraries understand."""

    def __init__(self, editor: Editor, types: ElementTypes, outline: Outline) -> None:
        self.editor = editor
        self.types = types
        self.outline = outline

    def run(self) -> None:
        graph = self.editor.model.graph
        for node in list(graph):
            self._follow_the_rest(node)
        for value in dict.fromkeys(graph.outputs):
            self._separate(value)
        for node in graph:
            self._name(node)

    def _follow_the_rest(self, node: ir.Node) -> None:
        """Operators that name fp32 as their type take it from what a converter converts."""
        if not is_standard(node):
            return
        if _is_cast_to_float(node):
            self.editor.set_operator(node, "CastLike", {}, inputs=2)
            self.editor.replace_input(node, 1, self.outline.like())
        elif node.op_type == "ConstantOfShape" and "value" not in node.attributes:
            zero = ir.tensor(np.zeros(1, np.float32))
            self.editor.set_attribute(node, ir.AttrTensor("value", zero))
        elif node.op_type == "Constant" and {"value_float", "value_floats"} & set(node.attributes):
            tensor = constant_attribute_tensor(node)
            assert tensor is not None
            self.editor.set_operator(node, "Constant", {"value": tensor}, inputs=0)

    def _separate(self, value: ir.Value) -> None:
        """A float output that is read inside as well: onnxconverter-common casts it to fp32 for all its readers."""
        producer = value.producer()
        if not self.types.is_float32(value) or value.is_graph_input() or (producer is not None and not value.uses()):
            return
        graph = self.editor.model.graph
        like = producer if producer is not None else graph[0]
        node = self.editor.new_node(
            "Identity", [value], like, outputs=[f"{value.name}_out"], types=[FLOAT], after=producer
        )
        self.editor.reroute_output(value, node.outputs[0])

    def _name(self, node: ir.Node) -> None:
        """Both libraries name their casts after nodes, and onnxconverter-common sorts by names of outputs."""
        self.editor.named(node)
        for value in node.outputs:
            if not value.name:
                value.name = self.editor.unique(f"{node.name}_unread")
                self.editor.record("name", Site.of_node(node))
