"""OnnxRuntime: an ONNX file in ONNX Runtime, on the provider of the bench."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from onnxfix.eval.run.engine import Engine, Loaded, Source
from onnxfix.eval.run.packed_runner import PackedRunner, Packer
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.tokens.packed import interface

INTEGERS = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


@dataclass(frozen=True)
class OnnxRuntime(Engine):
    custom_op_libraries: tuple[Path, ...] = ()

    kind: ClassVar[str] = "onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime-gpu", "onnxruntime")
    modules: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    series: ClassVar[int | None] = 4
    own_provider: ClassVar[str | None] = None
    """Another than the bench's."""

    def target(self, provider: str) -> str:
        return self.own_provider or provider

    def profiled(self, provider: str) -> dict[str, Any] | None:
        return {"provider": provider, "custom_op_libraries": self.custom_op_libraries}

    def load(self, source: Source, *, provider: str, threads: int, name: str) -> Loaded:
        assert isinstance(source, Path)
        runner = OrtRunner(
            source,
            provider=self.own_provider or provider,
            threads=threads,
            custom_op_libraries=self.custom_op_libraries,
            name=name,
            cast_floats=True,
        )
        types = {i.name: INTEGERS.get(i.type) for i in runner.session.get_inputs()}
        packed = interface.find(Model.look(source))
        if packed is not None:  # as batches of rows, which the others of a bench are run on
            types |= dict.fromkeys((packed.mask,))
        return Loaded(
            runner if packed is None else PackedRunner(runner, Packer(packed, packed.mask, name)),
            lambda arrays: {
                name: array.astype(types[name], copy=False) if types[name] else array
                for name, array in arrays.items()
                if name in types
            },
        )
