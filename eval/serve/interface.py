"""Interface: what a text model takes a row, in which types and of which lengths, read from its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxfix.eval.inputs.feeds import required_inputs
from onnxfix.eval.inputs.graph_limits import positions
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.input_roles import role
from onnxfix.surgery.sites.sizes import baked_sizes
from onnxfix.surgery.sites.tokens.packed import interface as packed_inputs
from onnxfix.surgery.sites.tokens.packed import packs
from onnxfix.surgery.sites.tokens.packed.interface import ENDS, PLACES, PackedInterface

Array = NDArray[Any]


@dataclass(frozen=True)
class Interface:
    """`ids` is the input of token ids; `roles` and `types` are of all inputs, [rows, tokens] each, by name.

    `rows`, `length`: where the model takes one number of rows, or one length, alone. `longest`: tokens that it has
    positions for, None where nothing in the graph says so. `packs`: it computes on the real tokens of a batch alone.
    `names`: what the file calls the axes of rows and tokens, where they are free.
    """

    ids: str
    roles: Mapping[str, str]
    types: Mapping[str, np.dtype[Any]]
    rows: int | None = None
    length: int | None = None
    longest: int | None = None
    packs: bool = False
    names: tuple[str, str] = ("", "")
    declared: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    """Sizes of the outputs' axes, or their names; an empty name where there is none."""
    kinds: Mapping[str, np.dtype[Any]] = field(default_factory=dict)
    """Types of the outputs."""
    packed: PackedInterface | None = None
    """What of it comes as tokens one behind the other; a mask is among `roles` all the same, by which rows are cut."""

    @property
    def is_masked(self) -> bool:
        """Whether the model is told what is padding."""
        return "mask" in self.roles.values()

    @property
    def most(self) -> int | None:
        """Tokens that a row may have."""
        return self.length or self.longest


def read(model: Model) -> Interface:
    """Raises OnnxfixError for a model that takes more than token ids, a mask, segments and positions."""
    if (packed := packed_inputs.find(model)) is not None:
        return _of_packed(model, packed)
    inputs = {str(value.name): value for value in required_inputs(model)}
    roles = {name: role(value) for name, value in inputs.items()}
    ids = [name for name, part in roles.items() if part == "ids"]
    odd = [name for name, value in inputs.items() if not roles[name] or len(value.shape or ()) != 2]
    if odd or len(ids) != 1 or len(set(roles.values())) < len(roles):
        raise _refused(odd[0] if odd else ids[1] if len(ids) > 1 else "", "[rows, tokens] each")
    baked = {found.axis.name: found.size for found in baked_sizes.find(model.graph)}
    rows, length = (_size(inputs[ids[0]], axis, baked) for axis in (0, 1))
    return Interface(
        ids[0],
        roles,
        {name: _type(value) for name, value in inputs.items()},
        rows if isinstance(rows, int) else None,
        length if isinstance(length, int) else None,
        _longest(positions(model)),
        packs.packs(model),
        (rows if isinstance(rows, str) else "", length if isinstance(length, str) else ""),
        {str(value.name): _sizes(value) for value in model.graph.outputs},
        {str(value.name): _type(value) for value in model.graph.outputs},
    )


def _of_packed(model: Model, packed: PackedInterface) -> Interface:
    """A model of packed tokens as if it took batches of rows, and a mask of them."""
    inputs = {str(value.name): value for value in required_inputs(model) if value.name not in (ENDS, PLACES)}
    roles = {name: role(value) for name, value in inputs.items()}
    ids = [name for name, part in roles.items() if part == "ids"]
    odd = [name for name, value in inputs.items() if not roles[name] or len(value.shape or ()) != 1]
    masks = [name for name, part in roles.items() if part == "mask"]
    if odd or masks or len(ids) != 1 or len(set(roles.values())) < len(roles):
        name = odd[0] if odd else masks[0] if masks else ids[1] if len(ids) > 1 else ""
        raise _refused(name, "[packed_tokens] each")
    sizes = {str(value.name): _sizes(value) for value in model.graph.outputs}
    own = {name: (packed.rows, packed.length, *sizes[name][1:]) for name in packed.outputs}
    return Interface(
        ids[0],
        roles | {packed.mask: "mask"},
        {name: _type(value) for name, value in inputs.items()} | {packed.mask: np.dtype(np.int64)},
        longest=_longest(positions(model)),
        packs=True,
        names=(packed.rows, packed.length),
        declared=sizes | own,
        kinds={str(value.name): _type(value) for value in model.graph.outputs},
        packed=packed,
    )


def _refused(name: str, sizes: str) -> OnnxfixError:
    what = f"its input '{name}' is none of these" if name else "it has no input of token ids for itself"
    return OnnxfixError(
        f"a session runs models of token ids, a mask, segments and positions, {sizes}; {what}",
        "run it with onnxruntime.InferenceSession",
    )


def _longest(rows: int | None) -> int | None:
    """RoBERTa's and BART's tables have two rows more than tokens (514, 1026)."""
    return rows if rows is None or rows % 8 != 2 else rows - 2


def _size(value: ir.Value, axis: int, baked: Mapping[str, int]) -> int | str:
    size = _sizes(value)[axis]
    return baked.get(size or f"#{axis}", size) if isinstance(size, str) else size


def _sizes(value: ir.Value) -> tuple[int | str, ...]:
    """Empty for a value of unknown rank."""
    return tuple(size if isinstance(size, int) else size.value or "" for size in value.shape or ())


def _type(value: ir.Value) -> np.dtype[Any]:
    return value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
