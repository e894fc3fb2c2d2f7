"""transformers.js: graphs in `onnx/`, one for each type of numbers that `dtype` asks for, and one config for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxfix.export.hub.known_files import CONFIG, GENERATION, TOKENIZER
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model

from . import axes, pooled, sidecars
from .made import Made
from .tasks import task_of

_LIBRARY = "transformers.js"
KEY = "transformers.js_config"
"""Of config.json: what the library wants to know of the graphs."""
EXTERNAL = "use_external_data_format"
_OF_OTHER_GRAPHS = (EXTERNAL, "kv_cache_dtype")  # a cache of ours is fp32, as inputs are
# What `dtype` asks for, and what it puts behind `model`; of the rest there is nothing that it would load.
_NUMBERS: dict[tuple[str, str, int], tuple[str, str]] = {
    ("fp32", "", 8): ("fp32", ""),
    ("fp16", "", 8): ("fp16", "_fp16"),
    ("fp32", "dynamic", 8): ("q8", "_quantized"),
    ("fp32", "static", 8): ("uint8", "_uint8"),
    ("fp32", "weight-only", 8): ("int8", "_int8"),
    ("fp32", "weight-only", 4): ("q4", "_q4"),
    ("fp16", "weight-only", 4): ("q4f16", "_q4f16"),
}
# Beside those of ONNX itself: what results of repair and optimize hold, each run in the WebAssembly of this version.
_TRIED = "1.31"
_IN_THE_WEB = {
    ("com.microsoft", name)
    for name in (
        "GatherBlockQuantized", "GroupQueryAttention", "MatMulNBits", "MultiHeadAttention", "RotaryEmbedding",
    )
}  # fmt: skip


class TransformersJs:
    """`pipeline(task, folder, { dtype })`; the same names in a repository on the Hub."""

    data = "_data"

    def graph(self, made: Made) -> str:
        return f"{sidecars.FOLDER_OF_GRAPHS}/model{_numbers(made)[1]}.onnx"

    def files(self, checkpoint: Path) -> list[str]:
        return sidecars.there(checkpoint, (CONFIG, GENERATION, *TOKENIZER))

    def check(self, outputs: list[str], config: dict[str, Any], past: bool) -> None:
        pooled.refuse(outputs, _LIBRARY)
        if task_of(config, outputs).head == "CausalLM" and not past:
            raise OnnxfixError(
                f"{_LIBRARY} generates with a cache of keys and values, which the model does not take",
                f"export the checkpoint with {arg('task', 'text-generation-with-past')}",
            )

    def config(self, own: dict[str, Any], graph: str, data: bool, earlier: dict[str, Any]) -> dict[str, Any]:
        """With the graphs whose weights lie beside them, which no browser can see for itself."""
        said = {**own.get(KEY, {}), **earlier.get(KEY, {})}
        known = said.get(EXTERNAL, {})
        name = Path(graph).name
        files = dict(known) if isinstance(known, dict) else {}
        files = {each: chunks for each, chunks in files.items() if each != name} | ({name: 1} if data else {})
        said = {key: value for key, value in said.items() if key not in _OF_OTHER_GRAPHS}
        said |= {EXTERNAL: files} if files else {}
        return {key: value for key, value in own.items() if key != KEY} | ({KEY: said} if said else {})

    def adapt(self, graph: Path) -> Model | None:
        model = Model.open(graph)
        return model if axes.named_batch(model) else None

    def lacks(self, operators: set[tuple[str, str]]) -> str:
        odd = sorted(f"{domain}.{name}" for domain, name in operators if (domain, name) not in _IN_THE_WEB)
        if not odd:
            return ""
        return f"{', '.join(odd)} may not be in the web's runtime: onnxruntime-web {_TRIED} was not seen to run it"

    def loads(self, folder: str, made: Made, outputs: list[str], config: dict[str, Any], past: bool) -> str:
        task = task_of(config, outputs).pipeline
        call = f"pipeline({task!r}, {folder!r}, " if task else f"AutoModel.from_pretrained({folder!r}, "
        return f"await {call}{{ dtype: {_numbers(made)[0]!r} }})"


def _numbers(made: Made) -> tuple[str, str]:
    bits = made.bits if made.int8 == "weight-only" else 8
    found = _NUMBERS.get((made.precision, made.int8, bits))
    if found is None:
        raise OnnxfixError(
            f"{_LIBRARY} has no name for {made}",
            f"take {arg('precision', 'fp32', 'fp16')}, {arg('int8', 'dynamic')}, or {arg('int8', 'weight-only')}"
            f" with {arg('bits', 4)}",
        )
    if made.halves_inputs:
        raise OnnxfixError(f"{_LIBRARY} gives its inputs in fp32", f"leave {arg('io_types', 'half')} out")
    return found


LAYOUT = TransformersJs()
