"""Verification: a repaired model against its source on ONNX Runtime's CPU provider, with optimisation off and on.

That provider computes half precision in fp32, so half models are also run in an emulation that rounds every node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.runners import Runner

# Largest relative L2 error of any output that is still written. fp16 carries 11 bits (5e-4 a rounding), bf16 8 bits,
# int8 7 bits of each weight channel; ONNX Runtime's fusions differ by up to 2e-6 between equal fp32 graphs.
LIMITS = {"fp32": 2e-6, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2, "int4": 0.3}
HALVES = ("fp16", "bf16")
# A source that differs from itself by more draws random numbers; threads may sum in another order.
REPEATED = 1e-6
# Tokens of the longest feed for half precision: rotary angles in half are right for the first few hundred positions.
LONG = 2048
# Weights from here on: two sessions of twice that size would not fit beside each other on a small machine.
LARGE_BYTES = 1 << 30
# Lengths to try when the source refuses made-up feeds: position tables that the graph does not show as such.
SHORTER = (None, 256, 64, 16)
_ADVICE = (
    f"nothing was written; {arg('calibrate', 'FILE')} and {arg('search', True)} keep what half precision harms, "
    f"{arg('block_node')} what you name, or raise {arg('max_error')}"
)


@dataclass(frozen=True)
class Check:
    """What is asked of a result: `exact` wants equal bits without optimisation, else errors up to `limit`. `precision`
    is what its activations are computed in."""

    exact: bool
    kind: str
    limit: float
    precision: str
    padding: bool = True
    """Whether rows of padding are compared, too: an operator may answer something else there, which nothing reads."""

    @property
    def half(self) -> bool:
        return self.precision in HALVES


class Verification:
    """The source's answers, and results held against them. Raises OnnxfixError where the source cannot be run.

    `source` is a file of the model that results are compared with; `model` is what is in it.
    """

    def __init__(
        self, model: Model, source: Path, check: Check, given: Sequence[Feed] = (), more: Sequence[Feed] = ()
    ) -> None:
        from onnxfix.eval.run.runners import LoadFailure, OrtRunner

        self.model, self.source, self.check = model, source, check
        try:
            runner = OrtRunner(
                source, level="none", threads=self._threads, custom_op_libraries=self._libraries, name="source",
                frugal=self._frugal,
            )  # fmt: skip
        except LoadFailure as error:
            raise OnnxfixError(
                f"the source model itself does not load: {error.message.marked}",
                f"see 'onnxfix diagnose', or use {arg('verify', False)}",
            ) from error
        lengths = (LONG, *SHORTER) if check.half else SHORTER
        self.feeds, self.reference = usable_feeds(model, runner, given, lengths, more)
        _require_repeatable(runner, self.reference, self.feeds[0])
        runner.close()

    def emulated(self, result: Model, *, staged: bool = True) -> Comparison:
        """A half model with every node rounded to its type. `staged`: it lies in its file as it is, weights and all."""
        from onnxfix.eval.numerics.emulator import emulated
        from onnxfix.eval.run.session import beside, on_disk

        rounded = emulated(result)
        with beside(rounded, result.path) if staged else on_disk(rounded) as path:
            return self._compare(self.reference, path, "none", "half precision emulated node by node")

    def plain(self, result: Model) -> Comparison:
        """A result in memory on the CPU provider without optimisation."""
        from onnxfix.eval.run.session import on_disk

        with on_disk(result) as path:
            return self._compare(self.reference, path, "none")

    def on_cpu(self, result: Model) -> tuple[Comparison, ...]:
        """Without optimisation and with all of it; nothing for a half model that the CPU provider lacks kernels for."""
        from onnxfix.eval.run.load_check import require_survival
        from onnxfix.eval.run.runners import LoadFailure, OrtRunner

        require_survival(result.path, self._libraries)
        reference = self.reference
        if not self.check.half:
            reference = OrtRunner(
                self.source, level="all", threads=1, custom_op_libraries=self._libraries, name="source",
                frugal=self._frugal,
            )  # fmt: skip
        try:
            optimised = self._compare(reference, result.path, "all")
        except LoadFailure as error:
            if self.check.half and "Could not find an implementation" in str(error):
                return ()  # of bfloat16 or half: the emulation has run it
            raise OnnxfixError(
                f"the repaired model does not load: {error.message.marked}", "nothing was written"
            ) from error
        return self._compare(self.reference, result.path, "none"), optimised

    def require(self, comparison: Comparison, result: Model) -> None:
        """Raise OnnxfixError unless a comparison is within the limits; the worst node is named."""
        lost = any(d.new_nonfinite for d in comparison.differences)
        if not lost and len(comparison.never_compared) == len({d.output for d in comparison.differences}):
            raise OnnxfixError(
                "nothing could be compared: no output of the source holds a finite number on these inputs",
                f"give other inputs with {arg('feeds', 'FILE.npz')}, or use {arg('verify', False)}",
            )
        if self.check.exact and "optimisation none" in comparison.how and not comparison.identical:
            raise OnnxfixError(f"an exact repair changed the outputs by {comparison.rel_l2:.1e}", "please report this")
        if not comparison.within(self.check.limit):
            blamed = self._blame(comparison, result) if self.check.half else ""
            raise OnnxfixError(
                f"the repaired model differs from the source by {in_figures(comparison)} "
                f"(limit {self.check.limit:g}){blamed}",
                _ADVICE
                if self.check.half
                else f"nothing was written; raise {arg('max_error')} or keep nodes with {arg('block_node')}",
            )

    @property
    def _threads(self) -> int:
        """Half precision is compared within 1e-3 of its limits, and sums in another order differ by 1e-7."""
        return 0 if self.check.half else 1

    @property
    def _frugal(self) -> bool:
        """Whether memory counts for more than time."""
        return self.model.weights_bytes > LARGE_BYTES

    @property
    def _libraries(self) -> tuple[Path, ...]:
        return self.model.custom_op_libraries

    def _compare(self, reference: Runner, result: Path, level: Literal["none", "all"], how: str = "") -> Comparison:
        from onnxfix.eval.numerics.compare import compare
        from onnxfix.eval.run.runners import OrtRunner

        candidate = OrtRunner(
            result, level=level, threads=self._threads, custom_op_libraries=self._libraries, name="repaired",
            cast_floats=True, frugal=self._frugal,
        )  # fmt: skip
        how = how or f"ONNX Runtime CPU, optimisation {level}{', one thread' if self._threads == 1 else ''}"
        comparison = compare(
            reference, candidate, self.feeds, valid_only=self.check.half or not self.check.padding, how=how
        )
        candidate.close()
        if reference is not self.reference:
            reference.close()
        return comparison

    def _blame(self, comparison: Comparison, result: Model) -> str:
        """The node at which the two part, empty where no single one can be named."""
        from onnxfix.eval.numerics.emulator import emulated
        from onnxfix.eval.numerics.side_by_side import profile, worst

        feed = next((f for f in self.feeds if f.name == comparison.worst.feed), self.feeds[0])
        try:
            found = worst(profile(self.model, emulated(result), feed))
        except OnnxfixError:  # a graph that cannot be joined with itself: custom operators, unnamed values
            return ""
        if found is None:
            return ""
        reach = f", whose result reaches {found.largest:,.0f}" if found.lost else ""
        return f"; the worst node is {found.site}{reach}"


def require_typed(result: Model) -> None:
    """Every value of a conversion must have one type that its operators take. Raises OnnxfixError for the first not."""
    conflicts = infer(result.ir).conflicts
    if conflicts:
        raise OnnxfixError(f"the conversion left a type conflict: {conflicts[0].message}", "please report this")


def _require_repeatable(source: Runner, reference: Runner, feed: Feed) -> None:
    """A model that answers differently each time cannot be compared with anything. Raises OnnxfixError."""
    from onnxfix.eval.numerics.compare import compare

    again = compare(reference, source, [feed])
    if not again.sound or again.rel_l2 > REPEATED:
        raise OnnxfixError(
            f"the source model does not repeat its own outputs (they differ by {again.rel_l2:.1e}): it draws random "
            "numbers, as an export in training mode does",
            f"export it in eval mode, or use {arg('verify', False)}",
        )


def usable_feeds(
    model: Model,
    source: Runner,
    given: Sequence[Feed] = (),
    lengths: Sequence[int | None] = SHORTER,
    more: Sequence[Feed] = (),
) -> tuple[list[Feed], Runner]:
    """Feeds and the source's answers: the given ones, or made-up ones, shorter when the first are too long for it, and
    `more` of them besides."""
    from onnxfix.eval.inputs.feeds import make_feeds
    from onnxfix.eval.run.runners import Recorded, RunFailure

    failure = ""
    for longest in lengths:
        try:
            feeds = [*(given or make_feeds(model, longest=longest)), *more]
            return feeds, Recorded(source, [feed.arrays for feed in feeds])
        except OnnxfixError as error:
            if not isinstance(error, RunFailure) and not more:
                raise
            failure = failure or error.message
            if given:
                break
    if more and not given:  # real inputs will do where none can be made up
        return list(more), Recorded(source, [feed.arrays for feed in more])
    raise OnnxfixError(failure, f"give inputs that the model takes with {arg('feeds', 'FILE.npz')}")


def in_words(comparisons: Sequence[Comparison], check: Check, feeds: int) -> str:
    """How a result was verified, in one sentence."""
    how = "on CPU"
    if check.half:
        ran = len(comparisons) > 1
        how = "every node rounded to its type" + (", and on CPU" if ran else "; no session could run it on this CPU")
    on = plural(feeds, "feed")
    silent = sorted({name for c in comparisons for name in c.never_compared})
    but = f"; never finite and so not compared: {', '.join(silent)}" if silent else ""
    if all(c.identical for c in comparisons):
        return f"identical outputs on {on}, with optimisation off and on, {how}{but}"
    return f"relative L2 error at most {max(c.rel_l2 for c in comparisons):.1e} on {on}, {how}{but}"


def in_figures(comparison: Comparison) -> str:
    """What is wrong with the worst output of a comparison."""
    worst = comparison.worst
    if worst.shape_mismatch:
        return f"shape in output {worst.output}: {worst.shape_mismatch}"
    if worst.new_nonfinite:
        return f"{worst.new_nonfinite} NaN or infinite values in output {worst.output}"
    return f"a relative L2 error of {worst.rel_l2:.1e} in output {worst.output} on the {worst.feed} feed"
