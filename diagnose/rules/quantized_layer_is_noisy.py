"""Q006: a quantized layer that loses more than 8 bits have to, measured against the float original."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.layer_noise import LayerNoise
from onnxfix.nouns.rule import Subject

# 8 bits give 30 to 45 dB on layers without outliers, 4 bits in blocks of 32 about 20.
NOISY_DB = 20.0
LOST_DB = 10.0

_REPAIRS = {
    "activation-outliers": "onnxfix repair --int8 static --calibrate FILE on the float original, which migrates them",
    "clipped-range": "calibrate on inputs like these, or --calibration minmax",
    "one-weight-scale": "onnxfix repair --int8 dynamic on the float original: one scale a column",
    "not-a-linear": "onnxfix repair --int8 dynamic on the float original, which leaves it in float",
    "not-finite": "quantize the float original again: a scale in the file is broken, or the sums overflow",
    "few-bits": "keep it in float with --block-node, or find the fewest such layers with --search",
}


class QuantizedLayerIsNoisy:
    """A layer whose quantized result differs from the float one by a tenth or more of its size.

    Only seen by `onnxfix diagnose QUANTIZED --against FLOAT --calibrate FILE`, which runs both on real inputs; the
    quantized layer is given the float model's numbers, so that its own loss is seen. Causes are told apart by computing
    the product again: outliers in channels of the activation (one scale has to span them), values outside the range
    that was calibrated, one scale for a weight with columns of unlike size, too few bits, or an operator that is no
    linear layer and should not be quantized. An error below 10 dB, a third of the signal.

    Repair: by cause; the finding says which.
    """

    code: ClassVar[str] = "Q006"
    name: ClassVar[str] = "quantized-layer-is-noisy"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for layer in subject.against.layers if subject.against is not None else ():
            if layer.snr >= NOISY_DB:
                continue
            cause = layer.cause
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR if layer.snr < LOST_DB else Severity.WARNING,
                site=layer.site,
                message=_message(layer),
                evidence={
                    "snr_db": round(layer.snr, 1),
                    "accumulated_db": round(layer.accumulated, 1),
                    "cause": cause.kind,
                    "channels": [f"{channel} ×{ratio:.1f}" for channel, ratio in cause.channels],
                    "gain_db": round(cause.gain_db, 1),
                },
                repair=_REPAIRS.get(cause.kind, ""),
            )


def _message(layer: LayerNoise) -> str:
    if layer.cause.kind == "not-finite":
        return f"its result is {layer.cause.words}"
    return f"its result is {layer.snr:.0f} dB above its noise" + (f": {layer.cause.words}" if layer.cause.words else "")
