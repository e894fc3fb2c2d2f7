"""PyTorch: a torch module as its factory makes it, cast, compiled, or with another attention."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from onnxfix.eval.run.engine import NAMED, REPAIRED, SEED, Engine, Loaded, Source, SweepRow
from onnxfix.eval.run.runners import Array, LoadFailure, RunFailure
from onnxfix.nouns.errors import one_line

if TYPE_CHECKING:
    import torch

FLASH = "flash_attention_2"


@dataclass(frozen=True)
class PyTorch(Engine):
    """`dtype` is fp32, bf16 or fp16. `compiled`: through `torch.compile`."""

    dtype: str = "fp32"
    compiled: bool = False
    attention: str = ""

    kind: ClassVar[str] = "torch"
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    modules: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    series: ClassVar[int | None] = 0

    @property
    def rank(self) -> int:
        return 0 if self.dtype == "fp32" else 1

    @property
    def is_baseline(self) -> bool:
        return self.dtype == "bf16" and not self.compiled

    @classmethod
    def rows(cls) -> tuple[SweepRow, ...]:
        flash = cls("bf16", attention=FLASH)
        return (
            SweepRow("torch fp32", cls(), sweeps=(NAMED, SEED, REPAIRED)),
            SweepRow("torch bf16", cls("bf16"), sweeps=(NAMED, SEED, REPAIRED)),
            SweepRow("torch bf16 (flash-attention-2)", flash, sweeps=(SEED, REPAIRED)),
            SweepRow("torch bf16 (compiled)", cls("bf16", compiled=True)),
        )

    def start(self, threads: int) -> None:
        super().start(threads)
        if threads:
            importlib.import_module("torch").set_num_threads(threads)

    def load(self, source: Source, *, provider: str, threads: int, name: str) -> Loaded:
        assert not isinstance(source, Path)
        if self.attention == FLASH and importlib.util.find_spec("flash_attn") is None:
            # said here in one line: transformers takes three
            raise LoadFailure("flash-attn is not installed", "pip install flash-attn, on a CUDA machine")
        module, input_names, output_names = source()
        runner = TorchRunner(
            module,
            output_names,
            dtype=self.dtype,
            device=provider,
            name=name,
            compiled=self.compiled,
            change=self.change,
        )
        wanted = set(input_names)
        return Loaded(
            runner,
            lambda arrays: {name: array for name, array in arrays.items() if name in wanted or not wanted},
            weights_bytes(module),
        )

    def change(self, module: torch.nn.Module) -> None:
        """Nothing; what is beyond a cast is another engine's."""


class TorchRunner:
    """A torch module on numpy feeds, under inference mode. The module is moved, cast and changed in place.

    bf16 casts parameters and persistent buffers only: rotary frequencies are non-persistent buffers that transformers
    keeps in fp32 whatever dtype a model is loaded in; any other than fp16 leaves all in fp32. `change` is done where it
    will run, before it is compiled. Outputs come back as fp32 (integers and booleans unchanged).
    """

    def __init__(
        self,
        module: torch.nn.Module,
        output_names: Sequence[str],
        *,
        dtype: str = "fp32",
        device: str = "cpu",
        name: str = "",
        compiled: bool = False,
        change: Callable[[torch.nn.Module], None] = lambda module: None,
    ) -> None:
        import torch

        self.name = name or f"torch {dtype}"
        self.output_names = list(output_names)
        self.device = device
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
        self.module: Any = module.eval().to(device)
        _cast(module, self.dtype)
        change(module)
        if compiled:
            # one graph for all shapes: else each new shape would be compiled within the time of its batch
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


def weights_bytes(module: torch.nn.Module) -> int:
    """Bytes of all parameters and buffers, a shared one once.

    A quantized tensor is several: its own `nbytes` is that of the float tensor it stands for.
    """
    tensors = [part for t in (*module.parameters(), *module.buffers()) for part in _parts(t)]
    return sum({t.data_ptr(): t.nbytes for t in tensors}.values())


def _parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The plain tensors that a tensor subclass is made of."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return [tensor]
    return [part for name in flatten()[0] for part in _parts(getattr(tensor, name))]
