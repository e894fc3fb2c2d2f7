"""P002: rotary angles in fp16."""

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Cos_c"]
# position -> angle -> cos and sin -> a product with an activation, as every rotary embedding does it.
TEXT = """g (float16[batch,sequence,4] x, int64[batch,sequence] position) => (float16[batch,sequence,4] y)
    <int64[1] last = {{2}}> {{
    column = Unsqueeze(position, last)
    p = Cast<to = {to}>(column)
    angle = Mul(p, inv_freq)
    c = Cos(angle)
    s = Sin(angle)
    {tail}
    xc = Mul(x, ch)
    xs = Mul(x, sh)
    y = Add(xc, xs)
}}"""
INV_FREQ = np.array([1.0, 0.1, 0.01, 0.001])
KEPT = "ch = Cast<to = 10>(c)\n sh = Cast<to = 10>(s)"


def BAD() -> Model:
    text = TEXT.format(to=10, tail="ch = Identity(c)\n sh = Identity(s)")
    return graphs.model(text, {"inv_freq": INV_FREQ.astype(np.float16)})


def SOUND() -> Model:
    return graphs.model(TEXT.format(to=1, tail=KEPT), {"inv_freq": INV_FREQ.astype(np.float32)})


def test_states_the_error_at_length() -> None:
    (finding,) = [f for f in diagnose(BAD(), Target.resolve("cuda")).findings if f.code == "P002"]
    assert finding.severity == "error"
    # fp16 numbers between 256 and 512 are 0.25 apart: the angle 4000 x 0.1 is off by up to half of that
    assert float(str(finding.evidence["cos_error_at_4000"])) > 0.02


def test_a_frequency_rounded_to_half_is_found_though_the_angle_is_fp32() -> None:
    text = TEXT.format(to=1, tail=KEPT).replace(
        "angle = Mul(p, inv_freq)", "wide = Cast<to = 1>(inv_freq)\n angle = Mul(p, wide)"
    )
    model = graphs.model(text, {"inv_freq": INV_FREQ.astype(np.float16)})
    (finding,) = [f for f in diagnose(model, Target.resolve("cuda")).findings if f.code == "P002"]
    assert "inv_freq is stored" in finding.message


@pytest.mark.parametrize("op", ["Sin", "Cos"])
def test_a_sine_of_activations_is_not_rotary(op: str) -> None:
    """Snake activations and Fourier features of learned values are not position angles."""
    text = f"g (int64[batch,sequence] ids) => (float16[b,s,2] y) {{ h = Gather(table, ids)\n y = {op}(h) }}"
    model = graphs.model(text, {"table": np.ones((3, 2), np.float16)})
    assert "P002" not in {f.code for f in diagnose(model, Target.resolve("cuda")).findings}
