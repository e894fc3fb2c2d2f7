"""`diff` on the bundled model: what a repair, another exporter and `optimize` made of it, module by module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

import onnxfix
from onnxfix.flows.diagnosis.difference.difference import Difference
from onnxfix.flows.repair.repaired import Repaired

LAYERS = 4


def modules(found: Difference) -> dict[str, dict[str, tuple[int, int]]]:
    return {m.pattern: {c.op_type: (c.before, c.after) for c in m.operators} for m in found.modules.without_types()}


def test_half_precision(exports: dict[str, Path], repaired: Callable[[str, str], Repaired]) -> None:
    half = repaired("unoptimized", "fp16").output
    assert half is not None
    found = onnxfix.diff(exports["unoptimized"], half, target="cuda")
    assert not found.same and not found.ports
    groups = {(g.kind, g.turned): g for g in found.weights.groups}
    assert sum(len(g.names) for g in groups.values()) == 30 and not found.weights.removed and not found.weights.added
    assert len(groups["rounded", True].names) == 4 * LAYERS and groups["rounded", True].unlike == 0
    changed = modules(found)
    assert changed["model.backbone.layers.*.mlp"] == {"SequenceAt": (2, 0), "Split": (0, 1), "SplitToSequence": (1, 0)}
    assert changed["model.backbone.layers.*.attn.Wqkv"] == {"Transpose": (1, 0)}
    ends = ("*.mlp", "*.attn", "*.attn.Wo")
    assert {m.layers for m in found.modules.changed() if m.pattern.endswith(ends)} == {"0–3"}
    assert found.placement is not None and [len(p.copies) for p in found.placement.plans] == [12, 0]


def test_two_exporters(exports: dict[str, Path]) -> None:
    found = onnxfix.diff(exports["legacy"], exports["dynamo"])
    assert not found.same and not found.ports
    assert [(g.kind, len(g.names)) for g in found.weights.groups] == [("same", 30)]
    scopes = {m.pattern for m in found.modules.each}
    assert len(scopes) == 47 and not any("rotary_emb_1" in s or "heads" in s for s in scopes), "modules of both are one"
    assert found.modules.unchanged >= 25
    assert modules(found)["model.backbone.layers.*.mlp"]["Split"] == (0, 1)


def test_fused_attention(exports: dict[str, Path], tmp_path: Path) -> None:
    done = onnxfix.repair(
        exports["legacy"], target="cpu", precision="fp32", fuse_attention=True, verify=False, output=tmp_path / "f.onnx"
    )
    assert done.output is not None
    changed = modules(onnxfix.diff(exports["legacy"], done.output))
    attention = [m for name, m in changed.items() if name.endswith(".attn")]
    assert attention and all(m["Softmax"] == (1, 0) for m in attention)
    assert all(m["com.microsoft.MultiHeadAttention"] == (0, 1) for m in attention)


def test_a_copy_of_all_names_is_the_same(exports: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(exports["dynamo"])
    ends = {v.name for v in (*model.graph.input, *model.graph.output)}
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
        node.input[:] = [name if name in ends or not name else f"v.{name}" for name in node.input]
        node.output[:] = [name if name in ends or not name else f"v.{name}" for name in node.output]
    for tensor in (*model.graph.initializer, *model.graph.value_info):
        tensor.name = f"v.{tensor.name}"
    onnx.save(model, tmp_path / "renamed.onnx")
    found = onnxfix.diff(exports["dynamo"], tmp_path / "renamed.onnx")
    assert found.same and found.names.nodes == len(model.graph.node) and found.modules.changed() == []
