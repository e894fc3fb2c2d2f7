"""Other people's converters, called as their documentation says: what repairs are compared with, side by side.

Each takes the file of a model and writes another. They are not used by `onnxfix repair`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from onnxfix.errors import OnnxfixError
from onnxfix.model import Model


def common_fp16(source: Path, destination: Path) -> Path:
    """onnxconverter-common's `convert_float_to_float16` (also behind OnnxSlim and Polygraphy)."""
    import onnx
    from onnxconverter_common import float16

    def convert() -> None:
        onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), destination)

    return _called("onnxconverter-common", convert, destination)


def runtime_fp16(source: Path, destination: Path) -> Path:
    """`onnxruntime.transformers.float16`."""
    import onnx
    from onnxruntime.transformers import float16

    def convert() -> None:
        onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), destination)

    return _called("onnxruntime.transformers.float16", convert, destination)


def runtime_int8_dynamic(source: Path, destination: Path, op_types: Sequence[str] = ("MatMul",)) -> Path:
    """`onnxruntime.quantization.quantize_dynamic` with per-channel weights and nothing done to the graph first.

    On dynamo exports with a Gemm it fails in shape inference ("(128) vs (7)", microsoft/onnxruntime#25890).
    """
    from onnxruntime.quantization import quantize_dynamic

    def convert() -> None:
        quantize_dynamic(source, destination, op_types_to_quantize=list(op_types), per_channel=True)

    return _called("onnxruntime.quantization", convert, destination)


def runtime_int8_past_inference(source: Path, destination: Path) -> Path:
    """As `runtime_int8_dynamic`, with the one thing done to the graph that lets shape inference pass.

    People get past it by replacing the quantizer's shape inference with a no-op; dropping the value_info of
    initializers has the same effect on what is quantized.
    """
    from .graph_pass import run
    from .passes.drop_initializer_value_info import DropInitializerValueInfo

    with tempfile.TemporaryDirectory(prefix="onnxfix-") as folder:
        model = Model.open(source)
        run(DropInitializerValueInfo(), model)
        return runtime_int8_dynamic(model.save(Path(folder) / "model.onnx"), destination)


def _called(name: str, convert: Callable[[], None], destination: Path) -> Path:
    try:
        with quiet():
            convert()
    except Exception as error:  # these libraries raise anything, bare AssertionError included
        raise OnnxfixError(f"{name} fails: {type(error).__name__}: {error}") from error
    return destination


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Converters print, warn and log advice through the root logger; none of it belongs in our output."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
