"""sentence-transformers: graphs in `onnx/` of the model's own folder, pooled by the library as its modules say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from onnxfix.export.hub.known_files import CONFIG, MODULE_FILES, MODULES, SENTENCE, TOKENIZER
from onnxfix.export.models.checkpoint import PICKLES, read_json
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model

from . import pooled, sidecars
from .made import Made

_LIBRARY = "sentence-transformers"
_OWN = "sentence_transformers."
_FOLDER = re.compile(r"[\w-]+", re.ASCII)


class SentenceTransformers:
    """`SentenceTransformer(folder, backend="onnx")` takes `onnx/model.onnx`; other graphs are named to it."""

    data = ".data"

    def graph(self, made: Made) -> str:
        parts = ["model", made.recipe, made.precision if made.precision != "fp32" else "", _scheme(made)]
        return f"{sidecars.FOLDER_OF_GRAPHS}/{'_'.join(part for part in parts if part)}.onnx"

    def files(self, checkpoint: Path) -> list[str]:
        sidecars.require_tokenizer(checkpoint, _LIBRARY)
        return [
            *sidecars.there(checkpoint, (CONFIG, *TOKENIZER, *SENTENCE)),
            *(name for folder in _folders(checkpoint) for name in _of_module(checkpoint, folder)),
        ]

    def check(self, outputs: list[str], config: dict[str, Any], past: bool) -> None:
        pooled.refuse(outputs, _LIBRARY)
        if "last_hidden_state" not in outputs:
            raise OnnxfixError(
                f"the model gives {', '.join(outputs)}, and {_LIBRARY} reads last_hidden_state",
                f"export the encoder alone, or take {arg('layout', 'optimum')}",
            )

    def config(self, own: dict[str, Any], graph: str, data: bool, earlier: dict[str, Any]) -> dict[str, Any]:
        return own

    def adapt(self, graph: Path) -> Model | None:
        return None

    def lacks(self, operators: set[tuple[str, str]]) -> str:
        return ""  # ONNX Runtime itself, as everywhere here

    def loads(self, folder: str, made: Made, outputs: list[str], config: dict[str, Any], past: bool) -> str:
        graph = self.graph(made)
        which = "" if graph == self.graph(Made()) else f", model_kwargs={{'file_name': {graph!r}}}"
        return f"SentenceTransformer({folder!r}, backend='onnx'{which})"


def _scheme(made: Made) -> str:
    if made.int8 == "weight-only":
        return f"w{made.bits}"
    return {"dynamic": "qint8", "static": "qint8_static"}.get(made.int8, "")


def _folders(checkpoint: Path) -> list[str]:
    """Folders of the modules behind the transformer. Raises OnnxfixError for modules that are code of somebody's, or
    where nothing says how tokens are pooled."""
    file = checkpoint / MODULES
    if not file.is_file():
        raise OnnxfixError(
            f"{checkpoint} has no {MODULES}: nothing says how {_LIBRARY} shall pool its tokens",
            f"name a checkpoint of {_LIBRARY}, or take {arg('layout', 'optimum')}",
        )
    modules = read_json(file)
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise OnnxfixError(f"{file} is no list of modules", "copy the checkpoint again")
    foreign = next((kind for each in modules if not (kind := str(each.get("type", ""))).startswith(_OWN)), None)
    if foreign is not None:
        raise OnnxfixError(f"{file} names code of its own ({foreign}), which is not copied", "leave the layout out")
    folders = [str(each.get("path", "")) for each in modules]
    odd = next((each for each in folders if each and not _FOLDER.fullmatch(each)), None)
    if odd is not None:
        raise OnnxfixError(f"{file} names the folder {odd!r}, which is none of the checkpoint's", "correct it")
    return [each for each in folders if each]


def _of_module(checkpoint: Path, folder: str) -> list[str]:
    found = sidecars.there(checkpoint, (f"{folder}/{name}" for name in MODULE_FILES))
    pickles = sorted(path.name for pattern in PICKLES for path in (checkpoint / folder).glob(pattern))
    if pickles and f"{folder}/{MODULE_FILES[1]}" not in found:
        raise OnnxfixError(
            f"{checkpoint / folder} holds its weights only as {pickles[0]}, a pickle that can run code",
            "load it where you trust it and save again with safe_serialization=True",
        )
    return found


LAYOUT = SentenceTransformers()
