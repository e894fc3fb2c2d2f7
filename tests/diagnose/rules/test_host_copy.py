"""K003: a value made on the device that a kernel reads on the host."""

import graphs

from onnxfix.model import Model

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
