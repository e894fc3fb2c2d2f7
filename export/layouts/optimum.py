"""optimum.onnxruntime: one folder for one model, `model.onnx` beside its config and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxfix.export.hub.known_files import CONFIG, GENERATION, TOKENIZER
from onnxfix.nouns.model import Model

from . import pooled, sidecars
from .made import Made
from .tasks import task_of


class Optimum:
    """`ORTModelFor….from_pretrained(folder)` looks for this name first, so that each result has a folder of its own."""

    data = ".data"

    def graph(self, made: Made) -> str:
        return "model.onnx"

    def files(self, checkpoint: Path) -> list[str]:
        return sidecars.there(checkpoint, (CONFIG, GENERATION, *TOKENIZER))

    def check(self, outputs: list[str], config: dict[str, Any], past: bool) -> None:
        pooled.refuse(outputs, "optimum")

    def config(self, own: dict[str, Any], graph: str, data: bool, earlier: dict[str, Any]) -> dict[str, Any]:
        return own

    def adapt(self, graph: Path) -> Model | None:
        return None

    def lacks(self, operators: set[tuple[str, str]]) -> str:
        return ""  # ONNX Runtime itself, as everywhere here

    def loads(self, folder: str, made: Made, outputs: list[str], config: dict[str, Any], past: bool) -> str:
        task = task_of(config, outputs)
        without = ", use_cache=False, use_io_binding=False" if task.head == "CausalLM" and not past else ""
        return f"ORTModelFor{task.head}.from_pretrained({folder!r}{without})"


LAYOUT = Optimum()
