"""Where a target runs both models: nodes by provider and copies between device and host, before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnxfix.diagnose.placement.engines import placement
from onnxfix.diagnose.report.places import of_copy
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Copy, Plan, Sizes
from onnxfix.nouns.target import Target


@dataclass(frozen=True)
class Copies:
    """Copies of one cause, whose bytes are for the sizes that were asked for."""

    cause: str
    direction: str
    before: int
    after: int
    bytes: tuple[int, int]

    def as_dict(self) -> dict[str, object]:
        return {
            "cause": self.cause,
            "direction": self.direction,
            "before": self.before,
            "after": self.after,
            "bytes": list(self.bytes),
        }


@dataclass(frozen=True)
class Placement:
    """Both plans on one target."""

    target: str
    onnxruntime: str
    plans: tuple[Plan, Plan]

    @property
    def providers(self) -> dict[str, tuple[int, int]]:
        ours, theirs = (plan.providers() for plan in self.plans)
        return {name: (ours.get(name, 0), theirs.get(name, 0)) for name in sorted({*ours, *theirs})}

    def copies(self) -> list[Copies]:
        """By cause, the most bytes first."""
        found: dict[tuple[str, str], tuple[list[Copy], list[Copy]]] = {}
        for side, plan in enumerate(self.plans):
            for copy in plan.copies:
                found.setdefault((of_copy(copy), copy.direction), ([], []))[side].append(copy)
        rows = [
            Copies(cause, direction, len(ours), len(theirs), (_bytes(ours), _bytes(theirs)))
            for (cause, direction), (ours, theirs) in found.items()
        ]
        return sorted(rows, key=lambda row: -sum(row.bytes))

    def as_dict(self) -> dict[str, object]:
        return {
            "target": self.target,
            "onnxruntime": self.onnxruntime,
            "engine": [plan.engine for plan in self.plans],
            "notes": [plan.note or plan.load_error for plan in self.plans],
            "batch": self.plans[0].sizes.batch,
            "sequence": self.plans[0].sizes.sequence,
            "providers": {name: {"before": n, "after": m} for name, (n, m) in self.providers.items()},
            "memcpy": [
                {"copies": len(plan.copies), "bytes": _bytes(plan.copies), "ms": round(_milliseconds(plan), 3)}
                for plan in self.plans
            ],
            "copies": [each.as_dict() for each in self.copies()],
        }


def placed(models: tuple[Model, Model], target: Target, sizes: Sizes, progress: Callable[[str], None]) -> Placement:
    """Plans as `diagnose` makes them."""
    plans = []
    for which, model in zip(("first", "second"), models, strict=True):
        progress(f"placement of the {which}")
        plans.append(placement(model, target, sizes))
    return Placement(target.provider.name, target.table.requested, (plans[0], plans[1]))


def _bytes(copies: tuple[Copy, ...] | list[Copy]) -> int:
    return sum(copy.nbytes or 0 for copy in copies)


def _milliseconds(plan: Plan) -> float:
    return sum(copy.milliseconds or 0.0 for copy in plan.copies)
