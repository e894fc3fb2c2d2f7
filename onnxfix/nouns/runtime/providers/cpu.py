"""ONNX Runtime's own kernels on the host, which run what every other provider leaves."""

from __future__ import annotations

from onnxfix.nouns.runtime.provider import Provider

PROVIDER = Provider(
    name="cpu",
    runtime_name="CPUExecutionProvider",
    label="CPU",
    aliases=("host", "x86", "arm", "mlas"),
    colours=("#e08e0b", "#f2a93b"),
    tabled=True,
    fuses_pairs=True,
    faster=frozenset({"fuse", "pack", "bands", "rows"}),
    array_device="cpu",
)
