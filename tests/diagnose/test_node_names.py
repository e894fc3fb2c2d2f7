"""Nodes that share a name, or the name of what they make, with nodes of another graph: each is found again."""

import graphs
import onnx_ir as ir
import pytest
import twins

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Labelled, Site, first_output, label
from onnxfix.nouns.target import Target


def branches() -> Model:
    """A sequence in each branch: the first is only taken apart, the second is read with ConcatFromSequence."""
    return graphs.model("""g (bool take, float[batch,8] x) => (float[batch,m] y) <int64 size = {4}, int64 i = {0}> {
        h = Relu(x)
        y = If (take) <
            then_branch = t () => (float[batch,m] a) { s = SplitToSequence<axis = -1>(h, size)
                a = SequenceAt(s, i) },
            else_branch = e () => (float[batch,m] b) { r = SplitToSequence<axis = -1>(h, size)
                b = ConcatFromSequence<axis = -1>(r) }>
    }""")


@pytest.mark.parametrize("names", [None, *twins.TWINS.values()])
def test_each_branch_has_its_own_refusal(names: object) -> None:
    model = branches() if names is None else twins.twin(branches(), names)  # type: ignore[arg-type]
    if not twins.is_valid(model):
        pytest.skip("against the specification")
    report = diagnose(model, Target.resolve("cuda"))
    found = {f.site.value: f.message for f in report.findings if f.code == "K001" and f.site.op_type[0:5] == "Split"}
    assert set(found) == {"s", "r"}
    assert "not repairable" not in found["s"] and "read by ConcatFromSequence" in found["r"]


def test_a_first_output_that_is_missing_is_not_the_first() -> None:
    node = ir.Node("", "GRU", [], outputs=[ir.Value(name=""), ir.Value(name="last")])
    assert (label(node), first_output(node), Site.of_node(node).value) == ("last", "last", "last")


def test_nodes_are_found_by_name_then_by_output() -> None:
    one, two, three = (
        ir.Node("", "Relu", [], outputs=[ir.Value(name=made)], name=name)
        for made, name in (("a", "n"), ("b", "n"), ("c", ""))
    )
    found = Labelled([one, two, three])
    assert found.find("n", "a", "Relu") is one and found.find("n", "b", "Relu") is two
    assert found.find("c", "c", "Relu") is three and found.find("given", "c", "Relu") is three
    assert found.find("given", "c", "Neg") is None
