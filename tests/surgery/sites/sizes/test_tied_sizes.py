"""Two names of one size are found to be one; a batch and a length are not."""

import graphs

from onnxfix.surgery.sites.sizes.tied_sizes import tied

TWO_NAMES = """g (float[batch,sequence,8] x, float[rows,length] m) => (float[a,b,8] y) {
    last = Constant<value_ints = [2]>()
    wide = Unsqueeze(m, last)
    y = Mul(x, wide)
}"""
SQUARE = """g (float[batch,sequence,8] x) => (float[a,b,8] y) {
    t = Transpose<perm = [1, 0, 2]>(x)
    y = Mul(x, t)
}"""


def test_names_of_one_size() -> None:
    for turn in (0, 1):
        sizes = tied(graphs.model(TWO_NAMES).graph, turn)
        assert sizes is not None
        assert sizes["batch"] == sizes["rows"] != sizes["sequence"] == sizes["length"]


def test_batch_and_length_stay_two() -> None:
    assert tied(graphs.model(SQUARE).graph, 0) is None


def test_names_that_need_no_tie_keep_their_sizes() -> None:
    sizes = tied(graphs.model(TWO_NAMES.replace("Mul(x, wide)", "Identity(x)")).graph, 0)
    assert sizes is not None and len(set(sizes.values())) == 4
