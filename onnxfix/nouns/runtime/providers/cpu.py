"""ONNX Runtime's own kernels on the host, which run what every other provider leaves."""

from __future__ import annotations

from onnxfix.nouns.errors import arg
from onnxfix.nouns.runtime.provider import Provider

NO_BF16 = (
    "on cpu: ONNX Runtime has no bfloat16 kernel of a product there, so no session would load the file",
    f"use {arg('precision', 'fp32', 'fp16')} or {arg('int8', 'dynamic')} there, or {arg('target', 'cuda')}",
)

PROVIDER = Provider(
    name="cpu",
    runtime_name="CPUExecutionProvider",
    label="CPU",
    aliases=("host", "x86", "arm", "mlas"),
    colours=("#e08e0b", "#f2a93b"),
    tabled=True,
    fuses_pairs=True,
    faster=frozenset({"fuse", "cache", "pack", "bands", "rows"}),
    refuses={"bf16": NO_BF16},
    array_device="cpu",
)
