"""Verification: a repaired model against its source on ONNX Runtime's CPU provider, with optimisation off and on.

That provider computes half precision in fp32, so half models are also run in an emulation that rounds every node.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import DIAGNOSE, OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.progress import Advance
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites import random_numbers

from .check import Check
from .source import of_padding
from .source.answers import answers
from .source.made_up import LENGTHS, SHORTER

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.runners import Runner

# A source that differs from itself by more draws random numbers; threads may sum in another order.
REPEATED = 1e-6
# Weights from here on: two sessions of twice that size would not fit beside each other on a small machine.
LARGE_BYTES = 1 << 30
# To integers by a scale that the file states; of one that is taken from a batch another batch has another.
_ROUNDING = frozenset({"QuantizeLinear", "QLinearMatMul", "QGemm", "QLinearConv", "QAttention"})


class Verification:
    """The source's answers, and results held against them. Raises OnnxfixError where the source cannot be run.

    `source` is a file of the model that results are compared with; `model` is what is in it.
    """

    def __init__(
        self,
        model: Model,
        source: Path,
        check: Check,
        given: Sequence[Feed] = (),
        more: Sequence[Feed] = (),
        progress: Advance = lambda step: None,
    ) -> None:
        from onnxfix.eval.run.load_check import LoadCheck
        from onnxfix.eval.run.runners import LoadFailure

        self.model, self.source, self.check, self.progress = model, source, check, progress
        self.drawing, self._loads = random_numbers.drawing(model), LoadCheck(self._libraries)
        advice = f"nothing was written; see {DIAGNOSE}, or use {arg('verify', False)}"
        self._loads.require_survival(source, "the source model itself", advice)
        try:
            runner = self._runner(model, source, "none", self._threads, "source")
            lengths = LENGTHS if check.half else SHORTER
            # a half of a number that is drawn against falls on its other side now and then, which is no error
            draws = () if self.drawing else check.made_up.draws
            how = replace(check.made_up, half=check.half, draws=draws)
            found = answers(model, runner, given, lengths, more, how)
        except LoadFailure as error:
            raise OnnxfixError(
                f"the source model itself does not load: {error.message.marked}",
                f"{_way_to_load(error)}, or use {arg('verify', False)}",
            ) from error
        self.feeds = of_padding.with_a_meaning(model, found.feeds) if check.half else found.feeds
        self.draws = found.draws
        self._as_source: Callable[[Runner], Runner] = lambda runner: runner
        self.reference, self.shortened = found.reference, found.said
        _require_repeatable(model, runner, self.reference, self.feeds[0])
        runner.close()

    def emulated(self, result: Model, *, staged: bool = True) -> Comparison:
        """A half model with every node rounded to its type. `staged`: it lies in its file as it is, weights and all."""
        from onnxfix.eval.numerics.emulator import emulated
        from onnxfix.eval.run.seeded import seeded
        from onnxfix.eval.run.session import beside, on_disk

        how = "half precision emulated node by node"
        self.progress("verify with every node rounded to half precision")
        if self.drawing:
            return self._compare(self.reference, emulated(seeded(result)), result.path, "none", how)
        rounded = emulated(result)
        with beside(rounded, result.path) if staged else on_disk(rounded) as path:
            return self._compare(self.reference, rounded, path, "none", how)

    @contextlib.contextmanager
    def presented(self, results: Callable[[Runner], Runner], feeds: Sequence[Feed]) -> Iterator[None]:
        """Hold results of another interface against the source, as `results` shows them: on these feeds of its own."""
        kept = self.feeds, self.draws, self._as_source
        chosen = set(map(id, feeds))
        self.feeds = [feed for feed in self.feeds if id(feed) in chosen]
        self.draws = [feed for feed in self.draws if id(feed) in chosen]
        self._as_source = results
        try:
            yield
        finally:
            self.feeds, self.draws, self._as_source = kept

    def in_fp32(self, graph: Model) -> Comparison:
        """The graph of a half result in fp32, which what it computes is compared by and not how it is rounded."""
        self.progress("verify the same graph in fp32")
        return replace(self.plain(graph), how="the same graph in fp32")

    def plain(self, result: Model) -> Comparison:
        """A result in memory on the CPU provider without optimisation."""
        from onnxfix.eval.run.session import on_disk

        with on_disk(result) as path:
            return self._compare(self.reference, result, path, "none")

    def on_cpu(self, result: Model) -> tuple[Comparison, ...]:
        """Without optimisation and with all of it; nothing for a half model that the CPU provider lacks kernels for."""
        from onnxfix.eval.run.runners import LoadFailure

        self.progress("verify on CPU")
        advice = f"nothing was written; a newer ONNX Runtime may load it, {arg('verify', False)} writes it as it is"
        self._loads.require_survival(result.path, "the repaired model with all optimisations", advice)
        reference: Runner = self.reference
        if not self.check.half:
            reference = self._runner(self.model, self.source, "all", 1, "source")
        try:
            optimised = self._compare(reference, result, result.path, "all")
        except LoadFailure as error:
            if self.check.half and "Could not find an implementation" in str(error):
                return ()  # of bfloat16 or half: the emulation has run it
            raise OnnxfixError(
                f"the repaired model does not load: {error.message.marked}", "nothing was written"
            ) from error
        return self._compare(self.reference, result, result.path, "none"), optimised

    @functools.cached_property
    def own_rounding(self) -> float:
        """Relative L2 error of a source of rounded activations against itself, with optimisation, where the runtime
        rounds in other places: one that falls on its other side moves all that follow. 0.0 for any other source."""
        if not any(node.op_type in _ROUNDING for node in self.model.nodes()):
            return 0.0
        self.progress("verify the source against itself")
        found = self._compare(self.reference, self.model, self.source, "all")
        return found.rel_l2 if found.sound else 0.0

    @functools.cached_property
    def sensitivity(self) -> float:
        """Relative L2 by which the source's answers move where its weights do by half a rounding; 0.0 of one that is
        too large to be there twice."""
        from onnxfix.eval.run.moved_weights import with_moved_weights

        if self._frugal:
            return 0.0
        self.progress("verify the source against itself")
        found = self.plain(with_moved_weights(self.model))
        return found.rel_l2 if found.sound else 0.0

    def telling(self, comparison: Comparison) -> list[Feed]:
        """The feeds to look for what errs on: of the draws only those on which an output errs most."""
        worst = {d.feed for d in comparison.differences}
        return [*self.feeds, *(feed for feed in self.draws if feed.name in worst)]

    @functools.cached_property
    def not_a_number(self) -> str:
        """How many NaN the source makes by itself, in which output, and where first; empty where it makes none."""
        import numpy as np

        for feed in self.feeds:
            for name, array in self.reference.run(feed.arrays).items():
                count = int(np.count_nonzero(np.isnan(array))) if array.dtype.kind == "f" else 0
                if count:
                    said = f"NaN in {count:,} of {array.size:,} entries of output {name} on the {feed.name} feed"
                    site = of_padding.first_nan(self.model, feed)
                    return f"{said}, first in {site}" if site else said
        return ""

    @property
    def _valid_only(self) -> bool:
        return self.check.half or not self.check.padding

    @functools.cached_property
    def leaves_padding_out(self) -> bool:
        """Whether a feed has padding, and an output something to say of it, that is not compared."""
        return self._valid_only and of_padding.is_left_out(self.feeds, self.reference, self._of_tokens)

    @functools.cached_property
    def _of_tokens(self) -> frozenset[str]:
        return of_padding.of_tokens(self.feeds, self.reference)

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

    def _runner(self, model: Model, file: Path, level: Literal["none", "all"], threads: int, name: str) -> Runner:
        """What runs a file, in which `model` lies; with seeds where the source draws random numbers."""
        from onnxfix.eval.run.runners import OrtRunner
        from onnxfix.eval.run.seeded import SeededRunner, seeded

        how: dict[str, Any] = {"level": level, "threads": threads, "name": name, "frugal": self._frugal}
        how |= {"custom_op_libraries": self._libraries, "cast_floats": name != "source"}
        return SeededRunner(seeded(model), **how) if self.drawing else OrtRunner(file, **how)

    def _compare(
        self, reference: Runner, model: Model, result: Path, level: Literal["none", "all"], how: str = ""
    ) -> Comparison:
        from onnxfix.eval.numerics.compare import compare

        candidate = self._as_source(self._runner(model, result, level, self._threads, "repaired"))
        how = how or f"ONNX Runtime CPU, optimisation {level}{', one thread' if self._threads == 1 else ''}"
        comparison = compare(
            reference,
            candidate,
            (*self.feeds, *self.draws),
            how=how,
            valid_only=self._valid_only,
            mean=self.check.kind.startswith("int"),
            masks=self.check.half,
            of_tokens=self._of_tokens,
            whole=self.check.whole,
        )
        candidate.close()
        if reference is not self.reference:
            reference.close()
        return comparison


def _way_to_load(error: OnnxfixError) -> str:
    """What to do about a source that no session takes."""
    if "is not a registered function/op" in str(error):
        return f"name the library of its operators with {arg('custom_op_library', 'FILE.so')}"
    return f"see {DIAGNOSE}"


def _require_repeatable(model: Model, source: Runner, reference: Runner, feed: Feed) -> None:
    """A model that answers differently each time cannot be compared with anything. Raises OnnxfixError."""
    from onnxfix.eval.numerics.compare import compare

    again = compare(reference, source, [feed])
    if again.sound and again.rel_l2 <= REPEATED:
        return
    training = random_numbers.training(model)
    where = f": {Site.of_node(training[0])} is in training mode" if training else ""
    raise OnnxfixError(
        f"the source model does not repeat its own outputs (they differ by {again.rel_l2:.1e}){where}",
        f"{'export it in eval mode' if training else 'find what draws random numbers in it'}, "
        f"or use {arg('verify', False)}",
    )
