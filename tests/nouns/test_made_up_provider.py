"""A provider is one module: one that is made up here, in a folder of its own, is planned and reported like the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import graphs
import onnx
import pytest
from provider_names import CPU

from onnxfix.diagnose.registry import all_rules
from onnxfix.diagnose.report import html, markdown
from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime import providers as package
from onnxfix.nouns.runtime.provider import placed_on, providers
from onnxfix.nouns.target import Target

MODULE = '''
"""A processor that adds and multiplies float32, and nothing else."""

from onnxfix.diagnose.placement.providers.forecaster import Forecaster
from onnxfix.nouns.runtime.provider import Provider

KERNELS = {"Add": ("tensor(float)",), "Mul": ("tensor(float)",), "Relu": ("tensor(float)", "tensor(int32)")}


class MadeUpForecaster(Forecaster):
    def refusal(self, node, lookup):
        types = KERNELS.get(node.op_type, ())
        if lookup.type_of(node.inputs[0]) in types:
            return ""
        return f"MadeUp has no {node.op_type} for {lookup.type_of(node.inputs[0])}"

    def note(self, lookup):
        return "MadeUp is made up"


PROVIDER = Provider(
    name="madeup",
    runtime_name="MadeUpExecutionProvider",
    label="MadeUp",
    colours=("#123456", "#654321"),
    behind=("cpu",),
    device="NPU",
    forecaster=f"{__name__}:MadeUpForecaster",
    refuses={"dynamic": ("on madeup: it multiplies no integers", "use --target cpu")},
)
'''
NAME = "MadeUpExecutionProvider"
GRAPH = "g (float[batch,8] x) => (float[batch,8] y) { a = Add(x, x) e = Exp(a) y = Mul(e, a) }"


def plant(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "madeup.py").write_text(MODULE.lstrip(), encoding="utf-8")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plant(tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield
    sys.modules.pop(f"{package.__name__}.madeup", None)
    vars(package).pop("madeup", None)


@pytest.fixture
def report(planted: None) -> Report:
    return diagnose(graphs.model(GRAPH), Target.resolve("madeup"))


def test_without_the_module_there_is_no_such_target() -> None:
    with pytest.raises(OnnxfixError, match="unknown target 'madeup'"):
        Target.resolve("madeup")
    assert "madeup" not in map(str, providers())


def test_its_nodes_and_what_the_cpu_runs_instead(report: Report) -> None:
    assert {n.op_type: n.provider for n in report.plan.nodes} == {"Add": NAME, "Exp": CPU, "Mul": NAME}
    exp = next(n for n in report.plan.nodes if n.op_type == "Exp")
    assert exp.lacks_kernel and exp.reason == "MadeUp has no Exp for tensor(float)"
    assert report.plan.note == "MadeUp is made up"


def test_copies_between_its_device_and_the_host(report: Report) -> None:
    copies = [(c.direction, c.value, c.cause_op_type, c.cause) for c in report.plan.copies]
    why = "MadeUp has no Exp for tensor(float)"
    assert copies == [("to_host", "a", "Exp", why), ("from_host", "e", "Exp", why)]
    assert [(f.code, f.severity.value) for f in report.findings] == [("K002", "error")]


def test_all_on_its_device_is_copied_nowhere_and_all_off_it_neither(planted: None) -> None:
    whole = diagnose(graphs.model(GRAPH.replace("Exp", "Relu")), Target.resolve("madeup"))
    assert (whole.plan.providers(), whole.plan.copies, whole.findings) == ({NAME: 3}, (), ())
    none = diagnose(graphs.model("g (float[n] x) => (float[n] y) { h = Exp(x) y = Neg(h) }"), Target.resolve("madeup"))
    assert (none.plan.providers(), none.plan.copies) == ({CPU: 2}, ())


def test_json_html_and_markdown_name_it(report: Report) -> None:
    document = json.loads(json.dumps(report.as_dict()))
    assert document["target"]["provider"] == "madeup"
    assert document["placement"]["providers"] == {CPU: 1, NAME: 2}
    assert document["placement"]["cuda_graph"] is None
    page = html.page(report, all_rules())
    assert "--madeup: #123456;" in page and "--madeup: #654321;" in page
    assert ".cell.madeup { background: var(--madeup); }" in page
    assert '<i class="cell madeup"></i>MadeUp</button>' in page
    assert "2 on MadeUp, 1 on CPU" in page and '"madeup"' in page
    said = markdown.comment(report)
    assert "on madeup" in said and "2 on MadeUp, 1 on CPU" in said and "MadeUp has no Exp" in said


def test_the_command_takes_its_name(tmp_path: Path) -> None:
    plant(tmp_path / "more")
    onnx.save(graphs.proto_of(graphs.model(GRAPH)), tmp_path / "model.onnx")
    code = (
        "import sys; from onnxfix.nouns.runtime import providers; providers.__path__.append(sys.argv.pop(1)); "
        "from onnxfix.cli.main import main; main()"
    )
    words = [str(tmp_path / "more"), "diagnose", str(tmp_path / "model.onnx"), "--target", "madeup"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "placement on madeup, forecast for ONNX Runtime" in done.stdout
    assert "2 on MadeUp, 1 on CPU" in done.stdout and "2 Memcpy" in done.stdout


def test_a_provider_without_a_module_is_shown_by_its_own_name() -> None:
    other, nothing = placed_on("DmlExecutionProvider"), placed_on("")
    assert (other.label, other.name, other.is_host) == ("Dml", "other", False)
    assert (nothing.label, nothing.name, nothing.device) == ("no provider", "none", "")
