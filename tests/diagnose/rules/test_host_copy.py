"""K003: a value made on the device that a kernel reads on the host."""

import graphs
import numpy as np

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

# ReduceMax runs on the device (it is no shape arithmetic), Expand reads its shape on the host.
SITES = ["Expand_y"]


def BAD() -> Model:
    return graphs.model("""g (int64[n] sizes, float[1] x) => (float[m] y) {
        twice = Add(sizes, sizes)
        top = ReduceMax<keepdims = 1>(twice)
        y = Expand(x, top)
    }""")


def SOUND() -> Model:
    """The same with a shape that shape arithmetic makes: it is on the host already."""
    return graphs.model("""g (float[n,4] t, float[1,1] x) => (float[n,4] y) {
        shape = Shape(t)
        y = Expand(x, shape)
    }""")


def test_the_cast_of_a_constant_can_be_repaired_and_an_argument_computed_from_data_cannot() -> None:
    model = graphs.model(
        """g (float[b,8] x) => (int64[n] y) { n = Size(x) z = CastLike(zero, n) d = CastLike(one, n)
        y = Range(z, n, d) }""",
        {"zero": np.array(0.0, np.float32), "one": np.array(1.0, np.float32)},
    )
    found = [f for f in diagnose(model, Target.resolve("cuda", "forecast")).findings if f.code == "K003"]
    assert len(found) == 2 and all(f.repair and f.applicability == "exact" for f in found)
    (manual,) = [f for f in diagnose(BAD(), Target.resolve("cuda", "forecast")).findings if f.code == "K003"]
    assert not manual.repair and manual.applicability == "manual"
