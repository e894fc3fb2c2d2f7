"""Checkpoint: a local folder in transformers' format, checked before it is loaded. No network, no code, no pickles."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxfix.export.hub.known_files import CONFIG, INDEX, WEIGHTS
from onnxfix.nouns.errors import OnnxfixError, arg

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
BLOCK = 1 << 22
MULTI_HEAD = "MultiHeadClassifier"
HEADS_KEY = "classification_heads"
SENTENCE_MODULES = "modules.json"


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose config and weights are usable. `config` is the parsed config.json."""

    folder: Path
    config: dict[str, Any]

    @staticmethod
    def open(folder: Path | str) -> Checkpoint:
        """Raises OnnxfixError when the folder lacks its config or safetensors weights, or asks for remote code."""
        root = Path(folder)
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise OnnxfixError(
                f"checkpoint {root} {what}", "name a folder holding config.json, or the id of one on the Hub, ORG/NAME"
            )
        config = config_of(root)
        _require_safetensors(root)
        return Checkpoint(root.resolve(), config)

    @property
    def architecture(self) -> str:
        """The class name in config.json, empty when it names none."""
        names = self.config.get("architectures") or [""]
        return str(names[0])

    @property
    def heads(self) -> dict[str, list[str]]:
        """Head name → labels of a multi-head classifier; empty for any other architecture."""
        heads = self.config.get(HEADS_KEY) if self.architecture == MULTI_HEAD else None
        return {str(name): [str(label) for label in labels] for name, labels in (heads or {}).items()}

    @property
    def labels(self) -> dict[str, list[str]]:
        """Class names by output, in logit order, where the config states them."""
        if self.heads:
            return self.heads
        names = self.config.get("id2label")
        classifier = "Classification" in self.architecture
        if not classifier or not isinstance(names, dict):
            return {}
        return {"logits": [str(names[key]) for key in sorted(names, key=int)]}

    def sha256(self) -> str:
        """Digest over the config and every safetensors file: name, size and content, in name order."""
        digest = hashlib.sha256()
        for path in [self.folder / CONFIG, *sorted(self.folder.rglob("*.safetensors"))]:
            digest.update(f"{path.relative_to(self.folder)}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        return digest.hexdigest()


def read_json(path: Path) -> Any:
    """Parse a JSON file of a checkpoint; OnnxfixError when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OnnxfixError(f"{path} cannot be read as JSON: {error}", "copy the checkpoint again") from error


def config_of(root: Path) -> dict[str, Any]:
    """The parsed config.json of a folder. Raises OnnxfixError where it is missing, none, or asks for remote code."""
    if not (root / CONFIG).is_file():
        raise OnnxfixError(f"{root} has no {CONFIG}", "name a folder written by save_pretrained")
    config = read_json(root / CONFIG)
    if not isinstance(config, dict):
        raise OnnxfixError(f"{root / CONFIG} is not a JSON object", "copy the checkpoint again")
    if config.get("auto_map"):
        raise OnnxfixError(
            f"{root / CONFIG} names code of its own (auto_map), which onnxfix does not run",
            f"build the model in a function of yours and give it with {arg('factory', 'module:function')}",
        )
    return config


def _require_safetensors(root: Path) -> None:
    if any(root.glob("*.safetensors")):
        _require_shards(root)
        return
    pickles = sorted(path.name for pattern in PICKLES for path in root.glob(pattern))
    if pickles:
        raise OnnxfixError(
            f"{root} holds its weights only as {pickles[0]}, a pickle that can run code",
            "load it where you trust it and save again with save_pretrained(..., safe_serialization=True)",
        )
    raise OnnxfixError(f"{root} holds no weights (*.safetensors)", "copy the checkpoint again")


def _require_shards(root: Path) -> None:
    """All files that the index names, where weights are in several: a copy may have ended early."""
    if not (root / INDEX).is_file() or (root / WEIGHTS).is_file():
        return
    index = read_json(root / INDEX)
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict) or not named:
        raise OnnxfixError(f"{root / INDEX} names no weights", "copy the checkpoint again")
    shards = sorted({str(each) for each in named.values()})
    missing = [each for each in shards if Path(each).name != each or not (root / each).is_file()]
    if missing:
        raise OnnxfixError(
            f"{root} lacks {missing[0]}, one of {len(shards)} files of weights that its index names",
            "copy or download the checkpoint again",
        )
