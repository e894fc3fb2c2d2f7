"""Ranges of activations on real inputs, by ONNX Runtime's calibrators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from onnxfix.nouns.errors import OnnxfixError, one_line
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.engines import quiet

Method = Literal["minmax", "entropy", "percentile"]
Inputs = Mapping[str, Array]
"""Input name → array."""


def ranges(source: Path, inputs: Sequence[Inputs], method: Method, op_types: Sequence[str]) -> Any:
    """What the inputs and outputs of these operators reach, for a quantizer (`TensorsData`).

    `minmax` takes the extremes, `percentile` 99.999 % of the values, `entropy` the range that loses least information
    (TensorRT's method). Raises OnnxfixError when the model does not take the inputs.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    kinds = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    with Scratch() as folder, quiet():
        try:
            calibrator = create_calibrator(
                source,
                list(op_types),
                augmented_model_path=str(folder / "augmented.onnx"),
                calibrate_method=kinds[method],
                use_external_data_format=source.with_name(source.name + ".data").exists(),
            )
            for each in inputs:
                # one at a time: the histograms of arrays of different lengths are merged between calls only
                calibrator.collect_data(_Reader(each))
            return calibrator.compute_data()
        except Exception as error:  # the runtime's own types, and ValueError on what it did not expect
            raise OnnxfixError(f"calibration failed: {one_line(error)}", "give inputs that the model takes") from error


class _Reader:
    """A CalibrationDataReader of one set of inputs."""

    def __init__(self, inputs: Inputs) -> None:
        self._left: Iterator[dict[str, Array]] = iter([dict(inputs)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)
