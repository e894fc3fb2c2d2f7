"""Subject: all that a rule may look at, computed once for a model and a target."""

from __future__ import annotations

from dataclasses import dataclass

from .element_types import ElementTypes
from .model import Model
from .plan import Plan
from .target import Target


@dataclass(frozen=True)
class Subject:
    """A model with the target it is judged for, the placement plan there, and the types of its values."""

    model: Model
    target: Target
    plan: Plan
    types: ElementTypes
