"""Integers that are compared with numbers are those numbers, too; what may be padding by its name is any."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.eval.inputs.paddings import mask_name
from onnxfix.nouns.types.input_roles import role

COMPARED = {
    "a language": ("Equal(kind, seven)", {6, 7, 8}),
    "below 0": ("Less(kind, none)", {-1}),
    "in part": ("f = Slice(kind, at0, at1, one1) c = Equal(f, seven)", {6, 7, 8}),
    "bounded": ("f = Min(kind, hundred) c = Equal(f, seven)", {6, 7, 8}),
    "turned": ("f = Transpose(kind) t = Equal(f, seven) c = Transpose(t)", {6, 7, 8}),
    "at least": ("u = Unsqueeze(kind, one1) w = Greater(u, seven) c = Squeeze(w, one1)", {6, 7, 8}),
}


@pytest.mark.parametrize("way", COMPARED)
@pytest.mark.parametrize("name", ["kind", "token_type_ids"])
def test_numbers_that_are_asked_for_are_fed(way: str, name: str) -> None:
    says, wanted = COMPARED[way]
    says = says if "c = " in says else f"c = {says}"
    text = f"g (int64[batch,length] kind) => (bool[batch,length] c) {{ {says} }}".replace("kind", name)
    weights = {"seven": np.array(7), "none": np.array(0), "one1": np.array([1]), "hundred": np.array(100)}
    weights |= {"at0": np.array([0]), "at1": np.array([9])}
    model = graphs.model(text, {key: array for key, array in weights.items() if key in text})
    fed = set[int]().union(*(np.unique(feed.arrays[name]).tolist() for feed in make_feeds(model)))
    assert fed >= {0, 1} | wanted and fed <= {0, 1, 6, 7, 8, -1}


def test_a_flag_of_a_table_stays_within_it() -> None:
    text = (
        "g (int64[batch,length] kind) => (float[batch,length,2] y) { c = Equal(kind, seven) y = Gather(table, kind) }"
    )
    model = graphs.model(text, {"seven": np.array(7), "table": np.zeros((3, 2), np.float32)})
    assert {int(feed.arrays["kind"].max()) for feed in make_feeds(model)} == {2}


@pytest.mark.parametrize("name", ["key_padding_mask", "padding_mask", "pad_mask", "bool_masked_pos"])
def test_a_mask_of_padding_may_be_either_way_round(name: str) -> None:
    """It is drawn as any bool is, and nothing is left out of a comparison by it."""
    model = graphs.model(f"g (bool[batch,length] {name}) => (bool[batch,length] y) {{ y = Not({name}) }}")
    assert role(model.graph.inputs[0]) == ""
    for feed in make_feeds(model):
        assert 0 < feed.arrays[name].mean() < 1 and mask_name(feed) == ""
    real = graphs.model("g (bool[batch,length] mask) => (bool[batch,length] y) { y = Not(mask) }")
    assert role(real.graph.inputs[0]) == "mask" and mask_name(make_feeds(real)[0]) == "mask"


@pytest.mark.parametrize("way", ["Max(kind, none)", "Identity(kind)", "Where(below, none, kind)"])
@pytest.mark.parametrize("use", ["Equal(places, hundred)", "Cast<to = 1>(places)"])
def test_a_place_of_what_has_any_size_is_one_that_there_is(way: str, use: str) -> None:
    """Whatever else is done with it; one below 0 is asked for where the graph tells it apart."""
    text = f"""g (float[batch,length,4] x, int64[batch] kind) => (float[batch,4] y) {{ below = Less(kind, none)
        k = {way} places = Unsqueeze(k, one1) v = GatherND<batch_dims = 1>(x, places) e = {use} f = Cast<to = 1>(e)
        h = Div(f, half) y = Add(v, h) }}"""
    weights = {"none": np.array(0), "one1": np.array([1]), "hundred": np.array(100), "half": np.array(0.5, np.float32)}
    model = graphs.model(text, {key: array for key, array in weights.items() if key in text})
    fed = set[int]().union(*(np.unique(feed.arrays["kind"]).tolist() for feed in make_feeds(model)))
    assert fed == {-1, 0, 1}
    for feed in make_feeds(model):
        graphs.run(model, feed.arrays)
