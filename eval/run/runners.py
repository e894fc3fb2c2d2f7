"""Runners: one way to run a model, whatever runs it. ONNX Runtime and torch take and return named numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.runtime.provider import named

from . import session, torchao_linears

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Dtype = Literal["fp32", "bf16", "fp16", "int8-wo", "int8-dyn"]
"""The two int8 ones are torchao's, of linear layers alone: weights only, and activations at run time as well."""


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

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Output name → array on the CPU. bfloat16 comes and goes as ml_dtypes.bfloat16 arrays."""
        try:
            values = {name: session.to_ort(self._cast(name, array)) for name, array in feed.items()}
            how = session.run_options(shrink=self._shrinks)
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


class TorchRunner:
    """A torch module on numpy feeds, under inference mode. The module is moved and cast or quantized in place.

    bf16 casts parameters and persistent buffers only: rotary frequencies are non-persistent buffers that transformers
    keeps in fp32 whatever dtype a model is loaded in. int8 quantizes linear layers with torchao and leaves the rest in
    fp32. Outputs come back as fp32 (integers and booleans unchanged). Raises LoadFailure where torchao is needed and
    absent or fails.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        output_names: Sequence[str],
        *,
        dtype: Dtype = "fp32",
        device: str = "cpu",
        name: str = "",
        compiled: bool = False,
    ) -> None:
        import torch

        self.name = name or f"torch {dtype}"
        self.output_names = list(output_names)
        self.device = device
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
        self.module: Any = module.eval().to(device)
        _cast(module, self.dtype)
        if dtype in ("int8-wo", "int8-dyn"):
            try:
                torchao_linears.quantize(module, "weights" if dtype == "int8-wo" else "dynamic")
            except OnnxfixError as error:
                raise LoadFailure(error.message, error.next_step) from None
        if compiled:
            # one graph for all shapes: a recompilation for each would be timed with the batch that asks for it
            self.module = torch.compile(self.module, dynamic=True)

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by `output_names`, taken by name from a dict-like output and by position from a tuple."""
        output = self._call({name: self._tensor(array) for name, array in feed.items()})
        return {name: _to_numpy(value) for name, value in self._named(output)}

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        import torch

        if self.device == "cpu":
            return lambda: self.run(feed)
        tensors = {name: self._tensor(array) for name, array in feed.items()}

        def call() -> None:
            self._call(tensors)
            torch.cuda.synchronize()

        return call

    def _call(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        import torch

        if self.module is None:
            raise RunFailure(f"{self.name} is closed")
        try:
            with torch.inference_mode():
                return self.module(**tensors)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise RunFailure(f"{self.name} fails: {one_line(error)}") from error

    def close(self) -> None:
        self.module = None

    def _tensor(self, array: Array) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(np.array(array))  # a copy: torch warns about read-only arrays
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    def _named(self, output: Any) -> list[tuple[str, Any]]:
        if isinstance(output, Mapping):
            return [(name, output[name]) for name in self.output_names]
        values = output if isinstance(output, (tuple, list)) else (output,)
        return list(zip(self.output_names, values, strict=False))


def _cast(module: torch.nn.Module, dtype: torch.dtype) -> None:
    for child in module.modules():
        persistent = {k: b for k, b in child._buffers.items() if k not in child._non_persistent_buffers_set}
        for key, buffer in persistent.items():
            if buffer is not None and buffer.is_floating_point():
                child._buffers[key] = buffer.to(dtype)
        for parameter in child._parameters.values():
            if parameter is not None and parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)


def _to_numpy(tensor: torch.Tensor) -> Array:
    array: Array = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
    return array
