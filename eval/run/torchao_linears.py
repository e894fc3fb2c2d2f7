"""int8 linear layers of a torch module by torchao, as its documentation says: what the bench compares with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from onnxfix.nouns.errors import OnnxfixError, arg, one_line

if TYPE_CHECKING:
    import torch


def quantize(module: torch.nn.Module, how: Literal["weights", "dynamic"]) -> None:
    """Quantize the weights of all `torch.nn.Linear` to int8 per channel, in place; nothing else is touched.

    `weights` computes in the module's own dtype, `dynamic` also rounds activations to int8, per token and at run time.
    The module runs eagerly, as every torch row of the bench: torchao's own figures are those of `torch.compile`.
    Raises OnnxfixError where torchao is absent, and with its message where it fails.

    Source: torchao.quantization, `quantize_` with Int8WeightOnlyConfig and Int8DynamicActivationInt8WeightConfig.
    """
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise OnnxfixError("torchao is not installed", "pip install 'onnxfix[torchao]'") from None
    config = Int8WeightOnlyConfig() if how == "weights" else Int8DynamicActivationInt8WeightConfig()
    try:
        quantize_(module, config)
    except Exception as error:  # it raises bare exceptions and assertion errors
        raise OnnxfixError(
            f"torchao fails: {one_line(error)}", f"leave its rows out with {arg('torchao', False)}"
        ) from error


def weights_bytes(module: torch.nn.Module) -> int:
    """Bytes of all parameters and buffers, a shared one once.

    A quantized tensor is several: its own `nbytes` is that of the float tensor it stands for.
    """
    tensors = [part for t in (*module.parameters(), *module.buffers()) for part in _parts(t)]
    return sum({t.data_ptr(): t.nbytes for t in tensors}.values())


def _parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The plain tensors that a tensor subclass is made of."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return [tensor]
    return [part for name in flatten()[0] for part in _parts(getattr(tensor, name))]
