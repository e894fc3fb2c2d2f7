"""A Llama-shaped ONNX graph without weights: norms, rotary positions, attention and SiLU written out in primitives, as
torch's exporters write them.

Every matrix is an initializer in an external file that is a hole from end to end: 27 GB to read, nothing on the disk.
As in an export without optimizer a Transpose stands in front of each MatMul, since torch's Linear keeps (out, in). The
rest is as the TorchScript exporter writes it (`legacy`, 78 nodes a layer): every attention reads its dimensions from a
tensor by Shape and Gather and joins them again for each Reshape, and a norm divides; or as the optimized result of the
dynamo exporter (`dynamo`, 62 nodes): dimensions are read once, and a norm multiplies by a Reciprocal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

PAGE = 4096
LARGEST = 9_223_372_036_854_775_807


@dataclass(frozen=True)
class Shape:
    """Dimensions of the model; the defaults are Llama's with 7 billion parameters."""

    layers: int = 32
    hidden: int = 4096
    intermediate: int = 11008
    heads: int = 32
    vocabulary: int = 32000
    elem_type: int = TensorProto.FLOAT
    exporter: str = "legacy"  # whose way of writing shapes, norms and node names: legacy or dynamo

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads


class Graph:
    """A graph in the making: nodes, small constants inline, weights in a file of holes."""

    def __init__(self, shape: Shape, data_name: str) -> None:
        self.shape = shape
        self.data_name = data_name
        self.module = "model"  # torch module of the nodes to come
        self.end = 0
        self.parameters = 0
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._integers: dict[tuple[tuple[int, ...], bool], str] = {}

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output; the output's name."""
        output = f"val_{len(self.nodes)}"
        place = f"/{self.module.replace('.', '/').replace('layers/', 'layers.')}/{op_type}_{len(self.nodes)}"
        name = place if self.shape.exporter == "legacy" else f"node_{output}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def weight(self, name: str, *dims: int) -> str:
        """An initializer whose content is a hole in the data file."""
        tensor = TensorProto(name=name, data_type=self.shape.elem_type, dims=dims, data_location=TensorProto.EXTERNAL)
        length = math.prod(dims) * (2 if self.shape.elem_type == TensorProto.FLOAT16 else 4)
        for key, value in (("location", self.data_name), ("offset", self.end), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        self.end += math.ceil(length / PAGE) * PAGE
        self.parameters += math.prod(dims)
        return name

    def integers(self, *values: int, scalar: bool = False) -> str:
        """An int64 vector (or scalar) constant, one initializer for each content."""
        key = (values, scalar)
        if key not in self._integers:
            name = self._integers[key] = f"const_{len(self._integers)}"
            dims = [] if scalar else [len(values)]
            self.initializers.append(helper.make_tensor(name, TensorProto.INT64, dims, values))
        return self._integers[key]

    def number(self, name: str, value: float) -> str:
        """A scalar constant of the model's float type."""
        self.initializers.append(helper.make_tensor(name, self.shape.elem_type, [], [value]))
        return name


def write(folder: Path, shape: Shape) -> tuple[Path, int]:
    """Write `llama.onnx` and its sparse `llama.onnx.data` into a folder; the model's path and its parameters."""
    path = folder / "llama.onnx"
    graph = Graph(shape, path.name + ".data")
    output = _decoder(graph)
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"])
              for n in ("input_ids", "attention_mask")]  # fmt: skip
    outputs = [helper.make_tensor_value_info(output, shape.elem_type, ["batch", "sequence", shape.vocabulary])]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "llama", inputs, outputs, graph.initializers),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 20)],
        producer_name="benchmarks/llama_7b.py",
    )
    with (folder / graph.data_name).open("wb") as file:
        file.truncate(graph.end)
    onnx.save(proto, path)
    return path, graph.parameters


def _decoder(g: Graph) -> str:
    """Embedding, rotary angles and mask once, the layers, the last norm and the head; the logits' name."""
    shape = g.shape
    batch = g.node("Shape", "input_ids", end=1, start=0)
    sequence = g.node("Shape", "input_ids", end=2, start=1)
    hidden = g.node("Gather", g.weight("model.embed_tokens.weight", shape.vocabulary, shape.hidden), "input_ids")
    zero, one = g.integers(0, scalar=True), g.integers(1, scalar=True)
    positions = g.node("Range", zero, g.node("Squeeze", sequence), one)
    cos, sin = _angles(g, positions)
    mask = _mask(g, positions)
    constants = {
        "two": g.number("two", 2.0),
        "epsilon": g.number("epsilon", 1e-5),
        "scale": g.number("scale", shape.head_width**-0.25),
    }
    constants["one"] = g.number("one", 1.0)
    split = _joined_shape(g, [batch, sequence], shape.heads, shape.head_width)
    joined = _joined_shape(g, [batch, sequence], shape.hidden)
    for index in range(shape.layers):
        name = f"model.layers.{index}"
        normed = _norm(g, f"{name}.input_layernorm", hidden, constants)
        attended = _attention(g, f"{name}.self_attn", normed, (cos, sin), mask, (split, joined), constants["scale"])
        g.module = name
        hidden = g.node("Add", hidden, attended)
        normed = _norm(g, f"{name}.post_attention_layernorm", hidden, constants)
        output = _mlp(g, f"{name}.mlp", normed)
        g.module = name
        hidden = g.node("Add", hidden, output)
    hidden = _norm(g, "model.norm", hidden, constants)
    return _linear(g, "lm_head", hidden, shape.hidden, shape.vocabulary)


def _joined_shape(g: Graph, dynamic: list[str], *static: int) -> str:
    return g.node("Concat", *dynamic, *(g.integers(size) for size in static), axis=0)


def _shapes(g: Graph, value: str) -> Iterator[str]:
    """What an attention traced by the TorchScript exporter makes for its four Reshapes: (batch, sequence, heads, width)
    for queries, keys and values, and back to hidden; each from the two numbers that Gather takes out of a Shape."""
    wide = (g.shape.heads, g.shape.head_width)
    read = [g.node("Gather", g.node("Shape", value), g.integers(axis, scalar=True), axis=0) for axis in (0, 1)]
    for static in (wide, wide, wide, (g.shape.hidden,)):
        yield _joined_shape(g, [g.node("Unsqueeze", size, g.integers(0)) for size in read], *static)


def _angles(g: Graph, positions: str) -> tuple[str, str]:
    """cos and sin of position times frequency, of shape (1, 1, sequence, head width); computed in fp32, then cast."""
    half = g.shape.head_width // 2
    frequencies = [10000.0 ** (-i / half) for i in range(half)]
    g.initializers.append(helper.make_tensor("model.rotary_emb.inv_freq", TensorProto.FLOAT, [half], frequencies))
    places = g.node("Cast", g.node("Unsqueeze", positions, g.integers(0, 1, 3)), to=TensorProto.FLOAT)
    angle = g.node("Mul", places, "model.rotary_emb.inv_freq")
    both = g.node("Concat", angle, angle, axis=-1)
    cos, sin = g.node("Cos", both), g.node("Sin", both)
    if g.shape.elem_type != TensorProto.FLOAT:
        cos, sin = (g.node("Cast", value, to=g.shape.elem_type) for value in (cos, sin))
    return cos, sin


def _mask(g: Graph, positions: str) -> str:
    """0 where a token sees another that is no padding and not behind it, else the lowest number."""
    rows = g.node("Unsqueeze", positions, g.integers(0, 1, 3))
    columns = g.node("Unsqueeze", positions, g.integers(0, 1, 2))
    visible = g.node("LessOrEqual", columns, rows)
    real = g.node("Cast", g.node("Unsqueeze", "attention_mask", g.integers(1, 2)), to=TensorProto.BOOL)
    lowest = -65504.0 if g.shape.elem_type == TensorProto.FLOAT16 else -3.4028234663852886e38
    return g.node("Where", g.node("And", visible, real), g.number("seen", 0.0), g.number("unseen", lowest))


def _linear(g: Graph, name: str, value: str, width: int, out: int) -> str:
    """torch keeps (out, in): exporters write a Transpose of the weight and a MatMul."""
    g.module = name
    return g.node("MatMul", value, g.node("Transpose", g.weight(f"{name}.weight", out, width), perm=[1, 0]))


def _norm(g: Graph, name: str, value: str, constants: dict[str, str]) -> str:
    """RMSNorm written out."""
    g.module = name
    mean = g.node("ReduceMean", g.node("Pow", value, constants["two"]), g.integers(-1), keepdims=1)
    root = g.node("Sqrt", g.node("Add", mean, constants["epsilon"]))
    inverse = g.node("Div", constants["one"], root) if g.shape.exporter == "legacy" else g.node("Reciprocal", root)
    return g.node("Mul", g.weight(f"{name}.weight", g.shape.hidden), g.node("Mul", value, inverse))


def _attention(
    g: Graph, name: str, value: str, angles: tuple[str, str], mask: str, shapes: tuple[str, str], scale: str
) -> str:
    """Attention of all heads with rotary positions. `shapes`: (batch, sequence, heads, width) and back to hidden."""
    width = g.shape.hidden
    g.module = name
    traced = g.shape.exporter == "legacy"
    *split_shapes, joined_shape = _shapes(g, value) if traced else (shapes[0], shapes[0], shapes[0], shapes[1])
    heads = []
    for part, split_shape in zip("qkv", split_shapes, strict=True):
        projected = _linear(g, f"{name}.{part}_proj", value, width, width)
        g.module = name
        split = g.node("Reshape", projected, split_shape, allowzero=1)
        heads.append(g.node("Transpose", split, perm=[0, 2, 1, 3]))
    query, key = (g.node("Mul", _rotated(g, head, *angles), scale) for head in heads[:2])
    scores = g.node("MatMul", query, g.node("Transpose", key, perm=[0, 1, 3, 2]))
    weights = g.node("Softmax", g.node("Add", scores, mask), axis=-1)
    context = g.node("Transpose", g.node("MatMul", weights, heads[2]), perm=[0, 2, 1, 3])
    joined = g.node("Reshape", context, joined_shape, allowzero=1)
    return _linear(g, f"{name}.o_proj", joined, width, width)


def _rotated(g: Graph, value: str, cos: str, sin: str) -> str:
    half, last, step = g.shape.head_width // 2, g.integers(3), g.integers(1)
    first = g.node("Slice", value, g.integers(0), g.integers(half), last, step)
    second = g.node("Slice", value, g.integers(half), g.integers(LARGEST), last, step)
    turned = g.node("Concat", g.node("Neg", second), first, axis=-1)
    return g.node("Add", g.node("Mul", value, cos), g.node("Mul", turned, sin))


def _mlp(g: Graph, name: str, value: str) -> str:
    """down(silu(gate) * up)"""
    hidden, wide = g.shape.hidden, g.shape.intermediate
    gate = _linear(g, f"{name}.gate_proj", value, hidden, wide)
    g.module = name
    silu = g.node("Mul", gate, g.node("Sigmoid", gate))
    up = _linear(g, f"{name}.up_proj", value, hidden, wide)
    g.module = name
    return _linear(g, f"{name}.down_proj", g.node("Mul", silu, up), wide, hidden)
