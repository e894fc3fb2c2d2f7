"""Model: an ONNX file, its graph in memory, its weights on disk; checked when opened, atomic when saved."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir import Graph, Node  # inside the class, `ir` is its field

from onnxfix.nouns.types.operators import bodies, graphs, opset, proto_graphs

from .errors import DIAGNOSE, OnnxfixError, arg
from .weights import external_data, wire, writer

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

    @staticmethod
    def open(path: Path | str, custom_op_libraries: tuple[Path, ...] = ()) -> Model:
        """Parse a file and check that its weights exist. Raises OnnxfixError with what to do when it cannot."""
        source = Path(path)
        proto, mapped = _parse(source)
        try:
            model = ir.from_proto(proto)
            if mapped is not None:
                wire.attach(model, mapped)
        except Exception as error:  # onnx-ir raises many types on malformed protobufs
            raise OnnxfixError(f"{source} is not a valid ONNX model: {error}", "export it again") from error
        forget_undeclared(model, proto)
        if not _is_sorted(model.graph, set()):
            # onnxruntime.transformers appends its casts; the runtime takes such files, a clone of them does not
            _sort(model.graph, source)
        ir.external_data.set_base_dir(model.graph, source.parent or Path())
        for function in model.functions.values():
            ir.external_data.set_base_dir(function.graph, source.parent or Path())
        external = external_data.check(tensors(model), source)
        external_data.share(model)
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
        try:
            copy = self.ir.clone()
        except Exception as error:  # onnx-ir raises RuntimeError around whatever it met
            raise OnnxfixError(
                f"{self.path} cannot be changed: its graph reads a value that nothing makes", f"see {DIAGNOSE}"
            ) from error
        return Model(copy, self.path, self.external_files, self.custom_op_libraries)

    def fingerprint(self) -> str:
        """SHA-256 of the serialised graph: structure, attributes, types, metadata, and inline weights by content."""
        return hashlib.sha256(self.ir_bytes()).hexdigest()

    def ir_bytes(self) -> bytes:
        """The deterministic protobuf of the graph; external weights stay references."""
        data: bytes = ir.to_proto(self.ir).SerializeToString(deterministic=True)
        return data

    def save(self, destination: Path | str, metadata: Mapping[str, str] | None = None) -> Path:
        """Write the model and, when large or external before, one `.data` file beside it; all or nothing.

        Raises OnnxfixError when the destination is the source or one of its data files.
        """
        target = Path(destination)
        data_name = target.name + ".data"
        self.refuse_overwrite(target)
        if not target.parent.is_dir():
            raise OnnxfixError(f"folder {target.parent} does not exist", f"create it or give another {arg('output')}")
        self.ir.metadata_props.update(metadata or {})
        external = bool(self.external_files) or self.weights_bytes > INLINE_LIMIT_BYTES
        with staged(target.parent) as stage:
            staged_file = stage / target.name
            writer.write(self.ir, staged_file, data_name if external else None)
            # data first: a reader that sees the new graph must find its weights
            for name in (data_name, target.name):
                if (stage / name).exists():
                    (stage / name).replace(target.parent / name)
        return target

    def refuse_overwrite(self, destination: Path) -> None:
        """Raise OnnxfixError when a file to write, or the data file beside it, is one that this model was read from."""
        for file in (destination, destination.with_name(destination.name + ".data")):
            for source in (self.path, *self.external_files):
                if file.exists() and source.exists() and file.samefile(source):
                    raise OnnxfixError(f"{file} belongs to the source model", f"give another {arg('output')}")


def _sort(graph: Graph, source: Path) -> None:
    try:
        graph.sort()
    except ValueError as error:
        raise OnnxfixError(
            f"{source} is not a valid ONNX model: its graph contains a cycle", "export it again"
        ) from error


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


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as `folder`, so that moving out of it is one atomic rename."""
    try:
        stage = Path(tempfile.mkdtemp(prefix=".onnxfix-", dir=folder))
    except OSError as error:
        raise OnnxfixError(f"cannot write to {folder}: {error.strerror}", f"give another {arg('output')}") from error
    try:
        yield stage
    except OSError as error:
        raise OnnxfixError(f"writing to {folder} failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


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
        raise OnnxfixError(f"{source} does not exist", "check the path")
    mapped = None
    try:
        try:
            skeleton, mapped = wire.read(source)
            proto = onnx.load_model_from_string(skeleton)
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
    if proto.graph.sparse_initializer:
        raise OnnxfixError(f"{source} holds sparse initializers, which are not supported", "make them dense")
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
