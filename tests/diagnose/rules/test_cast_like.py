"""K006: CastLike and its twin, Cast."""

import graphs

from onnxfix.nouns.model import Model

SITES = ["CastLike_f"]


def BAD() -> Model:
    return graphs.model("""g (float[b,8] x, int64[b,8] n) => (float[b,8] y) {
        f = CastLike(n, x)
        g = CastLike(f, x)
        y = Mul(x, g)
    }""")


def SOUND() -> Model:
    return graphs.model("""g (float[b,8] x, int64[b,8] n) => (float[b,8] y) {
        f = Cast<to = 1>(n)
        y = Mul(x, f)
    }""")
