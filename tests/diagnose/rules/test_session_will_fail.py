"""K005: a bfloat16 node without a kernel anywhere makes the session fail, an fp16 one falls back."""

import graphs

from onnxfix.nouns.model import Model

SITES = ["Hardmax_h"]
TEXT = """g (%s[batch,8] x) => (%s[batch,8] y) {
    h = Hardmax(x)
    y = Add(h, x)
}"""


def BAD() -> Model:
    return graphs.model(TEXT % ("bfloat16", "bfloat16"))


def SOUND() -> Model:
    return graphs.model(TEXT % ("float16", "float16"))
