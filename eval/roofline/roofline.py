"""How far a run is from what this machine could do: the least time of its work against the measured one.

The bound of a product or lookup is the larger of operations / peak and bytes / bandwidth; of all between products it is
bytes / bandwidth, as `traffic` counts them. Their sum is a bound for a runtime that runs one after the other, fuses all
between products and nothing into them, and finds nothing in caches: a model that fits them may be faster.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from onnxfix.eval.profile.node_scopes import UNKNOWN, shown, source_scopes
from onnxfix.eval.profile.op_profile import Profile
from onnxfix.eval.profile.tensor_sizes import sized
from onnxfix.eval.profile.traced_run import Feeds, named, trace
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.inference import infer

from .peak_rates import Peaks
from .traffic import Work, traffic


@dataclass(frozen=True)
class ScopeBound:
    """One torch scope, layers as one. `measured_ms` is the profile's time of all nodes there, NaN without a profile.

    What a fused kernel reads counts where it is read, what it writes where it is written, and what it keeps nowhere: a
    scope in the middle of one has no bound of its own, though a runtime that does not fuse it takes time there.
    """

    scope: str
    flops: int
    bytes: int
    bound_ms: float
    measured_ms: float = math.nan

    @property
    def gap(self) -> float:
        """Measured time by bound; NaN where either is missing."""
        return self.measured_ms / self.bound_ms if self.bound_ms else math.nan


@dataclass(frozen=True)
class Roofline:
    """The bound of a run over all feeds. `flops` are of all products, `bytes` what must be read and written.

    `measured_ms` is the run with the profiler off, NaN without a profile; `uncounted` names products whose operations
    are not known, which the bound counts by their bytes alone.
    """

    peaks: Peaks
    flops: int
    bytes: int
    bound_ms: float
    measured_ms: float
    scopes: tuple[ScopeBound, ...]
    """The largest bound first."""
    uncounted: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """How often the bound fits into the measured time; NaN without a profile or work."""
        return self.measured_ms / self.bound_ms if self.bound_ms else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; what is not known is None."""
        figures = {name: getattr(self, name) for name in ("flops", "bytes", "bound_ms", "measured_ms", "gap")}
        rows = [asdict(row) | {"gap": row.gap} for row in self.scopes]
        return {
            "peaks": self.peaks.as_dict(),
            **_plain(figures),
            "by_scope": [_plain(row) for row in rows],
            "uncounted": list(self.uncounted),
        }


def roofline(
    path: Path,
    feeds: Feeds,
    peaks: Peaks,
    *,
    measured: Profile | None = None,
    provider: Literal["cpu", "cuda"] = "cpu",
    custom_op_libraries: Sequence[Path] = (),
) -> Roofline:
    """The bound of a file on feeds, against its profile on the same feeds.

    Shapes are those of one run of each feed without optimisations, so that every node of the file shows its own.
    Raises LoadFailure and RunFailure where the file does not run so.
    """
    with named(path, custom_op_libraries) as (model, file):
        traced = trace(file, feeds, level="none", provider=provider, custom_op_libraries=custom_op_libraries, warmup=0,
                       name=path.name)  # fmt: skip
        types = infer(model.ir)
        runs = zip(traced.runs, feeds, strict=True)
        work = [one for run, feed in runs for one in traffic(model.ir, sized(model.ir, run, feed, types))]
    return _roofline(model, work, peaks, measured)


def _roofline(model: Model, work: Sequence[Work], peaks: Peaks, measured: Profile | None) -> Roofline:
    scopes = _by_scope(model.ir, work, peaks, measured)
    return Roofline(
        peaks=peaks,
        flops=sum(one.float_flops + one.integer_flops for one in work),
        bytes=round(math.fsum(one.nbytes for one in work)),
        bound_ms=math.fsum(bound_ms(one, peaks) for one in work),
        measured_ms=measured.untraced_ms if measured is not None else math.nan,
        scopes=tuple(sorted(scopes, key=lambda row: (-row.bound_ms, row.scope))),
        uncounted=tuple(dict.fromkeys(label(one.node) for one in work if not one.counted)),
    )


def bound_ms(work: Work, peaks: Peaks) -> float:
    """The least time of one piece of work."""
    computing = work.float_flops / peaks.flops(work.float_type) + work.integer_flops / peaks.flops("int8")
    return 1e3 * max(computing, work.nbytes / peaks.bytes_per_s)


def _by_scope(model: ir.Model, work: Sequence[Work], peaks: Peaks, measured: Profile | None) -> list[ScopeBound]:
    where = source_scopes(model)
    groups: dict[str, list[Work]] = defaultdict(list)
    for one in work:
        groups[shown(where.get(one.node, UNKNOWN))].append(one)
    times: dict[str, float] = defaultdict(float)
    for node in measured.nodes if measured is not None else ():
        times[shown(node.scope)] += node.ms
    return [
        ScopeBound(
            scope=scope,
            flops=sum(one.float_flops + one.integer_flops for one in groups[scope]),
            bytes=round(math.fsum(one.nbytes for one in groups[scope])),
            bound_ms=math.fsum(bound_ms(one, peaks) for one in groups[scope]),
            measured_ms=times[scope] if measured is not None else math.nan,
        )
        for scope in dict.fromkeys((*groups, *times))
    ]


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in figures.items()}
