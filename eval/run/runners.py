"""Runners: one way to run a model, whatever runs it: named numpy arrays in and out. Here ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.process import deadline
from onnxfix.nouns.runtime.provider import named

from . import session

Array = np.ndarray[Any, Any]


class LoadFailure(OnnxfixError):  # noqa: N818  the field says "load failure"
    """The runtime refused to load a model."""


class RunFailure(OnnxfixError):  # noqa: N818
    """The model loaded but failed on a feed."""


class Runner(Protocol):
    """Runs one model. `output_names` are in the model's order."""

    name: str
    output_names: list[str]

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Output name → array, from input name → array. Raises RunFailure."""
        ...

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        """A call that computes the feed, to be timed: on a GPU inputs lie there before, and outputs stay there."""
        ...

    def close(self) -> None:
        """Free the model's memory; the runner cannot run afterwards."""
        ...


class OrtRunner:
    """ONNX Runtime on one provider. The file is loaded as it is; `level` is the graph optimisation level.

    `threads` 0 leaves the number of CPU threads to the runtime; 1 makes its sums reproducible. Raises LoadFailure with
    the runtime's own message on one line, also when the provider is not available (ONNX Runtime would fall back to
    the CPU in silence). With `cast_floats` float arrays are rounded to the float types that the model's inputs have.
    `frugal` holds no memory between runs and, with all optimisations, none in reserve during one: a ModernBERT-large
    in fp16 then takes 3.0 and not 3.4 GB on 2,048 tokens, and 60 and not 33 s.
    """

    def __init__(
        self,
        model: Path,
        *,
        provider: str = "cpu",
        level: session.Level = "all",
        threads: int = 0,
        custom_op_libraries: Sequence[Path] = (),
        name: str = "",
        cast_floats: bool = False,
        frugal: bool = False,
    ) -> None:
        self.name = name or model.name
        self.cast_floats = cast_floats
        self._provider = provider
        options = session.options(level, threads, custom_op_libraries)
        options.enable_cpu_mem_arena = not (frugal and level == "all")
        self._shrinks = frugal and options.enable_cpu_mem_arena
        try:
            self.session = session.open_session(model, options, provider)
        except OnnxfixError as error:
            raise LoadFailure(error.message, error.next_step) from error
        except Exception as error:  # the runtime raises a dozen types of its own, all direct subclasses of Exception
            raise LoadFailure(f"ONNX Runtime cannot load {model.name}: {one_line(error)}") from error
        self.output_names = [output.name for output in self.session.get_outputs()]
        self._tensors = all(output.type.startswith("tensor(") for output in self.session.get_outputs())

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Output name → array on the CPU. bfloat16 comes and goes as ml_dtypes.bfloat16 arrays.

        A sequence of tensors is an array each, `NAME[0]` and so on; maps are arrays as `session.unpacked` makes them.
        """
        how = session.run_options(shrink=self._shrinks)
        with deadline.stopping(f"a run of {self.name}", lambda: setattr(how, "terminate", True)):
            try:
                if not self._tensors or any(array.dtype.kind in "OUS" for array in feed.values()):
                    # the binding makes no OrtValue of strings
                    fed = {name: self._cast(name, array) for name, array in feed.items()}
                    return session.unpacked(self.output_names, self.session.run(self.output_names, fed, how))
                values = {name: session.to_ort(self._cast(name, array)) for name, array in feed.items()}
                outputs = self.session.run_with_ort_values(self.output_names, values, how)
                arrays = [session.from_ort(output) for output in outputs]
            except Exception as error:
                raise RunFailure(f"{self.name} fails in ONNX Runtime: {one_line(error)}") from error
        return dict(zip(self.output_names, arrays, strict=True))

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        if named(self._provider).is_host:
            return lambda: self.run(feed)
        try:
            binding = session.bound(self.session, {n: self._cast(n, a) for n, a in feed.items()}, "cuda")
        except Exception as error:
            raise RunFailure(f"{self.name} fails in ONNX Runtime: {one_line(error)}") from error

        def call() -> None:
            try:
                self.session.run_with_iobinding(binding)
                binding.synchronize_outputs()
            except Exception as error:
                raise RunFailure(f"{self.name} fails in ONNX Runtime: {one_line(error)}") from error

        return call

    def close(self) -> None:
        self.session = None
        session.give_back_memory()

    def _cast(self, name: str, array: Array) -> Array:
        if not self.cast_floats or array.dtype.kind != "f":
            return array
        declared = next((i.type for i in self.session.get_inputs() if i.name == name), "")
        return array.astype(session.FLOAT_TYPES.get(declared, array.dtype))


class Recorded:
    """What another runner answered, so that it can be compared with after its memory is free. Knows its own feeds."""

    def __init__(self, runner: Runner, feeds: Iterable[Mapping[str, Array]]) -> None:
        self.name = runner.name
        self.output_names = list(runner.output_names)
        # The largest first: what an allocator keeps of smaller runs would be in its way.
        largest_first = sorted(feeds, key=lambda feed: sum(array.size for array in feed.values()), reverse=True)
        self._answers = [(feed, runner.run(feed)) for feed in largest_first]

    def record(self, feed: Mapping[str, Array], runner: Runner) -> None:
        """Add what a runner answers to one more feed. Raises what it raises."""
        self._answers.append((feed, runner.run(feed)))

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """The recorded outputs. Raises RunFailure for a feed that was not recorded."""
        for known, answer in self._answers:
            if known is feed:
                return answer
        raise RunFailure(f"{self.name} was not run on this feed")

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        return lambda: self.run(feed)

    def close(self) -> None:
        self._answers = []
