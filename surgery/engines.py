"""Other people's converters, called as their documentation says: what repairs are compared with, side by side.

Each takes the file of a model and writes another. `onnxfix repair` uses `prepared_fp16` alone.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.scratch import Scratch


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


# By the names that `converter` takes.
FP16_LIBRARIES = {
    "onnxconverter-common": "onnxconverter_common.float16",
    "onnxruntime": "onnxruntime.transformers.float16",
}


def prepared_fp16(library: str, source: Path, destination: Path, keep_io_types: bool = True) -> Path:
    """One of `FP16_LIBRARIES` on a file that the pass outline-fp32-islands prepared.

    With the whole range of fp16: onnxconverter-common by default cuts weights off at 1e4 and masks with them. It also
    refuses a model that holds any fp16, which is no sign that nothing is left to convert. Weights stay in a side file
    where `source` has them in one. Raises OnnxfixError when the library fails.
    """
    import importlib

    import onnx

    external = source.with_name(source.name + ".data").exists()
    options: dict[str, object] = {
        "keep_io_types": keep_io_types,
        "min_positive_val": 5.96e-08,
        "max_finite_val": 65504.0,
    }

    def convert() -> None:
        convert_float_to_float16 = importlib.import_module(FP16_LIBRARIES[library]).convert_float_to_float16
        if library == "onnxruntime":
            # by path, because shape inference in memory ends at 2 GB
            made = convert_float_to_float16(str(source), **options)
        else:
            made = convert_float_to_float16(onnx.load(source), check_fp16_ready=False, **options)
        data = destination.name + ".data"
        onnx.save(made, destination, save_as_external_data=external, location=data if external else None)

    return _called(library, convert, destination)


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
    from onnxfix.surgery.passes.drop_initializer_value_info import DropInitializerValueInfo

    from .graph_pass import run

    with Scratch() as folder:
        model = Model.open(source)
        run(DropInitializerValueInfo(), model)
        return runtime_int8_dynamic(model.write(folder / "model.onnx"), destination)


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
