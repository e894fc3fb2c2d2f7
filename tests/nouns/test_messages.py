"""ONNX Runtime's messages come without its C++, for every function that its library knows by a signature."""

import itertools
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from onnxfix.nouns.errors import one_line
from onnxfix.nouns.runtime.messages import plain

PLACES = ("/onnxruntime_src/onnxruntime/core/a.h:583 ", r"D:\a\_work\1\s\onnxruntime\core\a.cc:12 ", "a/b.cuh(7): ")
RUNNING = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Mul node. Name:'/Mul' "
    "Status Message: "
)
CONDITIONS = ("axis == 1 || axis == largest", "input.Size() > 0", "")
WORDS = ("the lower-case words", "Words: (1) 2 by 3", "tensor(float) is none", "{2,3} != {4}", "'x' of y", "1 != 2")


def signatures() -> list[str]:
    """As GCC has written them into the library."""
    library = onnxruntime.capi.onnxruntime_pybind11_state.__file__
    found = re.findall(rb"[\x20-\x7e]{12,}", Path(library).read_bytes())
    texts = (text.decode() for text in found)
    ends = re.compile(r"\)( const| mutable)?( \[with.*\])?$|<lambda\(.*\)>$")
    return [t for t in texts if re.search(r"onnxruntime::|onnx::", t) and ends.search(t) and ". " not in t]


def test_no_signature_and_no_condition_is_left() -> None:
    found = signatures()
    assert len(found) > 1000, "the library names its functions otherwise now: look at its messages"
    forms = list(itertools.product(PLACES, CONDITIONS, WORDS))
    for number, signature in enumerate(found):
        place, condition, words = forms[number % len(forms)]
        false = f"{condition} was false. " if condition else ""
        told = f"{RUNNING}{place}{signature} {false}{words}\nStacktrace:\n  {signature}"
        assert plain(told) == f"Mul '/Mul': {words}", signature


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from /tmp/m.onnx failed:/onnxruntime_src/onnxruntime/core/"
            "graph/model_load_utils.h:46 void onnxruntime::f(const std::string&, int) ONNX Runtime takes opset 26",
            "ONNX Runtime takes opset 26",
        ),
        (
            '[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model. In Node, ("/r", Cast, "", -1) : '
            '("/s": tensor(float),) -> () , Error Node(/r) with schema(::Cast:21) has output size 0 not in range '
            "[min=1, max=1].",
            "Cast '/r' has output size 0 not in range [min=1, max=1].",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : Fatal error: ai.onnx::Foo(-1) is not a registered function/op",
         "Fatal error: Foo(-1) is not a registered function/op"),
        ("the data lies in /home/me/model.onnx.data (4 bytes)", "the data lies in /home/me/model.onnx.data (4 bytes)"),
        ("a plain sentence: it stays (as it is)", "a plain sentence: it stays (as it is)"),
    ],
)  # fmt: skip
def test_forms_of_messages(message: str, expected: str) -> None:
    assert plain(message) == expected


def test_a_real_failure_is_one_clean_line() -> None:
    """Of a broadcast that does not fit, as the installed runtime tells it."""
    import graphs

    model = graphs.model("g (float[n] x, float[m] y) => (float[k] z) { z = Mul(x, y) }")
    with pytest.raises(Exception, match="ONNXRuntimeError") as caught:
        graphs.run(model, {"x": np.ones(3, np.float32), "y": np.ones(4, np.float32)})
    said = one_line(caught.value)
    assert said.startswith("Mul 'Mul_z': Attempting to broadcast an axis by a dimension other than 1. 3 by 4")
    assert "::" not in said and "onnxruntime_src" not in said
