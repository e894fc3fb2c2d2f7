"""Rule: a read-only check of a model. Subject: all that it may look at, computed once for a model and a target."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import onnx_ir as ir

from .finding import Finding
from .layer_noise import Against
from .model import Model
from .plan import Plan
from .runtime.attention_kernels import AttentionKernels
from .site import Labelled
from .target import Target
from .types.element_types import ElementTypes

R = TypeVar("R")


@dataclass(frozen=True)
class Subject:
    """A model with the target it is judged for, the placement plan there, and the types of its values."""

    model: Model
    target: Target
    plan: Plan
    types: ElementTypes
    against: Against | None = None
    """What running it beside its float original showed, where that was asked for."""
    attentions: tuple[AttentionKernels, ...] = ()
    """Which kernel computes each attention, on CUDA."""
    _read: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, read: Callable[[Subject], R]) -> R:
        """What a function reads of this, read once for all rules that ask for it."""
        if read not in self._read:
            self._read[read] = read(self)
        found: R = self._read[read]
        return found

    @functools.cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All nodes, those of sub-graphs included: walked once for all rules."""
        return tuple(self.model.nodes())

    @functools.cached_property
    def labelled(self) -> Labelled:
        """The same, to be found by what the plan calls them."""
        return Labelled(self.nodes)


class Rule(Protocol):
    """A read-only check. The docstring of the class is its documentation, printed by `onnxfix explain CODE`."""

    code: ClassVar[str]
    name: ClassVar[str]

    def check(self, subject: Subject) -> Iterator[Finding]:
        """Yield a finding for each defective site; never change the graph."""
        ...
