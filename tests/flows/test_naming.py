"""Each wish has a name of its own, and no name grows by what it says already."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from onnxfix.flows.repair.naming import default_output
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish

WISHES = {
    ("fp32", "", 8): "fp32", ("fp16", "", 8): "fp16", ("bf16", "", 8): "bf16",
    ("fp32", "dynamic", 8): "int8-dynamic", ("fp32", "static", 8): "int8-static",
    ("fp32", "weight-only", 8): "w8", ("fp32", "weight-only", 4): "w4",
    ("fp16", "weight-only", 8): "fp16.w8", ("fp16", "weight-only", 4): "fp16.w4",
}  # fmt: skip


def named(source: str, precision: str, int8: str = "", bits: int = 8) -> str:
    return str(default_output(Path(source), Wish(Target.resolve("cpu"), precision, int8, bits=bits)))


def test_no_two_wishes_share_a_name() -> None:
    made = {wish: named("in/model.onnx", *wish) for wish in WISHES}
    assert made == {wish: f"in/model.{tag}.onnx" for wish, tag in WISHES.items()}
    assert len(set(made.values())) == len(WISHES)


@pytest.mark.parametrize(
    ("source", "wish", "name"),
    [
        ("m.fp16.onnx", ("bf16",), "m.bf16.onnx"),
        ("m.fp16.onnx", ("fp16",), "m.fp16.repaired.onnx"),
        ("m.fp32.onnx", ("fp32", "dynamic"), "m.int8-dynamic.onnx"),
        ("m.fp16.onnx", ("fp32", "weight-only"), "m.fp16.w8.onnx"),
        ("m.w8.onnx", ("fp16",), "m.fp16.w8.onnx"),
        ("m.fp16.w8.onnx", ("fp32",), "m.fp32.w8.onnx"),
        ("m.fp16.fp16.onnx", ("bf16",), "m.bf16.onnx"),
        ("v1.5.onnx", ("fp16",), "v1.5.fp16.onnx"),
        ("fp16.onnx", ("fp16",), "fp16.repaired.onnx"),
        ("model_fp16.onnx", ("fp16",), "model_fp16.fp16.onnx"),
        (".fp16.onnx", ("bf16",), ".fp16.bf16.onnx"),
        ("model", ("fp16",), "model.fp16.onnx"),
    ],
)
def test_what_a_name_says_already_is_replaced(source: str, wish: tuple[str, ...], name: str) -> None:
    assert named(source, *wish) == name


@pytest.mark.parametrize(
    ("source", "wish", "recipe", "name"),
    [
        ("m.onnx", ("fp32",), "fastest", "m.fastest.onnx"),
        ("m.onnx", ("fp32", "dynamic"), "fastest", "m.fastest-int8-dynamic.onnx"),
        ("m.onnx", ("fp32", "weight-only"), "packed", "m.packed-w8.onnx"),
        ("m.onnx", ("fp16",), "fastest", "m.fastest-fp16.onnx"),
        ("m.fp32.onnx", ("fp32",), "fastest", "m.fastest.onnx"),
        ("m.fastest.onnx", ("fp32", "dynamic"), "packed-rows", "m.packed-rows-int8-dynamic.onnx"),
        ("m.fastest-int8-dynamic.onnx", ("fp32",), "fastest", "m.fastest.onnx"),
        ("m.fastest.onnx", ("fp32",), "fastest", "m.fastest.repaired.onnx"),
        ("m.fastest.onnx", ("fp16",), "", "m.fastest.fp16.onnx"),
        ("m.packed-lunch.onnx", ("fp32",), "packed", "m.packed-lunch.packed.onnx"),
        ("fastest.onnx", ("fp32",), "fastest", "fastest.fastest.onnx"),
    ],
)
def test_a_recipe_is_a_name_of_its_own(source: str, wish: tuple[str, ...], recipe: str, name: str) -> None:
    """So that neither takes the place of what the other made."""
    assert str(default_output(Path(source), Wish(Target.resolve("cpu"), *wish), recipe)) == name


def test_names_do_not_grow() -> None:
    for first, second in itertools.product(WISHES, WISHES):
        once = named("m.onnx", *first)
        tags = named(once, *second).removesuffix(".onnx").split(".")[1:]
        assert len(tags) == len(set(tags)) and named(once, *second) != once
