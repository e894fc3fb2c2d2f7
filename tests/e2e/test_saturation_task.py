"""A planted saturation: seen on any machine, and reduce-range is recommended for it and for nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from products_task import WIDTH, data, export, of_file, trained
from terminal import onnxfix

from onnxfix.eval.numerics.saturation import exact, saturated
from onnxfix.eval.run import pair_sums
from onnxfix.nouns.model import Model


class Doubled(torch.nn.Module):
    """The same function with each channel of the MLP's input twice, and half of its weight: neighbours are equal, so
    that their products in 16 bits add up to too much. With `sign` -1 every other one is negative, and they do not."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.whole = trained()
        self.register_buffer("signs", torch.tensor([1.0, sign]).repeat(WIDTH))
        self.wide = torch.nn.Parameter((self.whole.up.weight.detach() / 2).repeat_interleave(2, 1) * self.signs)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.whole.tokens(ids).sum(1)
        doubled = self.whole.norm(x).repeat_interleave(2, -1) * self.signs
        inner, gate = torch.nn.functional.linear(doubled, self.wide).chunk(2, -1)
        x = x + self.whole.down(torch.nn.functional.gelu(inner) * gate)
        answer: torch.Tensor = self.whole.head(self.whole.final(x))
        return answer


def quantized(folder: Path, sign: float, *options: str) -> tuple[float, float, dict[str, Any]]:
    """F1 of int8 dynamic with exact sums and without VNNI, and the diagnosis.

    Not verified: on a CPU without VNNI repair would take 7 bits by itself.
    """
    source, result, inputs = (folder / name for name in ("float.onnx", "int8.onnx", "ids.npz"))
    if not source.exists():
        export(Doubled(sign).eval(), source)
        np.savez(inputs, ids=data()[0].numpy())
    done = onnxfix("repair", source, "--int8", "dynamic", "--no-verify", *options, "-o", result, "--force")
    assert done.returncode == 0, done.stderr
    emulated = saturated(Model.open(result)).save(folder / "emulated.onnx")
    summed = exact(Model.open(result)).clone().save(folder / "exact.onnx")
    command = ("diagnose", result, "--target", "cpu", "--against", source, "--calibrate", inputs, "--format", "json")
    diagnosed = onnxfix(*command)
    assert diagnosed.returncode in (0, 1), diagnosed.stderr
    scores = of_file(summed), of_file(emulated)
    here = of_file(result)
    assert here == scores[pair_sums.saturate()], "what is emulated is what this CPU does"
    for file in (emulated, summed):
        file.unlink()
        Path(f"{file}.data").unlink(missing_ok=True)
    return *scores, json.loads(diagnosed.stdout)


def test_the_collapse_is_predicted_and_reduce_range_is_recommended_for_it(tmp_path: Path) -> None:
    here, without, diagnosis = quantized(tmp_path, 1.0)
    assert here >= 0.98 and without <= here - 0.2
    (found,) = [f for f in diagnosis["findings"] if f["name"] == "int8-saturates-without-vnni"]
    assert "--reduce-range" in found["repair"]
    worst = min(diagnosis["against"]["layers"], key=lambda layer: layer["without_vnni_db"])
    assert found["site"]["value"] == worst["site"]["value"] and worst["without_vnni_db"] < worst["snr_db"] - 10
    assert diagnosis["against"]["rel_l2_without_vnni"] > 3 * diagnosis["against"]["rel_l2"]

    here, without, diagnosis = quantized(tmp_path, 1.0, "--reduce-range")
    assert here >= 0.98 and without == here
    assert "--reduce-range" not in json.dumps(diagnosis)


def test_a_sound_twin_is_not_told_to_reduce_its_range(tmp_path: Path) -> None:
    here, without, diagnosis = quantized(tmp_path, -1.0)
    assert here >= 0.98 and without >= here - 0.02
    assert "--reduce-range" not in json.dumps(diagnosis)
