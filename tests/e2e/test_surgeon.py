"""A user's script and extraction on the three exports of the bundled model; the script is the README's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.flows.extract import extract
from onnxfix.flows.repair.repair import repair
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import scope_of
from onnxfix.nouns.target import Target
from onnxfix.surgery.graphsurgeon.script import Script
from onnxfix.surgery.recipes import Wish

README = Path(__file__).parents[2] / "README.md"
EXPORTS = ("legacy", "dynamo", "unoptimized")


@pytest.mark.parametrize("name", EXPORTS)
def test_the_script_of_the_readme_makes_one_operator_of_each_gelu(
    exports: dict[str, Path], tmp_path: Path, name: str
) -> None:
    (block,) = re.findall(r"```python\n(import onnx_graphsurgeon.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "gelu.py").write_text(block, encoding="utf-8")
    wish = Wish(Target.resolve("cpu"), "fp32", scripts=(Script.load(str(tmp_path / "gelu.py")),))
    done = repair(exports[name], wish, tmp_path / "result.onnx")
    assert done.as_dict()["passes"][0] == "script gelu.py:surgery"  # type: ignore[index]
    assert "relative L2 error at most" in done.verified and max(c.rel_l2 for c in done.comparisons) < 2e-6
    source, result = Model.open(exports[name]), Model.open(tmp_path / "result.onnx")
    made = [n for n in result.graph if n.op_type == "Gelu"]
    assert len(made) == 4 and not any(n.op_type == "Erf" for n in result.graph)
    assert sorted(scope_of(n).partition("layers.")[2][:5] for n in made) == [f"{i}.mlp" for i in range(4)]
    told = {n.name: dict(n.metadata_props) for n in source.graph}
    kept = [n for n in result.graph if n.name in told and "onnxfix.pass" not in n.metadata_props]
    assert len(kept) > 200 and all(dict(n.metadata_props) == told[n.name] for n in kept)
    assert source.ir.metadata_props.items() <= result.ir.metadata_props.items()
    assert [str(v) for v in result.graph.inputs] == [str(v) for v in source.graph.inputs]


@pytest.mark.parametrize(("pattern", "outputs"), [("model.backbone.layers.3", 1), ("model.backbone.layers.3.*", 2)])
@pytest.mark.parametrize("name", EXPORTS)
def test_a_layer_answers_alone_bit_for_bit_as_inside_the_model(
    exports: dict[str, Path], tmp_path: Path, name: str, pattern: str, outputs: int
) -> None:
    """The layer with its sums of the residual stream, and the modules in it without them."""
    done = extract(exports[name], output=tmp_path / "layer.onnx", scope=pattern)
    assert len(done.outputs) == outputs and 40 < done.nodes < 200
    model, part = Model.open(exports[name]), Model.open(done.output)
    assert sum(scope_of(n).startswith("model.backbone.layers.3") for n in part.graph) > 40
    assert all("layers.3." in scope_of(n) for n in part.graph if n.op_type == "MatMul")  # constants may be shared
    inside = model.clone()
    values = {v.name: v for node in inside.graph for v in node.outputs}
    inside.graph.outputs.extend(values[output] for output in done.outputs)
    runner = OrtRunner(inside.save(tmp_path / "inside.onnx"), level="none", threads=1)
    alone = OrtRunner(done.output, level="none", threads=1)
    with np.load(done.feeds) as recorded:
        for feed in make_feeds(model):
            expected = runner.run(feed.arrays)
            answers = alone.run({n: recorded[f"{feed.name}/{n}"] for n in done.inputs})
            for output in done.outputs:
                assert answers[output].tobytes() == expected[output].tobytes() and answers[output].size
                assert recorded[f"expected:{feed.name}/{output}"].tobytes() == expected[output].tobytes()
