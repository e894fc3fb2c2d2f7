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
from onnxfix.surgery.sites.tokens.packed import packs

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
    inputs = {str(value.name): value for value in required_inputs(model)}
    roles = {name: role(value) for name, value in inputs.items()}
    ids = [name for name, part in roles.items() if part == "ids"]
    odd = [name for name, value in inputs.items() if not roles[name] or len(value.shape or ()) != 2]
    if odd or len(ids) != 1 or len(set(roles.values())) < len(roles):
        name = odd[0] if odd else ids[1] if len(ids) > 1 else ""
        what = f"its input '{name}' is none of these" if name else "it has no input of token ids for itself"
        raise OnnxfixError(
            f"a session runs models of token ids, a mask, segments and positions, [rows, tokens] each; {what}",
            "run it with onnxruntime.InferenceSession",
        )
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
