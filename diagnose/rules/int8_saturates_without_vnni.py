"""Q005: int8 weights whose products with uint8 do not fit into the 16-bit sums of CPUs without VNNI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.layer_noise import Against
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.linear import integer_products, saturation

# At an estimate of 0.1, normally distributed activations (128 ± 30) lose 0.045: four times the rounding noise of int8
# (0.011). Normal weights, quantized per channel, are estimated at 0.09 with 64 inputs, 0.05 with 256, 0.035 with 768;
# with heavier tails, as after training, at 0.03 and 0.02. Weights cut off at two sigma are at 0.14, uniform ones 0.18.
LIMIT = 0.1
# Measured: a layer that loses more than its 8 bits do, and more than a tenth of its result.
WORSE_DB, NOISY_DB = 3.0, 20.0
REPAIR = "onnxfix repair --int8 dynamic --reduce-range on the float original"


class Int8SaturatesWithoutVnni:
    """A product of uint8 activations and int8 weights loses part of its sums on x86 CPUs without VNNI.

    There ONNX Runtime adds the products of two neighbours in 16 bits before it adds them up in 32: 255·127·2 = 64,770
    becomes 32,767. CPUs with VNNI (Intel from Cascade Lake and Ice Lake on, AMD from Zen 4 on) lose nothing, so that
    the same file answers differently elsewhere, and its author never sees it. A ModernBERT-base of weights cut off at
    two sigma was 0.009 from its float original with VNNI and 0.069 without; a small one of normal weights 0.09 and
    0.45.

    With `onnxfix diagnose --against FLOAT --calibrate FILE` what real inputs lose is computed exactly, and reported
    where it is more than 8 bits lose. Else where the weights alone let more than a tenth of the product be lost, for
    activations that are uniform in 0 … 255; real ones lose about half of that or less. Weights within ±64 never
    saturate.

    Repair: quantize the float original with `onnxfix repair --int8 dynamic --reduce-range`, which makes 7-bit weights.
    A session with the entry `session.x64quantprecision` = `1` and optimisations on is exact with the file as it is: it
    multiplies uint8 by uint8, which is slower.
    """

    code: ClassVar[str] = "Q005"
    name: ClassVar[str] = "int8-saturates-without-vnni"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if not subject.target.provider.is_host:
            return
        if subject.against is not None:
            yield from self._measured(subject.against)
            return
        for product in integer_products.find(subject.model, subject.types):
            matrix = product.matrix()
            loss = saturation.expected_loss(matrix)
            if loss <= LIMIT:
                continue
            found, total = len(saturation.saturating(matrix).first), matrix.shape[0] // 2 * matrix.shape[1]
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.WARNING,
                site=Site.of_node(product.node),
                message=f"on a CPU without VNNI {100 * found / total:.1f} % of its pairs of weights can saturate in "
                f"16-bit sums, which loses up to {100 * loss:.0f} % of the result",
                evidence={
                    "expected_loss": round(loss, 4),
                    "saturating_pairs": found,
                    "pairs": total,
                    "inputs": int(matrix.shape[0]),
                    "outputs": int(matrix.shape[1]),
                },
                repair=REPAIR,
            )

    def _measured(self, against: Against) -> Iterator[Finding]:
        for layer in against.layers:
            without = layer.without_vnni
            if without is None or without > min(layer.snr - WORSE_DB, NOISY_DB):
                continue
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.WARNING,
                site=layer.site,
                message=f"on a CPU without VNNI its result is {without:.0f} dB above its noise, and {layer.snr:.0f} dB "
                "with it: 16-bit sums saturate",
                evidence={"snr_db": round(layer.snr, 1), "without_vnni_db": round(without, 1)},
                repair=REPAIR,
            )
