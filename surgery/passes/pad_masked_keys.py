"""Masks of any number of keys → keys and masks of a multiple of eight, which kernels of a GPU read in wide words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.editor import Editor, Writer
from onnxfix.surgery.sites.attention import masked_keys
from onnxfix.surgery.sites.attention.masked_keys import Tried
from onnxfix.surgery.written.numbers import lowest

MULTIPLE = 8
MASK = 3


@dataclass
class Made:
    """What several attentions share: how many keys are added to so many, longer masks, and longer places."""

    tried: Tried
    short: dict[ir.Value, ir.Value] = field(default_factory=dict)
    masks: dict[ir.Value, ir.Value] = field(default_factory=dict)
    places: dict[ir.Value, ir.Value] = field(default_factory=dict)


@dataclass(frozen=True)
class PadMaskedKeys:
    """Let attention with a mask have a multiple of eight keys, of which the last ones are hidden.

    The memory-efficient kernel of ONNX Runtime's CUDA provider takes a mask whose rows are multiples of four numbers,
    and leaves any other to the kernel that keeps all scores in memory. A mask that is a bias, as that of relative
    positions, can be told in no other way, so up to seven keys are added to it.

    Measure: attentions with a mask of a number of keys that is no such multiple at every length.
    """

    name: ClassVar[str] = "pad-masked-keys"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        types, made, count = infer(editor.model.ir), Made(Tried(editor.model.graph)), 0
        for node in masked_keys.unaligned(editor.model):
            hidden = lowest(types.get(node.inputs[MASK]))
            if hidden is None:
                continue
            write = Writer(editor, node.outputs[0].name or "attention", node)
            key, value, mask = node.inputs[1:4]
            assert key is not None and value is not None and mask is not None
            if mask not in made.masks:
                made.masks[mask] = _longer(write, mask, _short(write, key, made), write.array("lowest", hidden), -1)
            longer = [_longer_keys(write, each, hidden * 0, made) for each in (key, value)]
            for place, each in enumerate((*longer, made.masks[mask]), 1):
                editor.replace_input(node, place, each)
            for each in (key, value):
                editor.remove_dead(each.producer())
            count += 1
        if count:
            editor.notes.append(f"{plural(count, 'attention')} with keys up to a multiple of {MULTIPLE}, for its mask")

    def measure(self, model: Model) -> float:
        return float(len(masked_keys.unaligned(model)))


def _short(write: Writer, value: ir.Value, made: Made) -> ir.Value:
    """[1], on the host: how many keys are missing."""
    counted = _places(value, made) or value
    if counted not in made.short:
        keys = write("Shape", [counted], "keys", attributes={"start": 1, "end": 2})
        less = write("Sub", [write.integers("none", [0]), keys], "below")
        made.short[counted] = write("Mod", [less, write.integers("multiple", [MULTIPLE])], "short")
    return made.short[counted]


def _places(value: ir.Value, made: Made) -> ir.Value | None:
    """[batch, keys], which tokens are gathered to be keys; None for keys that are made otherwise."""
    node = value.producer()
    if node is None or node.op_type != "Gather" or not is_standard(node) or integer(node, "axis", 0):
        return None
    places = node.inputs[1]
    return places if places is not None and made.tried.rank(places) == 2 else None


def _longer_keys(write: Writer, value: ir.Value, nothing: np.ndarray[Any, Any], made: Made) -> ir.Value:
    """Where tokens are put in places, more places: the first token of the stream stands there, too."""
    short, places, node = _short(write, value, made), _places(value, made), value.producer()
    if places is None or node is None:
        return _longer(write, value, short, write.array("nothing", nothing), 1)
    if places not in made.places:
        made.places[places] = _longer(write, places, short, write.integers("first_token", 0), -1)
    longer = write("Gather", [node.inputs[0], made.places[places]], "of_more_keys")
    write.editor.declare_like(longer, value, [None, None])
    return longer


def _longer(write: Writer, value: ir.Value, short: ir.Value, fill: ir.Value, axis: int) -> ir.Value:
    """With so many more along an axis, 1 of three or the last."""
    bounds = {"start": 0, "end": 1} if axis == 1 else {"start": 0, "end": -1}
    sizes: list[ir.Value | None] = [write("Shape", [value], "before", attributes=bounds), short]
    if axis == 1:
        sizes.append(write("Shape", [value], "behind", attributes={"start": 2}))
    more = write("Expand", [fill, write("Concat", sizes, "more", attributes={"axis": 0})], "added")
    longer = write("Concat", [value, more], "longer", attributes={"axis": axis})
    if axis == 1:
        write.editor.declare_like(longer, value, [None, None])
    return longer
