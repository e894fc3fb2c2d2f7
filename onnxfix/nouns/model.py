"""Model: an ONNX file, its graph in memory, its weights on disk; checked when opened, atomic when saved."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir import Graph, Node  # inside the class, `ir` is its field

from onnxfix.nouns.types.opening import check, plain, text
from onnxfix.nouns.types.opening.fault import BrokenError, Fault
from onnxfix.nouns.types.operators import bodies, graphs, opset, proto_graphs

from .errors import OnnxfixError, arg
from .process.scratch import staged as staged
from .weights import external_data, pairs, placing, wire, writer

# protobuf refuses messages of 2 GiB; past this the graph itself must stay well below, so weights go to a side file.
INLINE_LIMIT_BYTES = 1_500_000_000

# It warns about what the rules report, on standard error.
logging.getLogger("onnx_ir").setLevel(logging.ERROR)


@dataclass
class Model:
    """An opened model. Edits go through `surgery.editor`; `path` is the file it came from and is never rewritten."""

    ir: ir.Model
    path: Path
    external_files: frozenset[Path] = frozenset()
    custom_op_libraries: tuple[Path, ...] = field(default=())

    faults: tuple[Fault, ...] = ()
    """What is wrong with the file; `ir` is then nothing but its versions."""
    stated: int = 0
    """Nodes that a broken file has."""

    @staticmethod
    def open(path: Path | str, custom_op_libraries: tuple[Path, ...] = ()) -> Model:
        """Parse a file and check that it is a model and that its weights exist. Raises OnnxfixError with what to do
        when it cannot: a BrokenError where the file is broken and not just unreadable or incomplete."""
        model = Model.look(path, custom_op_libraries)
        if model.faults:
            raise BrokenError(model.path, model.faults)
        return model

    @staticmethod
    def look(path: Path | str, custom_op_libraries: tuple[Path, ...] = ()) -> Model:
        """As `open`, and a broken file becomes a model that can say nothing but its faults."""
        source = Path(path)
        proto, mapped = _parse(source)
        faults = check.faults(proto)
        if faults:
            empty = ir.Graph((), (), nodes=(), opset_imports={i.domain: i.version for i in proto.opset_import})
            broken = ir.Model(empty, ir_version=proto.ir_version)
            return Model(broken, source, frozenset(), custom_op_libraries, faults, check.count(proto))
        model = plain.from_proto(proto)
        if mapped is not None:
            wire.attach(model, mapped)
        forget_undeclared(model, proto)
        if not _is_sorted(model.graph, set()):
            # onnxruntime.transformers appends its casts; the runtime takes such files, a clone of them does not
            model.graph.sort()
        ir.external_data.set_base_dir(model.graph, source.parent or Path())
        for function in model.functions.values():
            function.sort()  # bodies in it
            ir.external_data.set_base_dir(function.graph, source.parent or Path())
        external = external_data.check(tensors(model), source)
        external_data.share(model)
        pairs.check(proto, source)
        model.metadata_props.pop(pairs.KEY, None)  # of this file alone
        return Model(model, source, external, custom_op_libraries)

    @property
    def graph(self) -> Graph:
        return self.ir.graph

    @property
    def opset(self) -> int:
        """Version of the default (ai.onnx) operator set, 0 when the model imports none."""
        return opset(self.ir.opset_imports, default=0)

    def nodes(self) -> Iterator[Node]:
        """All nodes, those of sub-graphs included, function bodies not."""
        return _walk(self.graph)

    def graphs(self) -> Iterator[Graph]:
        """The main graph, then every sub-graph of control-flow nodes."""
        return graphs(self.graph)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all initializers and Constant tensors, each counted once."""
        return sum({id(t): t.nbytes for t in tensors(self.ir)}.values())

    @property
    def file_bytes(self) -> int:
        """Bytes on disk: the model file and its external data."""
        files = {self.path, *self.external_files}
        return sum(f.stat().st_size for f in files if f.exists())

    def clone(self) -> Model:
        """An independent graph over the same (shared, read-only) weight tensors."""
        return replace(self, ir=self.ir.clone())

    def fingerprint(self) -> str:
        """SHA-256 of the serialised graph: structure, attributes, types, metadata, and inline weights by content."""
        return hashlib.sha256(self.ir_bytes()).hexdigest()

    def ir_bytes(self) -> bytes:
        """The deterministic protobuf of the graph; external weights stay references."""
        data: bytes = plain.to_proto(self.ir).SerializeToString(deterministic=True)
        return data

    def save(self, destination: Path | str, metadata: Mapping[str, str] | None = None, *, force: bool = False) -> Path:
        """Write the model over what is there and, when large or external before, a data file beside it; all or nothing.

        Raises OnnxfixError when the destination is the source or one of its data files, and, but for `force`, where
        data of something else lies in the place of its own.
        """
        target = Path(destination)
        self.refuse_overwrite(target)
        self.refuse_foreign(target, force)
        if not target.parent.is_dir():
            raise OnnxfixError(f"folder {target.parent} does not exist", f"create it or give another {arg('output')}")
        self.ir.metadata_props.update(metadata or {})
        with staged(target.parent) as stage:
            data = self._write(stage / target.name)
            placing.place(stage / target.name, data, target, force=force)
        return target

    def write(self, file: Path) -> Path:
        """Write the model to a folder that nobody else looks into, without a word on what its data holds."""
        for old in (file, placing.conventional(file)):
            old.unlink(missing_ok=True)  # not written into: somebody may still have it mapped
        self._write(file)
        return file

    def _write(self, file: Path) -> list[Path]:
        """The data files that were written."""
        data = placing.conventional(file)
        writer.write(self.ir, file, data.name if self._external else None)
        return [data] if data.exists() else []

    @property
    def _external(self) -> bool:
        """Whether its weights lie beside the graph."""
        return bool(self.external_files) or self.weights_bytes > INLINE_LIMIT_BYTES

    def refuse_foreign(self, destination: Path, force: bool) -> None:
        """Raise OnnxfixError where data of something else lies in the place of this model's own."""
        if self._external:
            placing.refuse_foreign(destination, force)

    def refuse_overwrite(self, destination: Path) -> None:
        """Raise OnnxfixError when a file to write, or the data file beside it, is one that this model was read from."""
        for file in (destination, placing.conventional(destination)):
            for source in (self.path, *self.external_files):
                if file.exists() and source.exists() and file.samefile(source):
                    raise OnnxfixError(f"{file} belongs to the source model", f"give another {arg('output')}")


def _is_sorted(graph: Graph, known: set[ir.Value]) -> bool:
    """Whether every node stands behind those that it reads, in this graph and in the bodies of its nodes."""
    known.update((*graph.inputs, *graph.initializers.values()))
    for node in graph:
        for value in node.inputs:
            if value is not None and value.producer() is not None and value not in known:
                return False
        if not all(_is_sorted(body, known) for body in bodies(node)):
            return False
        known.update(node.outputs)
    return True


def _walk(graph: Graph) -> Iterator[Node]:
    """As `graph.all_nodes()`, in two thirds of its time: a diagnosis walks a graph some twenty times."""
    for node in graph:
        yield node
        for body in bodies(node):
            yield from _walk(body)


def tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every weight tensor: initializers of all graphs and tensors in node attributes, functions included."""
    roots = [model.graph, *(f.graph for f in model.functions.values())]
    for root in roots:
        for graph in graphs(root):
            for value in graph.initializers.values():
                if value.const_value is not None:
                    yield value.const_value
        for node in root.all_nodes():
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    yield attribute.value


def _parse(source: Path) -> tuple[Any, wire.Mapped | None]:
    """The ModelProto of a file and, where its large tensors were left in it, the map of the file."""
    import onnx
    from google.protobuf.message import DecodeError

    if source.is_dir():
        raise OnnxfixError(f"{source} is a directory", "name the .onnx file in it")
    if not source.is_file():
        is_there = source.exists()
        raise OnnxfixError(f"{source} {'is no regular file' if is_there else 'does not exist'}", "check the path")
    mapped = None
    try:
        try:
            skeleton, mapped = wire.read(source)
            proto = onnx.load_model_from_string(skeleton)
            if not text.is_readable(proto):
                proto = onnx.load_model_from_string(text.make_readable(skeleton, proto))
        except wire.MalformedError:  # the parser has the last word on what is a protobuf
            proto = onnx.load_model(source, format="protobuf", load_external_data=False)
    except PermissionError as error:
        raise OnnxfixError(f"{source} cannot be read: {error.strerror}", "check its permissions") from error
    except (DecodeError, ValueError, RuntimeError) as error:
        raise OnnxfixError(
            f"{source} is not a whole ONNX file ({source.stat().st_size:,} bytes, not parseable as a ModelProto)",
            "check that the download or export finished",
        ) from error
    # Random text can parse as a protobuf of unknown fields only; a real model always states its IR version and a graph.
    if not proto.ir_version or not proto.HasField("graph"):
        raise OnnxfixError(f"{source} is not an ONNX model: it holds no graph", "name an .onnx file")
    return proto, mapped


def forget_undeclared(model: ir.Model, proto: Any) -> None:
    """Clear the types onnx-ir gives to initializers that the file has no value_info for.

    onnx-ir writes a value_info entry for every typed initializer. Such entries are what ONNX Runtime's quantizer later
    contradicts ("(1024) vs (7)"), so a model that came without them is saved without them.
    """
    declared: set[str] = set()
    for graph in proto_graphs(proto.graph):
        declared.update(info.name for info in (*graph.value_info, *graph.input, *graph.output))
    for graph in graphs(model.graph):
        for value in graph.initializers.values():
            if value.name not in declared:
                value.type = None
                value.shape = None
