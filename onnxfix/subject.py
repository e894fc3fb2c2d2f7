"""Subject: all that a rule may look at, computed once for a model and a target."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import onnx_ir as ir

from .element_types import ElementTypes
from .layer_noise import Against
from .model import Model
from .plan import Plan
from .site import Labelled
from .target import Target


@dataclass(frozen=True)
class Subject:
    """A model with the target it is judged for, the placement plan there, and the types of its values."""

    model: Model
    target: Target
    plan: Plan
    types: ElementTypes
    against: Against | None = None
    """What running it beside its float original showed, where that was asked for."""

    @functools.cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All nodes, those of sub-graphs included: walked once for all rules."""
        return tuple(self.model.nodes())

    @functools.cached_property
    def labelled(self) -> Labelled:
        """The same, to be found by what the plan calls them."""
        return Labelled(self.nodes)
