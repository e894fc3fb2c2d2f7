"""Bindings: where inputs of each shape lie on a device, kept so that a batch of a known shape allocates nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxfix.eval.run import session as sessions
from onnxfix.nouns.errors import one_line
from onnxfix.nouns.runtime.onnx_runtime import runtime

Array = NDArray[Any]
Key = tuple[tuple[str, tuple[int, ...]], ...]
MOST = 32  # shapes: token ids of 32 batches of 16,384 tokens are 4 MB each


class Bindings:
    """Runs a session of ONNX Runtime whose inputs lie on `device` and whose outputs come back to the host.

    One run at a time: the buffers of a shape are shared.
    """

    def __init__(self, session: Any, outputs: Sequence[str], device: str, name: str) -> None:
        self._session, self._outputs, self._device, self._name = session, list(outputs), device, name
        self._kept: OrderedDict[Key, tuple[Any, dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Output name → array. Raises RunFailure."""
        from onnxfix.eval.run.runners import RunFailure

        with self._lock:
            try:
                binding, values = self._bound(feed)
                for name, array in feed.items():
                    values[name].update_inplace(np.ascontiguousarray(array))
                self._session.run_with_iobinding(binding, sessions.run_options())
                found = [sessions.from_ort(value) for value in binding.get_outputs()]
            except Exception as error:  # the runtime's own types, all direct subclasses of Exception
                raise RunFailure(f"{self._name} fails in ONNX Runtime: {one_line(error)}") from error
        return dict(zip(self._outputs, found, strict=True))

    def _bound(self, feed: Mapping[str, Array]) -> tuple[Any, dict[str, Any]]:
        key = tuple((name, array.shape) for name, array in feed.items())
        if key not in self._kept:
            binding, values = self._session.io_binding(), {}
            for name, array in feed.items():
                contiguous = np.ascontiguousarray(array)
                values[name] = runtime().OrtValue.ortvalue_from_numpy(contiguous, self._device, 0)
                binding.bind_ortvalue_input(name, values[name])
            for name in self._outputs:
                binding.bind_output(name, "cpu")
            self._kept[key] = binding, values
        self._kept.move_to_end(key)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return self._kept[key]
