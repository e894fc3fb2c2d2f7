"""ONNX Runtime's own kernels on NVIDIA GPUs."""

from __future__ import annotations

from onnxfix.nouns.errors import arg
from onnxfix.nouns.runtime.cuda_devices import cuda_devices
from onnxfix.nouns.runtime.provider import Provider


def _unmeasurable() -> tuple[str, str] | None:
    return (
        ("there is no CUDA device here to measure on", f"use {arg('engine', 'forecast')}")
        if cuda_devices() == 0
        else None
    )


NO_STATIC = (
    "in integers on cuda: ONNX Runtime's CUDA provider fuses no product with its QuantizeLinear and DequantizeLinear, "
    "so every linear would be dequantized first",
    f"use {arg('target', 'cpu', 'tensorrt')}, or {arg('int8', 'weight-only')} for the GPU",
)


def no_dynamic(name: str) -> tuple[str, str]:
    """Why dynamic quantization does not run on a provider that leaves these two operators to CUDA or the CPU."""
    return (
        f"on {name}: DynamicQuantizeLinear has no CUDA kernel and MatMulInteger none for uint8 activations, so every "
        "linear would run on the CPU",
        f"use {arg('target', 'cpu')}, or {arg('int8', 'weight-only')} for the GPU",
    )


PROVIDER = Provider(
    name="cuda",
    runtime_name="CUDAExecutionProvider",
    label="CUDA",
    aliases=("gpu", "nvidia"),
    colours=("#5b93c9", "#4a86c2"),
    behind=("cpu",),
    device="GPU",
    tabled=True,
    forecaster="onnxfix.diagnose.placement.providers.cuda:CudaForecaster",
    unmeasurable=_unmeasurable,
    leaves_shapes=True,
    # their kernels copy the number of results to the host: nonzero_op.cc, compress.cc, non_max_suppression.cc,
    # remove_padding.cc
    waiting=frozenset({"NonZero", "Compress", "NonMaxSuppression", "RemovePadding"}),
    fuses_pairs=True,
    flash=True,
    flat_blocks=True,  # microsoft/onnxruntime#32663, #31692
    refuses={"static": NO_STATIC, "dynamic": no_dynamic("cuda")},
    blocks_by="CUDA_LAUNCH_BLOCKING",
    array_device="cuda",
)
